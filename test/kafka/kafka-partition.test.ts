import { connect } from 'node:net'
import { Kafka } from 'kafkajs'
import { describe, expect, inject, onTestFinished, test } from 'vitest'
import { kafkaFailFast, kafkaPartition } from '../../src/adapters/kafka/index.ts'
import type { KafkaClient } from '../../src/adapters/kafka/kafka-client.ts'
import { codeOf, isRetriable } from '../../src/core/errors.ts'
import { type TcpProxy, tcpProxy } from '../../src/testing/servers/index.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { errorOf, eventually, reader } from '../tools/reader.ts'
import { adapterClient } from './fixture.ts'
import { newTopic, partitionOf, readAll, valuesOf } from './partition-fixture.ts'

/** A Kafka of the adapter's whose connections go through a proxy, although the broker tells its own address. */
async function throughProxy(): Promise<{ proxy: TcpProxy; kafka: Kafka }> {
  const { host, port, url } = inject('servers').kafka
  const proxy = await tcpProxy({ host, port })
  onTestFinished(() => proxy[Symbol.asyncDispose]())
  const socketFactory = ({ onConnect }: { onConnect: () => void }) =>
    connect({ host: proxy.host, port: proxy.port }, onConnect)
  return { proxy, kafka: new Kafka({ brokers: [url], ...kafkaFailFast, socketFactory }) }
}

/** A Kafka of the adapter's that does something after the broker has looked a time up. */
function afterEachLookup(act: () => Promise<void>): KafkaClient {
  const kafka = adapterClient()
  interface Broker {
    listOffsets(request: { topics: { partitions: { timestamp: number }[] }[] }): Promise<unknown>
  }
  const patch = (cluster: { findBroker(o: object): Promise<Broker> }): void => {
    const { findBroker } = cluster
    cluster.findBroker = async (o) => {
      const broker = await findBroker.call(cluster, o)
      const { listOffsets } = broker
      broker.listOffsets = async (request) => {
        const reply = await listOffsets.call(broker, request)
        if ((request.topics[0]?.partitions[0]?.timestamp ?? -1) >= 0) await act()
        return reply
      }
      return broker
    }
  }
  const consumer: KafkaClient['consumer'] = ({ partitionAssigners, ...options }) =>
    (kafka as KafkaClient).consumer({
      ...options,
      partitionAssigners: partitionAssigners.map((assigner) => (context) => {
        patch(context.cluster as Parameters<typeof patch>[0])
        return assigner(context)
      }),
    })
  return Object.assign(Object.create(kafka), kafka, { consumer })
}

describe('a log', () => {
  test('what is appended while a time is looked up is not passed over', async () => {
    const { topic, producer } = await newTopic()
    await producer.send({ topic, messages: [{ value: 'early', timestamp: '1000' }] })
    const kafka = afterEachLookup(async () => void (await producer.send({ topic, messages: [{ value: 'late' }] })))
    const cursor = (await kafkaPartition(kafka, { topic, partition: 0 }).at?.(Date.now() - 60_000)) ?? ''
    expect(cursor).toBe('0')
    expect(valuesOf(await readAll(partitionOf(topic), cursor))).toEqual(['late'])
    for (const at of [1e300, Number.MAX_SAFE_INTEGER]) expect(await partitionOf(topic).at?.(at)).toBe('1')
  })

  test('a topic that is made anew and has grown past the position is not read on', async () => {
    const { topic, producer, recreate } = await newTopic()
    await producer.send({ topic, messages: [{ value: 'a' }, { value: 'b' }] })
    const stream = reader(await partitionOf(topic).stream('', {}))
    onTestFinished(() => stream[Symbol.asyncDispose]())
    await stream.take(2)
    const next = errorOf(stream.take(1), 20_000)
    await recreate()
    await producer.send({ topic, messages: Array.from({ length: 5 }, (_, i) => ({ value: `new ${i}` })) })
    expect(['CURSOR_AHEAD', 'KAFKA_UNKNOWN_TOPIC_OR_PARTITION', 'KAFKA_UNKNOWN_TOPIC_ID']).toContain(codeOf(await next))
    expect(codeOf(await errorOf(partitionOf(topic).stream(stream.cursor, {})))).toBe('CURSOR_AHEAD')
  })
})

test('a topic that is deleted under a reader is an error', async () => {
  const { topic, producer, admin } = await newTopic()
  await producer.send({ topic, messages: [{ value: 'a' }] })
  await using stream = reader(await partitionOf(topic).stream('', {}))
  await stream.take(1)
  const waiting = errorOf(stream.take(1), 5000, 'noticing it')
  await admin.deleteTopics({ topics: [topic] })
  expect(codeOf(await waiting)).toMatch(/^KAFKA_UNKNOWN_TOPIC/)
  expect(codeOf(await errorOf(partitionOf(topic).stream('', {})))).toBe('KAFKA_UNKNOWN_TOPIC_OR_PARTITION')
  await admin.createTopics({ topics: [{ topic }] }) // for its deletion, which would be tried again and again
})

describe('an abort', () => {
  const left = (): number => process.getActiveResourcesInfo().filter((name) => /^TCP|^Timeout/.test(name)).length
  /** What is always there: others come and go. */
  const still = async (): Promise<number> => {
    const seen: number[] = []
    for (let i = 0; i < 15; i++) {
      await new Promise((resolve) => setTimeout(resolve, 10))
      seen.push(left())
    }
    return Math.min(...seen)
  }

  test('leaves neither a socket nor a timer, whenever it comes', async () => {
    const { topic, producer, admin } = await newTopic()
    await producer.send({ topic, messages: [{ value: 'a' }] })
    await Promise.all([producer.disconnect(), admin.disconnect()])
    const before = await still()
    for (let delay = 0; delay < 45; delay += 3) {
      const controller = new AbortController()
      const reading = (async () => {
        const stream = await partitionOf(topic).stream('', { signal: controller.signal })
        await reader(stream).take(2)
      })()
      reading.catch(() => {})
      await new Promise((resolve) => setTimeout(resolve, delay))
      controller.abort(controller)
      expect(await errorOf(reading)).toBe(controller)
    }
    await eventually(() => left() <= before, 1000, 'nothing is left')
  })

  test('ends an attempt to connect, and lets no other follow it', async () => {
    const before = await still()
    let made = 0
    const socketFactory = ({ onConnect }: { onConnect: () => void }) => {
      made++
      return connect({ host: 'nowhere', port: 1, lookup: () => {} }, onConnect) // it never connects
    }
    const kafka = new Kafka({ brokers: ['a:1', 'b:1'], ...kafkaFailFast, connectionTimeout: 3000, socketFactory })
    const controller = new AbortController()
    const opening = kafkaPartition(kafka, { topic: 't', partition: 0 }).stream('', { signal: controller.signal })
    opening.catch(() => {})
    await eventually(() => made === 1, 1000, 'the attempt')
    controller.abort(controller)
    expect(await errorOf(opening)).toBe(controller)
    await eventually(() => left() <= before, 1000, 'nothing is left')
    await new Promise((resolve) => setTimeout(resolve, 150)) // longer than kafkajs waits to try again
    expect(made).toBe(1)
  })
})

describe('is refused, with what to do', () => {
  test('a client that retries by itself, or waits for long', async () => {
    const brokers = [inject('servers').kafka.url]
    const patient = new Kafka({ brokers, logLevel: 0 })
    expect(() => kafkaPartition(patient, { topic: 't', partition: 0 })).toThrow(/retry.*kafkaFailFast/)
    const slow = new Kafka({ brokers, ...kafkaFailFast, requestTimeout: 30_000 })
    const { topic } = await newTopic()
    const error = await errorOf(kafkaPartition(slow, { topic, partition: 0 }).stream('', {}))
    expect(codeOf(error)).toBe('OPTION_INVALID')
    expect(String(error)).toMatch(/requestTimeout/)
    const lazy = new Kafka({ brokers, ...kafkaFailFast, retry: { retries: 1, initialRetryTime: 10_000 } })
    expect(() => kafkaPartition(lazy, { topic, partition: 0 })).toThrow(/retry.*kafkaFailFast/)
    expect(() => kafkaPartition({ consumer: () => {} } as never, { topic: 't', partition: 0 })).toThrow(
      /kafkajs 2\.2\.4/,
    )
  })

  test('a topic, or a partition, that is not there', async () => {
    const unknown = await errorOf(partitionOf(fresh('nowhere')).stream('', {}))
    expect([codeOf(unknown), isRetriable(unknown)]).toEqual(['KAFKA_UNKNOWN_TOPIC_OR_PARTITION', true])
    const { topic } = await newTopic()
    const missing = await errorOf(partitionOf(topic, { partition: 3 }).stream('', {}))
    // It may have been added, and this broker not have heard of it yet.
    expect([codeOf(missing), isRetriable(missing)]).toEqual(['KAFKA_UNKNOWN_TOPIC_OR_PARTITION', true])
    expect(String(missing)).toMatch(/partitions 0 to 0, but not 3/)
  })

  test('options that are wrong', () => {
    for (const wrong of [{ topic: '' }, { partition: -1 }, { partition: 1.5 }, { batchSize: 0 }, { batchBytes: 1.5 }])
      expect(() => partitionOf('t', wrong)).toThrow(/must be/)
  })
})

describe('the network', () => {
  test.each(['cut', 'stall', 'stallReplies'] as const)(
    'a %s is noticed by a read that waits, and by an open',
    async (fault) => {
      const { topic, producer } = await newTopic()
      await producer.send({ topic, messages: [{ value: 'a' }] })
      const { proxy, kafka } = await throughProxy()
      const stream = reader(await kafkaPartition(kafka, { topic, partition: 0 }).stream('', {}))
      onTestFinished(() => stream[Symbol.asyncDispose]())
      await stream.take(1)
      const waiting = errorOf(stream.take(1), 5000, 'noticing it')
      proxy[fault]()
      const opening = errorOf(
        kafkaPartition(kafka, { topic, partition: 0 }).stream('', {}),
        5000,
        'noticing it at open',
      )
      expect([codeOf(await waiting), codeOf(await opening)]).toEqual(['KAFKA_CONNECTION', 'KAFKA_CONNECTION'])
      proxy.restore()
      expect(valuesOf(await readAll(partitionOf(topic)))).toEqual(['a'])
    },
  )
})

import { connect } from 'node:net'
import { Kafka } from 'kafkajs'
import { describe, expect, inject, onTestFinished, test } from 'vitest'
import { type KafkaPartitionOptions, kafkaFailFast, kafkaPartition } from '../../src/adapters/kafka/index.ts'
import type { KafkaClient } from '../../src/adapters/kafka/kafka-client.ts'
import { openPartition } from '../../src/adapters/kafka/partition-log.ts'
import { codeOf, isRetriable } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import { type TcpProxy, tcpProxy } from '../../src/testing/servers/index.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { errorOf, eventually, reader } from '../tools/reader.ts'
import { adapterClient, type TopicAdmin, testClient, topicAdmin } from './fixture.ts'

async function newTopic(
  config: Readonly<Record<string, string>> = {},
): Promise<TopicAdmin & { readonly topic: string }> {
  const topic = fresh('log')
  const topics = await topicAdmin(topic, { config })
  onTestFinished(() => topics[Symbol.asyncDispose]())
  return { ...topics, topic, [Symbol.asyncDispose]: () => topics[Symbol.asyncDispose]() }
}

const source = (topic: string, options: Partial<KafkaPartitionOptions> = {}) =>
  kafkaPartition(adapterClient(), { topic, partition: 0, ...options })

/** Everything after a cursor, and the cursor behind it, without the topic's id. */
async function read(topic: string, after = ''): Promise<{ events: Event[]; cursor: string }> {
  await using all = reader(await source(topic).stream(after, { toHead: true }), after)
  return { events: await all.rest(), cursor: all.cursor.replace(/@.*/, '') }
}

const valuesOf = ({ events }: { events: readonly Event[] }): unknown[] =>
  events.map(({ metadata }) => metadata && String(metadata))

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

describe('traps', () => {
  test('the head is behind the last message: a transaction ends with a control record', async () => {
    const { topic } = await newTopic()
    const producer = testClient().producer({ idempotent: true, maxInFlightRequests: 1, transactionalId: fresh('id') })
    await producer.connect()
    onTestFinished(() => producer.disconnect())
    const transaction = await producer.transaction()
    await transaction.send({ topic, messages: [{ value: 'a' }, { value: 'b' }] })
    await transaction.commit()
    await eventually(async () => (await source(topic).head?.()) === '2', 5000, 'the marker')
    const all = await read(topic)
    expect([valuesOf(all), all.cursor]).toEqual([['a', 'b'], '2'])
    expect((await source(topic).backlog?.(all.cursor))?.count).toBe(0n)
    expect(valuesOf(await read(topic, all.cursor))).toEqual([])
  })

  test('a key of four zero bytes is no abort marker', async () => {
    const { topic } = await newTopic()
    const producer = testClient().producer({ idempotent: true, maxInFlightRequests: 1, transactionalId: fresh('id') })
    await producer.connect()
    onTestFinished(() => producer.disconnect())
    for (const outcome of ['abort', 'commit'] as const) {
      const transaction = await producer.transaction()
      await transaction.send({ topic, messages: [{ key: Buffer.alloc(4), value: `${outcome} 1` }] })
      await transaction.send({ topic, messages: [{ key: Buffer.alloc(4), value: `${outcome} 2` }] })
      await transaction[outcome]()
    }
    await eventually(async () => (await source(topic).head?.()) === '5', 5000, 'the markers')
    expect(valuesOf(await read(topic))).toEqual(['commit 1', 'commit 2'])
    expect(valuesOf(await read(topic, '0'))).toEqual(['commit 1', 'commit 2'])
  })

  test('a fetch brings the whole batch: what lies before the cursor is not read again', async () => {
    const { topic, producer } = await newTopic()
    const values = Array.from({ length: 10 }, (_, i) => `v${i}`)
    await producer.send({ topic, messages: values.map((value) => ({ value })) }) // one batch
    for (let after = -1; after < 10; after++)
      expect(valuesOf(await read(topic, String(after)))).toEqual(values.slice(after + 1))
  })

  test('compaction leaves batches without records: they are passed over', async () => {
    const { topic, producer } = await newTopic({
      'cleanup.policy': 'compact',
      'min.cleanable.dirty.ratio': '0.01',
      'segment.ms': '100',
      'max.compaction.lag.ms': '100',
    })
    const idempotent = testClient().producer({ idempotent: true, maxInFlightRequests: 1 })
    await idempotent.connect()
    onTestFinished(() => idempotent.disconnect())
    for (let i = 0; i < 20; i++) await idempotent.send({ topic, messages: [{ key: 'k', value: `old ${i}` }] })
    const left = async (): Promise<number> => {
      await producer.send({ topic, messages: [{ key: 'k', value: 'new' }] }) // rolls the segment
      return (await read(topic)).events.length
    }
    await eventually(async () => (await left()) < 10, 50_000, 'the cleaner')
    await using log = await openPartition(adapterClient(), { log: 'test', topic, partition: 0 })
    const { batches } = await log.fetch({ offset: 0n, lastEpoch: -1, maxBytes: 1024 * 1024 })
    expect(batches.filter(({ records }) => [...records()].length === 0)).not.toEqual([])
    const all = await read(topic)
    expect(all.events.at(-1)?.foreignId).toBe('k')
    expect(all.cursor).toBe(await source(topic).head?.())
    const ids = all.events.map(({ id }) => id)
    for (const after of ['-1', '0', '5', '19']) {
      const { events, cursor } = await read(topic, after)
      expect(cursor).toBe(all.cursor)
      expect(ids).toEqual(expect.arrayContaining(events.map(({ id }) => id))) // the cleaner may have gone on
      expect(events.at(-1)?.id).toBe(ids.at(-1))
    }
  })

  test('odd headers are kept: names of every object, repeated ones, empty values', async () => {
    const { topic, producer } = await newTopic()
    const headers = { constructor: 'c', toString: ['a', 'b'], '1': '', é: 'ü' }
    await producer.send({ topic, messages: [{ key: null, value: 'v', headers: headers as never }] })
    const { events } = await read(topic)
    expect(events[0]).toMatchObject({ type: 0, foreignId: '', headers })
  })

  test('a topic may keep the time of the append in place of that of the producer', async () => {
    const { topic, producer } = await newTopic({ 'message.timestamp.type': 'LogAppendTime' })
    const before = Date.now() - 1
    await producer.send({
      topic,
      messages: [
        { value: 'v', timestamp: '1000' },
        { key: '', value: null },
      ],
    })
    const { events } = await read(topic)
    for (const { timestamp } of events) expect(timestamp).toBeGreaterThanOrEqual(before)
    expect(events.map(({ foreignId, metadata }) => [foreignId, metadata])).toEqual([
      ['', Buffer.from('v')],
      ['', null],
    ])
  })

  test('what is appended while a time is looked up is not passed over', async () => {
    const { topic, producer } = await newTopic()
    await producer.send({ topic, messages: [{ value: 'early', timestamp: '1000' }] })
    const kafka = afterEachLookup(async () => void (await producer.send({ topic, messages: [{ value: 'late' }] })))
    const cursor = (await kafkaPartition(kafka, { topic, partition: 0 }).at?.(Date.now() - 60_000)) ?? ''
    expect(cursor).toBe('0')
    expect(valuesOf(await read(topic, cursor))).toEqual(['late'])
    for (const at of [1e300, Number.MAX_SAFE_INTEGER]) expect(await source(topic).at?.(at)).toBe('1')
  })

  test('both ends are out of range, and told apart', async () => {
    const { topic, producer, trim } = await newTopic()
    await producer.send({ topic, messages: Array.from({ length: 10 }, () => ({ value: 'x' })) })
    await trim('4')
    const trimmed = await errorOf(source(topic).stream('2', {}))
    expect([codeOf(trimmed), (trimmed as { earliest?: string }).earliest]).toEqual(['CURSOR_TRIMMED', '4'])
    expect((await read(topic, '3')).events).toHaveLength(6)
    const ahead = await errorOf(source(topic).stream('10', {}))
    expect([codeOf(ahead), (ahead as { reason?: string }).reason]).toEqual(['CURSOR_AHEAD', 'beyond'])
    expect((await read(topic, '9')).events).toEqual([])
  })

  test('a topic that is made anew and has grown past the position is not read on', async () => {
    const { topic, producer, recreate } = await newTopic()
    await producer.send({ topic, messages: [{ value: 'a' }, { value: 'b' }] })
    const stream = reader(await source(topic).stream('', {}))
    onTestFinished(() => stream[Symbol.asyncDispose]())
    await stream.take(2)
    const next = errorOf(stream.take(1), 20_000)
    await recreate()
    await producer.send({ topic, messages: Array.from({ length: 5 }, (_, i) => ({ value: `new ${i}` })) })
    expect(['CURSOR_AHEAD', 'KAFKA_UNKNOWN_TOPIC_OR_PARTITION', 'KAFKA_UNKNOWN_TOPIC_ID']).toContain(codeOf(await next))
    expect(codeOf(await errorOf(source(topic).stream(stream.cursor, {})))).toBe('CURSOR_AHEAD')
  })
})

test('a topic that is deleted under a reader is an error', async () => {
  const { topic, producer, admin } = await newTopic()
  await producer.send({ topic, messages: [{ value: 'a' }] })
  await using stream = reader(await source(topic).stream('', {}))
  await stream.take(1)
  const waiting = errorOf(stream.take(1), 5000, 'noticing it')
  await admin.deleteTopics({ topics: [topic] })
  expect(codeOf(await waiting)).toMatch(/^KAFKA_UNKNOWN_TOPIC/)
  expect(codeOf(await errorOf(source(topic).stream('', {})))).toBe('KAFKA_UNKNOWN_TOPIC_OR_PARTITION')
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
        const stream = await source(topic).stream('', { signal: controller.signal })
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
    const unknown = await errorOf(source(fresh('nowhere')).stream('', {}))
    expect([codeOf(unknown), isRetriable(unknown)]).toEqual(['KAFKA_UNKNOWN_TOPIC_OR_PARTITION', true])
    const { topic } = await newTopic()
    const missing = await errorOf(source(topic, { partition: 3 }).stream('', {}))
    expect(codeOf(missing)).toBe('KAFKA_UNKNOWN_TOPIC_OR_PARTITION')
    expect(String(missing)).toMatch(/partitions 0 to 0, but not 3/)
  })

  test('options that are wrong', () => {
    for (const wrong of [{ topic: '' }, { partition: -1 }, { partition: 1.5 }, { batchSize: 0 }, { batchBytes: 1.5 }])
      expect(() => source('t', wrong)).toThrow(/must be/)
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
      expect(valuesOf(await read(topic))).toEqual(['a'])
    },
  )
})

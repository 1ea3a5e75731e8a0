import { Kafka } from 'kafkajs'
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest'
import { kafkaFailFast, kafkaSink } from '../../src/adapters/kafka/index.ts'
import { codeOf, isRetriable } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import type { Checkpoint, Sink, SinkWriter } from '../../src/core/sink.ts'
import { wireNames } from '../../src/core/wire.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { committedEvents } from '../subjects/kafka.ts'
import { onTestFinished } from '../tools/on-test-finished.ts'
import { errorOf } from '../tools/reader.ts'
import { adapterClient, deleteTopic, ownServer, testClient } from './fixture.ts'
import { type KafkaNodes, kafkaNodes } from './kafka-nodes.ts'
import { type LossyProxy, lossyProxy, type Moment } from './lossy-proxy.ts'
import { setQuota } from './set-quota.ts'
import { events, expectOnce, pump, type Route, route, SOURCE } from './sink-route.ts'

/** Rule 3. */
const NOTICED_MS = 5000
const deliveries = ['once', 'at-least-once'] as const
type Delivery = (typeof deliveries)[number]

/** A writer whose way to the broker is the proxy's; it is closed with the test. */
async function openThrough(
  { client }: LossyProxy,
  { topic, checkpointTopic }: Route,
  { saved, delivery = 'once' }: { saved?: Checkpoint | undefined; delivery?: Delivery } = {},
): Promise<SinkWriter> {
  const writer = await kafkaSink(client, { topic, checkpointTopic, delivery }).open({
    route: 'r',
    source: SOURCE,
    saved,
  })
  onTestFinished(() => writer[Symbol.asyncDispose]())
  return writer
}

describe('a coordinator that is not there yet', () => {
  test.each([
    ['FindCoordinator', 15],
    ['InitProducerId', 16],
    ['InitProducerId', 14],
  ] as const)('is waited for: %s is refused with %i a few times', async (request, code) => {
    const made = await route()
    const proxy = await lossyProxy()
    proxy.refuse(request, code, 5)
    await pump(await openThrough(proxy, made), events(5))
    expectOnce(await made.ids(), events(5))
  })

  test('keeps no one from opening the first route of a new cluster, into topics made a moment ago', async () => {
    const server = await ownServer()
    const sink = kafkaSink(adapterClient(server.url), { topic: 'first', partitions: 3 })
    await sink.createTopic()
    const writer = await sink.open({ route: 'r', source: SOURCE })
    onTestFinished(() => writer[Symbol.asyncDispose]())
    await writer.append(events(9), '9')
  })
})

describe('a connection that breaks while a writer opens', () => {
  const requests = ['Metadata', 'DescribeConfigs', 'FindCoordinator', 'InitProducerId', 'ListOffsets', 'Fetch'] as const
  const moments = requests.flatMap((request): Moment[] => [
    { request, nth: 1, at: 'request' },
    { request, nth: 1, at: 'reply' },
  ])
  test.each(moments)('is told, and costs nothing: $request, $at', async (moment) => {
    const made = await route({ partitions: 2 })
    const all = events(20)
    const saved = await pump(await made.open(), all, 10)
    const proxy = await lossyProxy()
    proxy.loseAt(moment)
    const error = await errorOf(openThrough(proxy, made, { saved }), NOTICED_MS)
    expect([proxy.lost, codeOf(error), isRetriable(error)]).toEqual([true, 'KAFKA_CONNECTION', true])
    await pump(await made.open(saved), all)
    expectOnce(await made.ids(), all)
  })
})

describe('a way to the broker', () => {
  test.each([
    ['once', 'AddPartitionsToTxn'],
    ['once', 'Produce'],
    ['once', 'EndTxn'],
    ['at-least-once', 'Produce'],
  ] as const)('that delivers requests twice appends nothing twice: %s, %s', async (delivery, request) => {
    const made = await route({ partitions: 2 })
    const proxy = await lossyProxy()
    const writer = await openThrough(proxy, made, { delivery })
    proxy.repeat(request)
    await pump(writer, events(30))
    expectOnce(await made.ids(), events(30))
    const again = await made.open(undefined, { delivery })
    expect([again.resumeFrom, again.repair]).toEqual(['30', undefined])
  })

  test('that delivers the request for the fence twice makes a writer that is fenced, and opens none', async () => {
    const made = await route()
    const proxy = await lossyProxy()
    proxy.repeat('InitProducerId')
    expect(codeOf(await errorOf(openThrough(proxy, made)))).toBe('FENCED')
    await pump(await made.open(), events(3))
    expectOnce(await made.ids(), events(3))
  })
})

test.each(deliveries)(
  'a connection for data that the broker closes while it is idle is made anew: %s',
  async (delivery) => {
    const { topic, checkpointTopic, ids } = await route({ partitions: 2 })
    const proxy = await lossyProxy()
    const writer = await kafkaSink(proxy.client, { topic, checkpointTopic, delivery }).open({
      route: 'r',
      source: SOURCE,
    })
    onTestFinished(() => writer[Symbol.asyncDispose]())
    const all = events(180) // so many at a time that they go in transactions
    await writer.append(all.slice(0, 60), '60')
    for (const end of [120, 180]) {
      await proxy.close('Produce')
      await writer.append(all.slice(end - 60, end), String(end))
    }
    expectOnce(await ids(), all)
  },
)

describe('a writer that stands still in an append, while another takes over', () => {
  const moments: Moment[] = [
    { request: 'AddPartitionsToTxn', nth: 1, at: 'request' },
    { request: 'AddPartitionsToTxn', nth: 1, at: 'reply' },
    { request: 'Produce', nth: 1, at: 'request' },
    { request: 'Produce', nth: 2, at: 'reply' },
    { request: 'EndTxn', nth: 1, at: 'request' },
  ]
  test.each(moments)('appends nothing when it goes on: $request $nth, $at', async (moment) => {
    const made = await route({ partitions: 2 })
    const all = events(20)
    const proxy = await lossyProxy()
    const zombie = await openThrough(proxy, made)
    const paused = proxy.standStillAt(moment)
    const appending = errorOf(pump(zombie, all, 5))
    await vi.waitUntil(() => proxy.lost)
    await pump(await made.open(), all)
    paused.goOn()
    // Or it was given up after a request's time, if all of this took that long.
    expect(codeOf(await appending)).toMatch(/^(FENCED|KAFKA_CONNECTION)$/)
    expectOnce(await made.ids(), all)
  })
})

describe('a topic', () => {
  test('that is deleted in mid-way is missed by the append and by the next opening, and refilled once it is made again', async () => {
    const made = await route()
    const all = events(20)
    const writer = await made.open()
    const saved = await pump(writer, all, 10)
    await deleteTopic(made.topics.admin, made.topic)
    expect(codeOf(await errorOf(writer.append(all.slice(10, 15), '15')))).toMatch(
      /^KAFKA_UNKNOWN_TOPIC_(ID|OR_PARTITION)$/,
    )
    expect(codeOf(await errorOf(made.open(saved)))).toBe('KAFKA_UNKNOWN_TOPIC_OR_PARTITION')
    await kafkaSink(adapterClient(), { topic: made.topic }).createTopic()
    const again = await made.open(saved)
    expect(again.repair).toMatch(/made anew: refilling 10 events/)
    await pump(again, all)
    expectOnce(await made.ids(), all)
  })

  test('that gets more partitions in mid-way keeps each key where it is, and the next opening says so', async () => {
    const made = await route({ partitions: 2 })
    const all = events(40)
    const writer = await made.open()
    const saved = await pump(writer, all, 20)
    const where = (await made.ids()).map((ids) => new Set(ids.map((id) => all[Number(id) - 1]?.foreignId)))
    await made.topics.admin.createPartitions({ topicPartitions: [{ topic: made.topic, count: 4 }] })
    await pump({ ...writer, resumeFrom: saved?.cursor ?? '' }, all)
    const ids = await made.ids()
    expectOnce(ids, all)
    for (const [partition, keys] of where.entries())
      for (const id of ids[partition] ?? []) expect(keys).toContain(all[Number(id) - 1]?.foreignId)
    expect(codeOf(await errorOf(made.open()))).toBe('SINK_PARTITIONS_CHANGED')
  })
})

test('a bridge that was restored from an older copy repeats nothing', async () => {
  const made = await route({ partitions: 2 })
  const all = events(30)
  const writer = await made.open()
  const old = await pump(writer, all, 5)
  await pump({ ...writer, resumeFrom: '5' }, all, 25)
  const again = await made.open(old)
  expect([again.resumeFrom, again.repair]).toEqual(['25', undefined])
  await pump(again, all)
  expectOnce(await made.ids(), all)
})

// Up to the clock they mostly wait, and do so at the same time.
test.concurrent('a coordinator that is not there is waited for no longer than an opening may take', async () => {
  const made = await route()
  const proxy = await lossyProxy()
  proxy.refuse('InitProducerId', 16, Number.POSITIVE_INFINITY)
  const error = await errorOf(openThrough(proxy, made), NOTICED_MS)
  expect([codeOf(error), isRetriable(error)]).toEqual(['KAFKA_NOT_COORDINATOR_FOR_GROUP', true])
})

test.concurrent.each(deliveries)('a way to the broker that is slow costs time only: %s', async (delivery) => {
  const made = await route({ partitions: 3 })
  const proxy = await lossyProxy()
  proxy.slow(80)
  const writer = await openThrough(proxy, made, { delivery })
  await pump(writer, events(20), 20, 10)
  expectOnce(await made.ids(), events(20))
})

describe.concurrent("a user's quota", () => {
  async function limited(rate: number, delivery: Delivery = 'once') {
    const made = await route()
    const clientId = fresh('client')
    await setQuota(clientId, 'producer_byte_rate', rate)
    const kafka = new Kafka({ brokers: [inject('servers').kafka.url], ...kafkaFailFast, clientId })
    const { topic, checkpointTopic } = made
    const open = async (): Promise<SinkWriter> => {
      const writer = await kafkaSink(kafka, { topic, checkpointTopic, delivery }).open({ route: 'r', source: SOURCE })
      onTestFinished(() => writer[Symbol.asyncDispose]())
      return writer
    }
    return { ...made, clientId, open }
  }

  test.each(deliveries)(
    'that is used up holds appends back, for longer than a request may take: %s',
    async (delivery) => {
      const { open, ids } = await limited(30_000, delivery)
      const all = events(3, { bytes: 150_000 })
      const started = Date.now()
      await pump(await open(), all, 3, 3)
      expect(Date.now() - started).toBeGreaterThan(kafkaFailFast.requestTimeout)
      expectOnce(await ids(), all)
    },
    60_000,
  )

  test('that would hold a transaction back until that is aborted is told, and nothing is appended', async () => {
    const { open, ids, clientId } = await limited(10_000)
    const all = events(10, { bytes: 100_000 })
    const error = await errorOf((await open()).append(all, '10'))
    expect([codeOf(error), isRetriable(error)]).toEqual(['KAFKA_THROTTLING_QUOTA_EXCEEDED', true])
    expect(String(error)).toContain('producer_byte_rate')
    await setQuota(clientId, 'producer_byte_rate', 1e9)
    await pump(await open(), all)
    expectOnce(await ids(), all)
  })
})

describe.concurrent('a broker that falls silent, with its connections open', () => {
  test.each(['Metadata', 'InitProducerId'] as const)('is noticed in time by an opening: %s', async (request) => {
    const made = await route()
    const proxy = await lossyProxy()
    proxy.loseAt({ request, nth: 1, at: 'reply' }, () => {})
    const error = await errorOf(openThrough(proxy, made), NOTICED_MS)
    expect([proxy.lost, codeOf(error)]).toEqual([true, 'KAFKA_CONNECTION'])
  })

  const moments: (Moment & { delivery: Delivery })[] = [
    { delivery: 'once', request: 'AddPartitionsToTxn', nth: 1, at: 'reply' },
    { delivery: 'once', request: 'Produce', nth: 1, at: 'request' },
    { delivery: 'once', request: 'Produce', nth: 2, at: 'reply' },
    { delivery: 'once', request: 'EndTxn', nth: 1, at: 'request' },
    { delivery: 'once', request: 'EndTxn', nth: 1, at: 'reply' },
    { delivery: 'at-least-once', request: 'Produce', nth: 1, at: 'reply' },
  ]
  test.each(moments)(
    'is noticed in time by an append, whose outcome the next writer finds out: $delivery, $request $nth, $at',
    async ({ delivery, ...moment }) => {
      const made = await route({ partitions: 2 })
      const all = events(20)
      const saved = await pump(await made.open(undefined, { delivery }), all, 5)
      const proxy = await lossyProxy()
      const writer = await openThrough(proxy, made, { saved, delivery })
      proxy.loseAt(moment, () => {})
      const error = await errorOf(pump(writer, all, 10), NOTICED_MS)
      expect([proxy.lost, codeOf(error), isRetriable(error)]).toEqual([true, 'KAFKA_CONNECTION', true])
      await pump(await made.open(saved, { delivery }), all)
      expectOnce(await made.ids(), all)
    },
  )
})

test('a clock that is hours ahead is told of, and appends nothing', async () => {
  const made = await route()
  const writer = await made.open()
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 5 * 3_600_000 })
  onTestFinished(() => void vi.useRealTimers())
  const error = await errorOf(writer.append(events(3), '3'))
  vi.useRealTimers()
  expect([codeOf(error), isRetriable(error)]).toEqual(['KAFKA_INVALID_TIMESTAMP', true])
  expect(String(error)).toContain('clock')
  await pump(await made.open(), events(3))
  expectOnce(await made.ids(), events(3))
})

describe('of three brokers', () => {
  let nodes: KafkaNodes
  beforeAll(async () => {
    // What is dead is noticed sooner.
    const config = { 'broker.session.timeout.ms': '2000', 'broker.heartbeat.interval.ms': '250' }
    nodes = await kafkaNodes({ brokers: 3, config })
  }, 120_000)
  afterAll(() => nodes[Symbol.asyncDispose]())

  const sourceIds = async (topic: string, partition: number): Promise<string[]> =>
    (await committedEvents(adapterClient(nodes.url), topic, partition)).map(({ headers }) =>
      String(headers[wireNames.sourceId]),
    )

  /** Appends in small batches, and opens again after each error, until it has got so far. Resolves with the errors. */
  async function forward(sink: Sink, all: readonly Event[], until: (at: number) => boolean): Promise<unknown[]> {
    const errors: unknown[] = []
    for (let at = 0, deadline = Date.now() + 60_000; ; ) {
      try {
        await using writer = await sink.open({ route: 'r', source: SOURCE })
        for (at = Number(writer.resumeFrom); ; ) {
          if (until(at)) return errors
          const batch = all.slice(at, at + 2)
          await writer.append(batch, String(at + batch.length))
          at += batch.length
        }
      } catch (error) {
        if (!isRetriable(error) || Date.now() > deadline) throw error
        errors.push(error)
        if (until(at)) return errors
      }
    }
  }

  test('any one may die while events are appended: none is lost, none comes twice', async () => {
    const topic = fresh('out')
    const sink = kafkaSink(adapterClient(nodes.url), {
      ...{ topic, checkpointTopic: fresh('checkpoints'), partitions: 3, strict: true },
    })
    await sink.createTopic()
    await nodes.areKnown(topic)
    const all = events(300)
    let reached = 0
    const to =
      (aim: number) =>
      (at: number): boolean => {
        reached = at
        return at >= aim
      }
    const errors: unknown[] = []
    for (const [i, node] of [2, 3].entries()) {
      const aim = (i + 1) * 120
      const forwarding = forward(sink, all, to(aim))
      await vi.waitUntil(() => reached >= aim - 100, 60_000)
      await nodes.kill(node)
      errors.push(...(await forwarding))
      await nodes.start(node)
    }
    await forward(sink, all, to(all.length))
    expect(errors.length).toBeGreaterThan(0)
    expectOnce(await Promise.all([0, 1, 2].map((partition) => sourceIds(topic, partition))), all)
  }, 180_000)

  test.each(['events', 'checkpoints'] as const)(
    'too few of them in sync refuse a batch as a whole: of %s',
    async (which) => {
      const [topic, checkpointTopic] = [fresh('out'), fresh('checkpoints')]
      const admin = testClient(nodes.url).admin()
      await admin.connect()
      onTestFinished(() => admin.disconnect())
      const compact = { name: 'cleanup.policy', value: 'compact' }
      const few = { replicas: [1, 2], configEntries: [{ name: 'min.insync.replicas', value: '2' }] }
      const enough = { replicas: [1, 3, 2], configEntries: [] }
      await admin.createTopics({
        waitForLeaders: false,
        topics: [
          { topic, ...(which === 'events' ? few : enough) },
          { topic: checkpointTopic, ...(which === 'events' ? enough : few) },
        ].map(({ topic, replicas, configEntries }) => ({
          topic,
          replicaAssignment: [{ partition: 0, replicas }],
          configEntries: [...configEntries, ...(topic === checkpointTopic ? [compact] : [])],
        })),
      })
      await nodes.areKnown(topic, checkpointTopic)
      const sink = kafkaSink(adapterClient(nodes.url), { topic, checkpointTopic })
      const all = events(20)
      const attempt = async (): Promise<unknown> => {
        await using writer = await sink.open({ route: 'r', source: SOURCE })
        const at = Number(writer.resumeFrom)
        return await writer.append(all.slice(at, at + 2), String(at + 2))
      }
      await attempt()
      await nodes.kill(2)
      // Until the broker's session has run out, it counts as in sync, and is waited for. Then neither a record nor the end of what
      // was begun before can be written.
      for (let code = ''; !/^KAFKA_(NOT_ENOUGH_REPLICAS|CONCURRENT_TRANSACTIONS)/.test(code); ) {
        const error = await errorOf(attempt())
        expect(isRetriable(error)).toBe(true)
        code = codeOf(error) ?? ''
      }
      await nodes.start(2)
      await forward(sink, all, (at) => at >= 20)
      expectOnce([await sourceIds(topic, 0)], all)
    },
    180_000,
  )
})

import { readFile, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { ConfigResourceTypes, type Message } from 'kafkajs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { encodeRecord } from '../../src/adapters/kafka/codec.ts'
import { kafkaSink } from '../../src/adapters/kafka/index.ts'
import { connectKafka } from '../../src/adapters/kafka/kafka-connection.ts'
import { openProducer } from '../../src/adapters/kafka/kafka-producer.ts'
import { codeOf, isRetriable } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import { wireNames } from '../../src/core/wire.ts'
import { startServer } from '../../src/testing/servers/index.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { onTestFinished } from '../tools/on-test-finished.ts'
import { errorOf, eventually } from '../tools/reader.ts'
import { cutLog } from './cut-log.ts'
import { adapterClient, deleteTopic, type ownServer, partitionsOf, testClient } from './fixture.ts'
import { consoleConsumer } from './java-clients.ts'
import { lossyProxy, type Moment } from './lossy-proxy.ts'
import { events, expectOnce, idsOf, pump, type Route, refusalOf, route, SOURCE } from './sink-route.ts'

describe('what is written', () => {
  test('is read by the console consumer, committed: key, headers and value as docs/wire.md says', async () => {
    const { topic, open } = await route()
    const writer = await open()
    const headers = { traceparent: '00-4bf9-00f0-01', many: ['a', 'é'] }
    const [first, tombstone, empty] = [
      { ...(events(1)[0] as Event), foreignId: 'order-é', metadata: Buffer.from('{"total":12}'), headers },
      { ...(events(1, { from: 2 })[0] as Event), metadata: null },
      { ...(events(1, { from: 3 })[0] as Event), metadata: Buffer.alloc(0), foreignId: '' },
    ]
    const before = Date.now()
    await writer.append([first, tombstone, empty], '3')
    const records = await consoleConsumer(topic, { count: 3 })
    const texts = records.map(({ key, value, headers }) => ({
      key: key?.toString(),
      value: value === null ? null : value.toString(),
      headers: headers.map(([name, each]) => [name, each?.toString()]),
    }))
    const own = (id: string) => [
      ['reflex-source', SOURCE],
      ['reflex-source-id', id],
      ['reflex-type', '1'],
      ['reflex-timestamp', '2026-01-01T00:00:00.000000Z'],
    ]
    expect(texts).toEqual([
      {
        key: 'order-é',
        value: '{"total":12}',
        headers: [...own('1'), ['traceparent', '00-4bf9-00f0-01'], ['many', 'a'], ['many', 'é']],
      },
      { key: 'e2', value: null, headers: own('2') },
      { key: '', value: '', headers: own('3') },
    ])
    // Its append, not the event's own: retention by time deletes nothing that has just been forwarded.
    for (const { timestamp } of records) expect(timestamp).toBeGreaterThanOrEqual(before)
  })

  test("goes to the partitions that Kafka's own partitioner chooses, each key into one, in order", async () => {
    const { topic, topics, open, ids } = await route({ partitions: 5 })
    const all = events(60).map((event, i) => ({ ...event, foreignId: `customer ${i % 13}` }))
    await pump(await open(), all)
    expectOnce(await ids(), all)
    const mine = await partitionsOf(topic, undefined, 5)
    for (const { foreignId } of all.slice(0, 13))
      await topics.producer.send({ topic, messages: [{ key: foreignId, value: 'of kafkajs' }] })
    for (const [partition, after] of (await partitionsOf(topic, undefined, 5)).entries()) {
      const keys = new Set(mine[partition]?.map(({ foreignId }) => foreignId))
      expect(new Set(after.map(({ foreignId }) => foreignId))).toEqual(keys)
    }
  })

  test('may be larger than a request: it is split, and still all or nothing', async () => {
    const { open, ids } = await route({ partitions: 2 })
    const all = events(60, { bytes: 50_000 })
    const writer = await open()
    await writer.append(all, '60')
    expectOnce(await ids(), all)
  })

  test('is nothing if one event is larger than max.message.bytes, and the error says so', async () => {
    const { open, ids } = await route()
    const writer = await open()
    const saved = await pump(writer, events(5))
    const error = await errorOf(
      writer.append([...events(5, { from: 6 }), ...events(1, { from: 11, bytes: 1_200_000 })], '11'),
    )
    expect([codeOf(error), isRetriable(error)]).toEqual(['EVENT_TOO_LARGE', false])
    expect(String(error)).toMatch(
      /the event 11 makes a batch of 12001\d\d bytes, more than the 1048588 of max\.message\.bytes/,
    )
    expect(await errorOf(writer.append([], '5'))).toBe(error) // the writer is dead
    const again = await open(saved)
    expect(again.resumeFrom).toBe('5')
    expect(again.repair).toBeUndefined()
    expect(await ids()).toEqual([['1', '2', '3', '4', '5']])
  })
})

describe('an event that is too large', () => {
  const deliveries = ['once', 'at-least-once'] as const
  async function limited(settings: Readonly<Record<string, string>>) {
    const made = await route()
    const set = async (settings: Readonly<Record<string, string>>): Promise<void> => {
      const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }))
      const resources = [{ type: ConfigResourceTypes.TOPIC, name: made.topic, configEntries }]
      await made.topics.admin.alterConfigs({ validateOnly: false, resources })
      const isSet = async (): Promise<boolean> => {
        const described = await made.topics.admin.describeConfigs({
          includeSynonyms: false,
          resources: [{ ...resources[0], configNames: Object.keys(settings) } as (typeof resources)[0]],
        })
        const now = described.resources[0]?.configEntries ?? []
        return now.every(({ configName, configValue }) => settings[configName] === configValue)
      }
      await eventually(isSet, 5000, 'the setting')
    }
    await set(settings)
    return { ...made, set }
  }
  const large = (id: number, bytes: number): Event => events(1, { from: id, bytes })[0] as Event

  test.each(deliveries)('is refused before anything of its batch is sent: %s', async (delivery) => {
    const { topic, checkpointTopic, ids } = await route({ partitions: 3 })
    const proxy = await lossyProxy()
    const writer = await kafkaSink(proxy.client, { topic, checkpointTopic, delivery }).open({
      route: 'r',
      source: SOURCE,
    })
    onTestFinished(() => writer[Symbol.asyncDispose]())
    proxy.loseAt({ request: delivery === 'once' ? 'AddPartitionsToTxn' : 'Produce', nth: 1, at: 'request' })
    const error = await errorOf(writer.append([...events(5), large(6, 1_200_000)], '6'))
    expect([codeOf(error), isRetriable(error)]).toEqual(['EVENT_TOO_LARGE', false])
    expect(String(error)).toMatch(
      /the event 6 makes a batch of 12001\d\d bytes, more than the 1048588 of max\.message\.bytes/,
    )
    expect(proxy.lost).toBe(false)
    expect((await ids()).flat()).toEqual([])
  })

  test.each(deliveries)('has one byte more than the largest that the topic takes: %s', async (delivery) => {
    const { open, ids } = await limited({ 'max.message.bytes': '100000' })
    const error = await errorOf((await open(undefined, { delivery })).append([large(1, 100_000)], '1'))
    const bytes = Number(/ a batch of (\d+) bytes/.exec(String(error))?.[1])
    const largest = 100_000 - (bytes - 100_000)
    const writer = await open(undefined, { delivery })
    await writer.append([large(1, largest)], '1')
    const refusal = await errorOf(writer.append([large(2, largest + 1)], '2'))
    expect(String(refusal)).toContain(
      'the event 2 makes a batch of 100001 bytes, more than the 100000 of max.message.bytes',
    )
    expect(await ids()).toEqual([['1']])
  })

  test('is judged by what the topic is set to now', async () => {
    const { open, ids, set } = await limited({ 'max.message.bytes': '100000' })
    const writer = await open()
    await set({ 'max.message.bytes': '200000' })
    await writer.append([large(1, 150_000)], '1')
    await set({ 'max.message.bytes': '50000' })
    const error = await errorOf(writer.append([...events(3, { from: 2 }), large(5, 80_000)], '5'))
    expect([codeOf(error), isRetriable(error)]).toEqual(['EVENT_TOO_LARGE', false])
    expect(String(error)).toMatch(
      /the event 5 makes a batch of 801\d\d bytes, more than the 50000 of max\.message\.bytes/,
    )
    expect(await ids()).toEqual([['1']])
  })

  test('may also be larger than a segment', async () => {
    const { open } = await limited({ 'max.message.bytes': '3000000', 'segment.bytes': '1048576' })
    const error = await errorOf((await open()).append([large(1, 2_000_000)], '1'))
    expect(String(error)).toMatch(/more than the 1048576 of segment\.bytes; raise that/)
  })
})

describe('the checkpoints', () => {
  test('are in a topic that is compacted and has one partition', async () => {
    const { open, topics, checkpointTopic } = await route()
    await open()
    const resource = { type: ConfigResourceTypes.TOPIC, name: checkpointTopic, configNames: ['cleanup.policy'] }
    const { resources } = await topics.admin.describeConfigs({ includeSynonyms: false, resources: [resource] })
    expect(resources[0]?.configEntries[0]?.configValue).toBe('compact')
    const { topics: found } = await topics.admin.fetchTopicMetadata({ topics: [checkpointTopic] })
    expect(found[0]?.partitions).toHaveLength(1)
  })

  test('of routes that share them are told apart, however many records of others follow', async () => {
    const { open, ids } = await route()
    const all = events(10)
    await (await open())[Symbol.asyncDispose]()
    const first = await open()
    await first.append(all.slice(0, 4), '4')
    const other = await open(undefined, { name: 'other', source: 'other' })
    for (let i = 1; i <= 250; i++) await other.append([], `x${i}`)
    const again = await open()
    expect(again.resumeFrom).toBe('4')
    await pump(again, all)
    expect(await ids()).toEqual([idsOf(all)])
  })

  test('are found behind the open transaction of another producer', async () => {
    const { open, topic, checkpointTopic } = await route()
    await (await open())[Symbol.asyncDispose]()
    const producer = testClient().producer({ idempotent: true, maxInFlightRequests: 1, transactionalId: fresh('id') })
    await producer.connect()
    onTestFinished(() => producer.disconnect())
    const transaction = await producer.transaction()
    for (const each of [topic, checkpointTopic])
      await transaction.send({ topic: each, messages: [{ key: 'other', value: 'x', partition: 0 }] })
    await (await open()).append(events(3), '3')
    expect((await open()).resumeFrom).toBe('3') // the last stable offset is before the foreign record
    await transaction.abort()
  })

  test('of an append that was given up are not found', async () => {
    const { open, ids } = await route()
    const writer = await open()
    await writer.append(events(3), '3')
    await errorOf(writer.append(events(1, { from: 4, bytes: 1_200_000 }), '4'))
    const again = await open()
    expect(again.resumeFrom).toBe('3')
    expect(await ids()).toEqual([['1', '2', '3']])
  })

  test('of another source are refused', async () => {
    const { open } = await route()
    await (await open()).append(events(3), '3')
    expect(codeOf(await errorOf(open(undefined, { source: 'another' })))).toBe('OPTION_INVALID')
  })

  test('that are gone are made up for by what the bridge saved: nothing is repeated, and it says so', async () => {
    const { open, ids, topics, checkpointTopic } = await route({ partitions: 2 })
    const all = events(20)
    const writer = await open()
    const saved = await pump(writer, all, 10)
    await writer.append(all.slice(10, 15), '15') // and not saved
    await topics.admin.deleteTopics({ topics: [checkpointTopic] })
    const again = await open(saved)
    expect(again.resumeFrom).toBe('') // what else was lost is not known
    expect(again.repair).toMatch(/checkpoint record is gone: refilling 0 events/)
    await pump(again, all)
    expectOnce(await ids(), all)
  })
})

describe('a topic', () => {
  test('is created on request, and left alone if it is there', async () => {
    const { open, topic, topics, ids } = await route({ partitions: 2 })
    const sink = kafkaSink(adapterClient(), { topic: fresh('new') })
    onTestFinished(() => topics.admin.deleteTopics({ topics: [sink.name.slice('kafka:'.length)] }))
    const missing = await errorOf(sink.open({ route: 'r', source: SOURCE }))
    expect(codeOf(missing)).toBe('KAFKA_UNKNOWN_TOPIC_OR_PARTITION')
    await sink.createTopic()
    await (await sink.open({ route: 'r', source: SOURCE }))[Symbol.asyncDispose]()
    await pump(await open(), events(9))
    await kafkaSink(adapterClient(), { topic }).createTopic()
    expectOnce(await ids(), events(9))
  })

  test('with another number of partitions is refused, until the operator says that it is meant', async () => {
    const { open, topics, topic } = await route({ partitions: 2 })
    const all = events(40).map((event, i) => ({ ...event, foreignId: `customer ${i % 13}` }))
    const saved = await pump(await open(), all, 20)
    await topics.admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] })
    const error = await refusalOf(() => open(saved))
    expect(codeOf(error)).toBe('SINK_PARTITIONS_CHANGED')
    expect(String(error)).toContain('partitions: 4')
    await pump(await open(saved, { partitions: 4 }), all)
    const found = await partitionsOf(topic, undefined, 4)
    expect(found[2]?.length).toBeGreaterThan(0)
    const ids = found.map((partition) => partition.map(({ headers }) => String(headers[wireNames.sourceId])))
    expectOnce(ids, all)
    expect((await open()).resumeFrom).toBe('40')
  })

  test('that is made anew while it is written is noticed, by an append and by an idle writer', async () => {
    const { open, topics, ids } = await route()
    const all = events(12)
    const busy = await open()
    const saved = await pump(busy, all, 6)
    await topics.recreate()
    expect(codeOf(await errorOf(busy.append(all.slice(6, 9), '9')))).toMatch(/^(SINK_TAIL_CHANGED|KAFKA_)/)
    const idle = await open(saved)
    expect(idle.repair).toMatch(/made anew.*refilling 6 events/)
    const whole = await pump(idle, all)
    expect(await ids()).toEqual([idsOf(all)])
    await topics.recreate()
    expect(codeOf(await errorOf(idle.append([], '12')))).toMatch(/^(SINK_TAIL_CHANGED|KAFKA_)/)
    await pump(await open(whole), all)
    expect(await ids()).toEqual([idsOf(all)])
  })

  test('that lost more than maxRefill is refused, with what to do', async () => {
    const { open, topics, ids } = await route()
    const all = events(8)
    const saved = await pump(await open(), all)
    await topics.recreate()
    const error = await errorOf(open(saved, { maxRefill: 7 }))
    expect([codeOf(error), isRetriable(error)]).toEqual(['SINK_LOST_TOO_MUCH', false])
    expect(String(error)).toContain('maxRefill: 8')
    await pump(await open(saved, { maxRefill: 8 }), all)
    expect(await ids()).toEqual([idsOf(all)])
  })

  test('that was trimmed has lost nothing', async () => {
    const { open, topics, ids } = await route()
    const all = events(10)
    const saved = await pump(await open(), all, 8)
    await topics.trim('6')
    const again = await open(saved)
    expect(again.resumeFrom).toBe('8')
    expect(again.repair).toBeUndefined()
    await pump(again, all)
    expect((await ids()).flat().slice(-3)).toEqual(['8', '9', '10'])
  })
})

test('a writer that stood still while another took over cannot write, nor can its open transaction', async () => {
  const { open, ids } = await route()
  const all = events(9)
  const older = await open()
  await older.append(all.slice(0, 3), '3')
  const newer = await open()
  expect(codeOf(await errorOf(older.append([], '3')))).toBe('FENCED') // the idle check tells as well
  await pump(newer, all)
  expect(await ids()).toEqual([idsOf(all)])
})

/** Records of events as a writer appends them, without their checkpoint. */
function messagesOf(some: readonly Event[]): Message[] {
  return some.map(({ id, foreignId, metadata }) => ({
    key: foreignId,
    value: Buffer.from(metadata as Uint8Array),
    partition: 0,
    headers: {
      [wireNames.source]: SOURCE,
      [wireNames.sourceId]: id,
      [wireNames.type]: '1',
      [wireNames.timestamp]: '2026-01-01T00:00:00.000000Z',
    },
  }))
}

/** The values of the checkpoint records, in order. */
async function checkpointsIn(checkpointTopic: string): Promise<Record<string, unknown>[]> {
  const records = await partitionsOf(checkpointTopic, undefined, 1)
  return records.flat().map(({ metadata }) => JSON.parse(Buffer.from(metadata as Uint8Array).toString()))
}

describe.concurrent('a connection that breaks', () => {
  const moments: Moment[] = (['request', 'reply'] as const).flatMap((at) => [
    { request: 'AddPartitionsToTxn', nth: 1, at },
    { request: 'Produce', nth: 1, at }, // events
    { request: 'Produce', nth: 2, at }, // and their checkpoint
    { request: 'EndTxn', nth: 1, at },
    { request: 'AddPartitionsToTxn', nth: 2, at },
    { request: 'Produce', nth: 4, at },
    { request: 'EndTxn', nth: 2, at },
  ])
  const ofBoth = moments.flatMap((moment) => [
    { delivery: 'once' as const, ...moment },
    ...(moment.request === 'Produce' ? [{ delivery: 'at-least-once' as const, ...moment }] : []),
  ])
  test.each(ofBoth)('loses and repeats nothing: $delivery, $request $nth, $at', async ({ delivery, ...moment }) => {
    const { topic, checkpointTopic, open, ids } = await route({ partitions: 3 })
    const all = events(20)
    const saved = await pump(await open(undefined, { delivery }), all, 5)
    const proxy = await lossyProxy()
    const sink = kafkaSink(proxy.client, { topic, checkpointTopic, delivery })
    const writer = await sink.open({ route: 'r', source: SOURCE, saved })
    onTestFinished(() => writer[Symbol.asyncDispose]())
    proxy.loseAt(moment)
    const error = await errorOf(pump(writer, all, 15))
    expect(proxy.lost).toBe(true)
    expect([codeOf(error), isRetriable(error)]).toEqual(['KAFKA_CONNECTION', true])
    const again = await open(saved, { delivery })
    expect(again.repair).toBeUndefined()
    await pump(again, all)
    expectOnce(await ids(), all)
    const clean = await open(undefined, { delivery })
    expect([clean.resumeFrom, clean.repair]).toEqual(['20', undefined])
  })
})

describe('an abort', () => {
  const moments: Moment[] = (
    ['Metadata', 'FindCoordinator', 'InitProducerId', 'ListOffsets', 'Fetch'] as const
  ).flatMap((request) => [
    { request, nth: 1, at: 'request' },
    { request, nth: 1, at: 'reply' },
  ])
  test.each(moments)('while it opens ends that at once and leaves nothing: $request, $at', async (moment) => {
    const { topic, checkpointTopic, open } = await route({ partitions: 2 })
    const saved = await pump(await open(), events(10))
    const proxy = await lossyProxy()
    const sockets = () => process.getActiveResourcesInfo().filter((name) => /^(TCP|Timeout)/.test(name)).length
    const before = sockets()
    const ended = new AbortController()
    const reason = new Error('enough')
    proxy.loseAt(moment, () => ended.abort(reason))
    const opening = kafkaSink(proxy.client, { topic, checkpointTopic }).open({
      ...{ route: 'r', source: SOURCE, saved, signal: ended.signal },
    })
    expect(await errorOf(opening)).toBe(reason)
    await eventually(async () => sockets() <= before, 1000, 'the end of all sockets and timers')
  })

  test('while it appends does not cut that off: its transaction would hold readers up', async () => {
    const { topic, checkpointTopic, ids } = await route()
    const ended = new AbortController()
    const { signal } = ended
    const writer = await kafkaSink(adapterClient(), { topic, checkpointTopic }).open({
      ...{ route: 'r', source: SOURCE, signal },
    })
    onTestFinished(() => writer[Symbol.asyncDispose]())
    const appending = writer.append(events(3), '3')
    ended.abort(new Error('enough'))
    await appending
    expectOnce(await ids(), events(3))
  })
})

describe('a batch', () => {
  test('is split further where the topic takes less than the default', async () => {
    const { open, topics, topic, ids } = await route({ partitions: 2 })
    const configEntries = [{ name: 'max.message.bytes', value: '100000' }]
    await topics.admin.alterConfigs({
      validateOnly: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries }],
    })
    const all = events(120, { bytes: 5000 })
    await pump(await open(), all, 120, 60)
    expectOnce(await ids(), all)
  })

  test('of several requests ends where its last record stands, whatever others append in between', async () => {
    const { open, topics, topic, checkpointTopic } = await route()
    const writer = await open()
    const ended = new AbortController()
    const others = (async () => {
      while (!ended.signal.aborted) await topics.producer.send({ topic, messages: [{ value: 'of others' }] })
    })()
    await writer.append(events(100, { bytes: 50_000 }), '100')
    ended.abort()
    await others
    const [partition = []] = await partitionsOf(topic, undefined, 1)
    const last = partition.findLast(({ headers }) => headers[wireNames.sourceId] === '100')
    expect(partition.length).toBeGreaterThan(100)
    const [checkpoint] = await checkpointsIn(checkpointTopic)
    expect(checkpoint).toMatchObject({ ends: { 0: String(Number(last?.id) + 1) }, last: { 0: '100' } })
  })

  test.each([1, 2, 3, 4])('whose topic of checkpoints was deleted is refused for that (%i)', async () => {
    const { open, topics, checkpointTopic } = await route()
    const writer = await open()
    await writer.append(events(3), '3')
    await deleteTopic(topics.admin, checkpointTopic)
    const error = await errorOf(writer.append(events(1, { from: 4 }), '4'))
    expect(codeOf(error)).toBe('KAFKA_UNKNOWN_TOPIC_OR_PARTITION') // and not that it was not attempted
    await open() // makes it again
  })
})

describe('what is skipped', () => {
  test('may be trimmed meanwhile', async () => {
    const { open, topics, checkpointTopic } = await route()
    const all = events(20)
    const saved = await pump(await open(), all, 10)
    await topics.admin.deleteTopics({ topics: [checkpointTopic] })
    const again = await open(saved)
    const half = await pump(again, all, 5)
    await topics.trim('8')
    expect((await open(half)).resumeFrom).toBe('5')
  })

  /** A writer appends, at least once, and ends before it has told so. */
  async function crash({ topic, checkpointTopic }: Route, some: readonly Event[]): Promise<void> {
    const proxy = await lossyProxy()
    const sink = kafkaSink(proxy.client, { topic, checkpointTopic, delivery: 'at-least-once' })
    const writer = await sink.open({ route: 'r', source: SOURCE })
    onTestFinished(() => writer[Symbol.asyncDispose]())
    proxy.loseAt({ request: 'Produce', nth: 2, at: 'reply' })
    expect(codeOf(await errorOf(writer.append(some, String(some.at(-1)?.id))))).toBe('KAFKA_CONNECTION')
  }

  test('is not looked for again once it has come, at least once', async () => {
    const made = await route()
    const { open, ids } = made
    const all = events(12)
    const options = { delivery: 'at-least-once', maxRefill: 3 } as const
    const saved = await pump(await open(undefined, options), all, 5)
    await crash(made, all.slice(5, 8))
    const again = await open(saved, options)
    await again.append(all.slice(5, 7), '7')
    await pump(await open(saved, options), all)
    expect((await open(saved, options)).resumeFrom).toBe('12')
    expectOnce(await ids(), all)
  })

  test('is known to be there afterwards: if it is lost then, it is refilled', async () => {
    const made = await route()
    const { open, checkpointTopic } = made
    const delivery = 'at-least-once'
    const saved = await pump(await open(undefined, { delivery }), events(8), 5)
    await crash(made, events(3, { from: 6 }))
    await pump(await open(saved, { delivery }), events(8))
    expect((await checkpointsIn(checkpointTopic)).at(-1)).toMatchObject({ ends: { 0: '8' }, last: { 0: '8' } })
  })
})

describe('a checkpoint', () => {
  test('that was deleted with a tombstone is gone at once, not when that is compacted', async () => {
    const { open, topics, topic, checkpointTopic, ids } = await route()
    const saved = await pump(await open(), events(10))
    await topics.producer.send({ topic: checkpointTopic, messages: [{ key: `${topic}/r`, value: null }] })
    const again = await open(saved)
    expect(again.repair).toMatch(/checkpoint record is gone/)
    await pump(again, events(12))
    expectOnce(await ids(), events(12))
  })

  test('of a transaction that is open does not count, at least once', async () => {
    const { open, topic, checkpointTopic, ids } = await route()
    const all = events(6)
    const saved = await pump(await open(), all, 3)
    const [newest] = await checkpointsIn(checkpointTopic)
    const producer = testClient().producer({ idempotent: true, maxInFlightRequests: 1, transactionalId: fresh('id') })
    await producer.connect()
    onTestFinished(() => producer.disconnect())
    const transaction = await producer.transaction()
    const [at] = await transaction.send({ topic, messages: messagesOf(all.slice(3, 4)) })
    const ends = { 0: String(Number(at?.baseOffset) + 1) }
    const value = JSON.stringify({ ...newest, cursor: '4', count: '4', ends, last: { 0: '4' } })
    await transaction.send({ topic: checkpointTopic, messages: [{ key: `${topic}/r`, value }] })
    const writer = await open(saved, { delivery: 'at-least-once' })
    await transaction.abort()
    await pump(writer, all)
    expectOnce(await ids(), all)
  })
})

describe('a tail that was lost with the broker', () => {
  let server: Awaited<ReturnType<typeof ownServer>>
  beforeAll(async () => {
    server = (await startServer('kafka', { from: ['native'] })) as typeof server
  })
  afterAll(() => server[Symbol.asyncDispose]())

  test('in several partitions is refilled in each, and nothing is repeated', async () => {
    const { open, ids, topics, topic } = await route({ brokers: server.url, partitions: 3 })
    const all = events(60)
    const saved = await pump(await open(), all)
    const broker = { type: ConfigResourceTypes.BROKER, name: '1', configNames: ['log.dirs'] }
    const { resources } = await topics.admin.describeConfigs({ includeSynonyms: false, resources: [broker] })
    const folder = resources[0]?.configEntries[0]?.configValue as string
    const before = await ids()
    await server.process.kill()
    await cutLog(join(folder, `${topic}-0`, '00000000000000000000.log'), 0.5, { whole: true })
    await cutLog(join(folder, `${topic}-2`, '00000000000000000000.log'), 0.8, { whole: true })
    await server.process.start()
    const left = await ids()
    expect(left[1]).toEqual(before[1])
    const lost = all.length - left.flat().length
    expect(lost).toBeGreaterThan(2)
    const again = await open(saved)
    expect(again.repair).toMatch(new RegExp(`refilling ${lost} events`))
    // Killed in the middle of the refill, the next one goes on with it.
    await again.append(
      all.slice(Number(again.resumeFrom), Number(again.resumeFrom) + 4),
      String(Number(again.resumeFrom) + 4),
    )
    await again[Symbol.asyncDispose]()
    await pump(await open(saved), all)
    expectOnce(await ids(), all)
    const clean = await open()
    expect([clean.resumeFrom, clean.repair]).toEqual(['60', undefined])
  })

  test('trap kafka 10: what Kafka has left without its end does not come with the next transaction', async () => {
    const { open, ids, topic, topics } = await route({ brokers: server.url })
    const all = events(20)
    const saved = await pump(await open(), all.slice(0, 10))
    // The coordinator knows nothing of the transaction: as if it had left its end out, and gone on.
    const unverified = [{ name: 'transaction.partition.verification.enable', value: 'false' }]
    const broker = { type: ConfigResourceTypes.BROKER, name: '1', configEntries: unverified }
    await topics.admin.alterConfigs({ validateOnly: false, resources: [broker] })
    await using connection = await connectKafka(adapterClient(server.url), { log: 'test', topic })
    const producer = await openProducer(connection, { where: 'test', transactionalId: `reflex-bridge:${topic}:r` })
    const records = all.slice(10, 14).map((event) => encodeRecord(event, SOURCE))
    const { id: topicId } = await connection.topic(topic)
    await producer.begin([]) // of which no partition is part
    const isLeftOpen = (): Promise<boolean> =>
      producer.send([{ topic, topicId, partition: 0, leader: 1, records }]).then(
        () => true,
        () => false,
      )
    await eventually(isLeftOpen, 5000, 'the setting')

    const again = await open(saved)
    expect([again.resumeFrom, again.repair]).toEqual(['10', undefined])
    await again.append(all.slice(10), '20')
    expectOnce(await ids(), all)
  })

  /** What may have to be found again without a transaction would be more than may be refilled. */
  const transactionsOnly = { maxRefill: 40 }
  /** A route of 60 events in 12 transactions, whose one partition has then lost its last batches; each transaction has one, and its marker. */
  async function withoutLast(batches: number) {
    const made = await route({ brokers: server.url })
    const all = events(60)
    const saved = await pump(await made.open(undefined, transactionsOnly), all)
    const broker = { type: ConfigResourceTypes.BROKER, name: '1', configNames: ['log.dirs'] }
    const { resources } = await made.topics.admin.describeConfigs({ includeSynonyms: false, resources: [broker] })
    const folder = resources[0]?.configEntries[0]?.configValue as string
    await server.process.kill()
    const file = join(folder, `${made.topic}-0`, '00000000000000000000.log')
    const bytes = await readFile(file)
    const starts: number[] = []
    for (let at = 0; at < bytes.length; at += 12 + bytes.readInt32BE(at + 8)) starts.push(at)
    await truncate(file, starts.at(-batches))
    await server.process.start()
    /** A broker that has just started may not know yet which transactions it coordinates. */
    const open: typeof made.open = async (...from) => {
      for (const deadline = Date.now() + 20_000; ; ) {
        try {
          return await made.open(...from)
        } catch (error) {
          if (!isRetriable(error) || Date.now() > deadline) throw error
        }
      }
    }
    return { ...made, open, all, saved }
  }

  test('is noticed also when others have written over it, and what has lost the end of its transaction is given up', async () => {
    const { open, ids, topics, topic, all, saved } = await withoutLast(13)
    const messages = Array.from({ length: 100 }, () => ({ value: 'of others' }))
    await topics.producer.send({ topic, messages })
    const again = await open(saved)
    expect(again.repair).toMatch(/refilling 35 events/)
    await pump(again, all)
    const ours = (await ids()).map((partition) => partition.filter((id) => id !== 'undefined'))
    expectOnce(ours, all)
  })

  test('is noticed also when a refill of it was given up at the same offsets', async () => {
    const { open, ids, all, saved } = await withoutLast(2)
    const tooLarge = { ...(all.at(-1) as Event), id: '61', metadata: Buffer.alloc(1_200_000) }
    const again = await open(saved)
    expect(again.repair).toMatch(/refilling 5 events/)
    expect(codeOf(await errorOf(again.append([...all.slice(55), tooLarge], '61')))).toBe('EVENT_TOO_LARGE')
    await pump(await open(saved), all)
    expectOnce(await ids(), all)
  })
})

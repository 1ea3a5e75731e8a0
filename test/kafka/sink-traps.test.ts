import { ConfigResourceTypes, Kafka, type Message, type Producer } from 'kafkajs'
import { expect, inject, onTestFinished, test, vi } from 'vitest'
import { kafkaSink } from '../../src/adapters/kafka/index.ts'
import { connectKafka } from '../../src/adapters/kafka/kafka-connection.ts'
import { bridge } from '../../src/bridge/bridge.ts'
import { codeOf } from '../../src/core/errors.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { memoryLog } from '../../src/core/memory-log.ts'
import { supervise } from '../../src/core/supervise.ts'
import { wireNames } from '../../src/core/wire.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { errorOf, eventually } from '../tools/reader.ts'
import { adapterClient, partitionsOf, testClient } from './fixture.ts'
import { lossyProxy } from './lossy-proxy.ts'
import { events, expectOnce, pump, route, SOURCE } from './sink-route.ts'

/** A producer of kafkajs's own; it ends with the test. */
async function producerOf(transactionalId?: string, kafka: Kafka = testClient()): Promise<Producer> {
  const identity = transactionalId === undefined ? {} : { transactionalId }
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1, ...identity })
  await producer.connect()
  onTestFinished(() => producer.disconnect())
  return producer
}

/** An event as a message of kafkajs. */
function messageOf(id: string): Message {
  return { key: 'e', value: 'x', headers: { [wireNames.source]: SOURCE, [wireNames.sourceId]: id } }
}

/** The source ids that are committed in a topic of one partition. */
async function idsIn(topic: string): Promise<string[]> {
  const [partition = []] = await partitionsOf(topic, undefined, 1)
  return partition.map(({ headers }) => String(headers[wireNames.sourceId]))
}

test('trap kafka 1: an idempotent producer repeats nothing within its own life only, and the next one appends the same again', async () => {
  const raw = await route()
  await (await producerOf()).send({ topic: raw.topic, messages: [messageOf('1')] })
  await (await producerOf()).send({ topic: raw.topic, messages: [messageOf('1')] }) // since it was not heard that it was there
  expect(await idsIn(raw.topic)).toEqual(['1', '1'])

  const { topic, checkpointTopic, open, ids } = await route()
  const proxy = await lossyProxy()
  const delivery = 'at-least-once'
  const writer = await kafkaSink(proxy.client, { topic, checkpointTopic, delivery }).open({
    route: 'r',
    source: SOURCE,
  })
  onTestFinished(() => writer[Symbol.asyncDispose]())
  await writer.append(events(2), '2')
  proxy.loseAt({ request: 'Produce', nth: 1, at: 'reply' })
  await errorOf(writer.append(events(2, { from: 3 }), '4'))
  await pump(await open(undefined, { delivery }), events(6))
  expectOnce(await ids(), events(6))
})

test('trap kafka 2: a second producer of a transactional id fences the first, whose open transaction is aborted', async () => {
  const raw = await route()
  const id = fresh('id')
  const first = await (await producerOf(id)).transaction()
  await first.send({ topic: raw.topic, messages: [messageOf('1')] })
  const second = await (await producerOf(id)).transaction()
  await second.send({ topic: raw.topic, messages: [messageOf('1')] })
  await second.commit()
  await expect(first.send({ topic: raw.topic, messages: [messageOf('2')] })).rejects.toMatchObject({
    type: expect.stringMatching(/^(INVALID_PRODUCER_EPOCH|PRODUCER_FENCED)$/),
  })
  expect(await idsIn(raw.topic)).toEqual(['1'])

  const { open, ids } = await route()
  const older = await open()
  await older.append(events(2), '2')
  const newer = await open()
  expect(codeOf(await errorOf(older.append(events(1, { from: 3 }), '3')))).toBe('FENCED')
  await pump(newer, events(4))
  expectOnce(await ids(), events(4))
})

test('trap kafka 3: the next transaction meets CONCURRENT_TRANSACTIONS while the one before is being ended, for which kafkajs sleeps 300 ms', async () => {
  const { topic, open, ids } = await route({ partitions: 3 })
  let refusals = 0
  const kafka = new Kafka({
    brokers: [inject('servers').kafka.url],
    logCreator:
      () =>
      ({ log }) => {
        // What it logs is the error's text.
        if (/another concurrent operation on the same transaction/.test(String(log['error']))) refusals++
      },
  })
  const producer = await producerOf(fresh('id'), kafka)
  const messages = Array.from({ length: 3 }, (_, partition) => ({ value: 'x', partition }))
  // Mostly one of the first ten does, but a quick broker may have ended each of fifty.
  for (let i = 0; refusals === 0 && i < 3000; i++) {
    const transaction = await producer.transaction()
    await transaction.send({ topic, messages })
    await transaction.commit()
  }
  expect(refusals).toBeGreaterThan(0)

  await pump(await open(), events(100)) // asks again after 1 ms
  const ours = (await ids()).map((partition) => partition.filter((id) => id !== 'undefined'))
  expectOnce(ours, events(100))
})

test('trap kafka 4: two idempotent producers that have both read the same tail both append', async () => {
  const raw = await route()
  const both = [await producerOf(), await producerOf()]
  for (const _ of both) {
    const [tail] = await raw.topics.admin.fetchTopicOffsets(raw.topic)
    expect(tail?.high).toBe('0')
  }
  for (const producer of both) await producer.send({ topic: raw.topic, messages: [messageOf('1')] })
  expect(await idsIn(raw.topic)).toEqual(['1', '1'])

  const { open, ids } = await route()
  const writers = [await open(), await open()]
  expect(writers.map(({ resumeFrom }) => resumeFrom)).toEqual(['', ''])
  const outcomes = await Promise.allSettled(writers.map((writer) => writer.append(events(3), '3')))
  expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'fulfilled'])
  expectOnce(await ids(), events(3))
})

test('trap kafka 5: behind a tail that was read before initTransactions the open transaction of the older writer may still commit', async () => {
  const raw = await route()
  const id = fresh('id')
  const old = await (await producerOf(id)).transaction()
  await old.send({ topic: raw.topic, messages: [messageOf('1')] })
  expect(await committedNow(raw.topic)).toBe(0n) // nothing is there, so that it is appended
  await old.commit()
  const next = await (await producerOf(id)).transaction()
  await next.send({ topic: raw.topic, messages: [messageOf('1')] })
  await next.commit()
  expect(await idsIn(raw.topic)).toEqual(['1', '1'])

  const { topic, checkpointTopic, open, ids } = await route()
  const proxy = await lossyProxy()
  const older = await kafkaSink(proxy.client, { topic, checkpointTopic }).open({ route: 'r', source: SOURCE })
  onTestFinished(() => older[Symbol.asyncDispose]())
  const paused = proxy.standStillAt({ request: 'EndTxn', nth: 1, at: 'request' })
  const appending = errorOf(older.append(events(3), '3'))
  await vi.waitUntil(() => proxy.lost)
  const newer = await open()
  expect(newer.resumeFrom).toBe('')
  paused.goOn() // its commit comes now
  expect(codeOf(await appending)).toMatch(/^(FENCED|KAFKA_CONNECTION)$/)
  await pump(newer, events(3))
  expectOnce(await ids(), events(3))
})

/** The last stable offset of partition 0. */
async function committedNow(topic: string): Promise<bigint> {
  await using connection = await connectKafka(adapterClient(), { log: 'test', topic })
  const topics = [{ topic, partitions: [{ partition: 0, timestamp: -1 }] }]
  const broker = await connection.anyBroker()
  const { responses } = await broker.call((one) => one.listOffsets({ replicaId: -1, isolationLevel: 1, topics }))
  return BigInt(responses[0]?.partitions[0]?.offset ?? -1)
}

test('trap kafka 6: two writers that are started again and again with one transactional id fence each other for ever', async () => {
  const raw = await route()
  const id = fresh('id')
  let fenced = 0
  let older = await (await producerOf(id)).transaction()
  for (let i = 0; i < 5; i++) {
    const newer = await (await producerOf(id)).transaction()
    await older.send({ topic: raw.topic, messages: [messageOf('1')] }).catch(() => fenced++)
    older = newer
  }
  expect(fenced).toBe(5)

  const { topic, checkpointTopic, ids } = await route()
  const log = memoryLog({ name: SOURCE })
  const stop = new AbortController()
  const supervised = ['here', 'there'].map(() =>
    supervise(
      (options) => {
        const sink = kafkaSink(adapterClient(), { topic, checkpointTopic })
        return bridge({ name: 'r', source: log.source, sink, checkpoints: memoryCursors() }, options)
      },
      { signal: stop.signal, maxDelayMs: 20 },
    ),
  )
  const ends = Promise.allSettled(supervised)
  const appending = setInterval(() => log.append({ type: 1, foreignId: 'e' }), 5)
  onTestFinished(() => clearInterval(appending))
  expect(codeOf(await errorOf(Promise.race(supervised), 30_000))).toBe('ANOTHER_RUNNER') // one gives up, the other goes on
  clearInterval(appending)
  const count = Number(await log.source.head?.({}))
  await eventually(async () => (await ids()).flat().length >= count, 10_000, 'all events')
  stop.abort()
  await ends
  expectOnce(await ids(), events(count))
})

test('trap kafka 7: the offsets of a group may be set back by anyone, unnoticed', async () => {
  const { topic, open, topics } = await route()
  const groupId = fresh('group')
  const admin = topics.admin
  for (const offset of ['100', '40']) await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset }] })
  const [committed] = await admin.fetchOffsets({ groupId, topics: [topic] })
  expect(committed?.partitions[0]?.offset).toBe('40')
  await admin.deleteGroups([groupId])

  await pump(await open(), events(5))
  const { groups } = await admin.listGroups()
  expect(groups.filter(({ groupId }) => /reflex-bridge/.test(groupId))).toEqual([]) // a route's position is in no group's offsets
})

test('trap kafka 8: the offsets of a group that is quiet for seven days expire', async () => {
  const { checkpointTopic, open, topics } = await route()
  const setting = async (type: ConfigResourceTypes, name: string, wanted: string): Promise<unknown> => {
    const resources = [{ type, name, configNames: [wanted] }]
    const { resources: found } = await topics.admin.describeConfigs({ includeSynonyms: false, resources })
    return found[0]?.configEntries[0]?.configValue
  }
  expect(await setting(ConfigResourceTypes.BROKER, '1', 'offsets.retention.minutes')).toBe(String(7 * 24 * 60))

  await open()
  expect(await setting(ConfigResourceTypes.TOPIC, checkpointTopic, 'cleanup.policy')).toBe('compact') // the last of a key stays
})

test('trap kafka 9: a group that has members refuses the commits of an administrator', async () => {
  const { topic, open, ids } = await route()
  const groupId = fresh('group')
  const consumer = testClient().consumer({ groupId })
  onTestFinished(() => consumer.disconnect())
  await consumer.connect()
  await consumer.subscribe({ topic })
  const joined = new Promise<void>((resolve) => consumer.on('consumer.group_join', () => resolve()))
  await consumer.run({ eachMessage: async () => {} })
  await joined
  const offsets = [{ topic, partitions: [{ partition: 0, offset: '0' }] }]
  await using connection = await connectKafka(adapterClient(), { log: 'test', topic })
  const coordinator = await connection.groupCoordinator(groupId)
  const commit = { groupId, groupGenerationId: -1, memberId: '', retentionTime: -1, topics: offsets }
  const refusal = await errorOf(coordinator.call((broker) => broker.offsetCommit(commit)))
  expect(codeOf(refusal)).toBe('KAFKA_UNKNOWN_MEMBER_ID')

  await pump(await open(), events(5)) // is kept up by no group
  expectOnce(await ids(), events(5))
})

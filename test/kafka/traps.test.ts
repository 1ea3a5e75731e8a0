import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { type Admin, CompressionTypes, Kafka, Partitioners, type Producer } from 'kafkajs'
import { expect, inject, onTestFinished, test } from 'vitest'
import { kafkaFailFast, kafkaPartition, kafkaSink } from '../../src/adapters/kafka/index.ts'
import { openPartition } from '../../src/adapters/kafka/partition-log.ts'
import { partitionOfKey } from '../../src/adapters/kafka/partition-of-key.ts'
import { codeOf, isRetriable } from '../../src/core/errors.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { run } from '../../src/core/run.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { errorOf, eventually } from '../tools/reader.ts'
import { adapterClient, testClient } from './fixture.ts'
import { type KafkajsFetched, kafkajsPartition } from './kafkajs-fetch.ts'
import { newTopic, partitionOf, readAll, valuesOf } from './partition-fixture.ts'

const require = createRequire(import.meta.url)

/** How kafkajs's consumer leaves out what was aborted. */
const filterAborted = require('kafkajs/src/consumer/filterAbortedMessages.js') as (
  fetched: KafkajsFetched,
) => KafkajsFetched['messages']
const kafkajsValues = (messages: KafkajsFetched['messages']): string[] =>
  messages.filter(({ isControlRecord }) => !isControlRecord).map(({ value }) => String(value))

async function transactional(): Promise<Producer> {
  const producer = testClient().producer({ idempotent: true, maxInFlightRequests: 1, transactionalId: fresh('id') })
  await producer.connect()
  onTestFinished(() => producer.disconnect())
  return producer
}

/** What ends a transaction is written after the reply. */
function untilHeadIs(topic: string, head: string): Promise<void> {
  return eventually(async () => (await partitionOf(topic).head?.()) === head, 5000, `the head ${head}`)
}

test('trap kafkajs 1: its fetch gives nothing of a batch that compaction left without records, so that a reader of messages stands there for ever', async () => {
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
    return (await readAll(partitionOf(topic))).events.length
  }
  await eventually(async () => (await left()) < 10, 50_000, 'the cleaner')

  await using log = await openPartition(adapterClient(), { log: 'test', topic, partition: 0 })
  const { batches } = await log.fetch({ offset: 0n, lastEpoch: -1, maxBytes: 1024 * 1024 })
  const empty = batches.find(({ records }) => [...records()].length === 0)
  expect(empty).toBeDefined()
  const theirs = await (await kafkajsPartition(topic)).fetch(empty?.baseOffset ?? 0n, 1)
  expect(theirs.messages).toEqual([])
  expect(BigInt(theirs.lastStableOffset)).toBeGreaterThan((empty?.lastOffset ?? 0n) + 1n)

  const all = await readAll(partitionOf(topic, { batchBytes: 1 }))
  expect(all.events.at(-1)?.foreignId).toBe('k')
  expect(all.cursor).toBe(await partitionOf(topic).head?.())
  const ids = all.events.map(({ id }) => id)
  for (const after of ['-1', '0', '5', '19']) {
    const { events, cursor } = await readAll(partitionOf(topic), after)
    expect(cursor).toBe(all.cursor)
    expect(ids).toEqual(expect.arrayContaining(events.map(({ id }) => id))) // the cleaner may have gone on
    expect(events.at(-1)?.id).toBe(ids.at(-1))
  }
})

test('trap kafkajs 2: its consumer delivers aborted messages if it starts inside two interleaved aborted transactions', async () => {
  const { topic } = await newTopic()
  const [a, b] = [await transactional(), await transactional()]
  const [first, second] = [await a.transaction(), await b.transaction()]
  for (const round of [1, 2]) {
    await first.send({ topic, messages: [{ value: `a${round}` }] })
    await second.send({ topic, messages: [{ value: `b${round}` }] })
  }
  await first.abort()
  await second.abort()
  await untilHeadIs(topic, '5')
  const theirs = await (await kafkajsPartition(topic)).fetch(3)
  expect(kafkajsValues(filterAborted(theirs))).toEqual(['b2'])
  for (const after of ['', '0', '1', '2', '3'])
    expect(await readAll(partitionOf(topic), after)).toEqual({ events: [], cursor: '5' })
})

test('trap kafkajs 2: its consumer takes any message whose key is four zero bytes for the end of an aborted transaction', async () => {
  const { topic } = await newTopic()
  const producer = await transactional()
  for (const outcome of ['abort', 'commit'] as const) {
    const transaction = await producer.transaction()
    await transaction.send({ topic, messages: [{ key: Buffer.alloc(4), value: `${outcome} 1` }] })
    await transaction.send({ topic, messages: [{ key: Buffer.alloc(4), value: `${outcome} 2` }] })
    await transaction[outcome]()
  }
  await untilHeadIs(topic, '5')
  const theirs = await (await kafkajsPartition(topic)).fetch(0)
  expect(kafkajsValues(filterAborted(theirs))).toContain('abort 1')
  expect(valuesOf(await readAll(partitionOf(topic)))).toEqual(['commit 1', 'commit 2'])
  expect(valuesOf(await readAll(partitionOf(topic), '0'))).toEqual(['commit 1', 'commit 2'])
})

test('trap kafkajs 3: the head is not behind the last message: a transaction ends with a control record', async () => {
  const { topic } = await newTopic()
  const transaction = await (await transactional()).transaction()
  await transaction.send({ topic, messages: [{ value: 'a' }, { value: 'b' }] })
  await transaction.commit()
  await untilHeadIs(topic, '2')
  const theirs = await (await kafkajsPartition(topic)).fetch(0)
  expect([theirs.messages.findLast((message) => !message.isControlRecord)?.offset, theirs.lastStableOffset]).toEqual([
    '1',
    '3',
  ])
  const all = await readAll(partitionOf(topic))
  expect([valuesOf(all), all.cursor]).toEqual([['a', 'b'], '2'])
  expect((await partitionOf(topic).backlog?.(all.cursor))?.count).toBe(0n)
  expect(valuesOf(await readAll(partitionOf(topic), all.cursor))).toEqual([])
})

test('trap kafkajs 4: its consumer jumps to the earliest without a word when its offset has been trimmed', async () => {
  const { topic, producer, admin, trim } = await newTopic()
  await producer.send({ topic, messages: Array.from({ length: 10 }, (_, i) => ({ value: `v${i}` })) })
  const groupId = fresh('group')
  await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '2' }] })
  await trim('5')
  const consumer = testClient().consumer({ groupId, maxWaitTimeInMs: 100 })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  const seen: string[] = []
  await consumer.run({ eachMessage: async ({ message }) => void seen.push(message.offset) })
  await eventually(() => seen.length > 0, 20_000, 'a message')
  await consumer.disconnect()
  await admin.deleteGroups([groupId])
  expect(seen[0]).toBe('5')
  const refused = await errorOf(partitionOf(topic).stream('1', {}))
  expect(refused).toMatchObject({ code: 'CURSOR_TRIMMED', cursor: '1', earliest: '5' })
})

test('trap kafkajs 4: its consumer hands a message that failed to the handler again and again', async () => {
  const { topic, producer, admin } = await newTopic()
  await producer.send({ topic, messages: [{ value: 'poison' }] })
  const groupId = fresh('group')
  const consumer = testClient().consumer({
    ...{ groupId, maxWaitTimeInMs: 100 },
    retry: { retries: 5, initialRetryTime: 1, maxRetryTime: 2, restartOnFailure: async () => false },
  })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  let theirs = 0
  const crashed = new Promise<void>((resolve) => void consumer.on('consumer.crash', () => resolve()))
  await consumer.run({
    eachMessage: async () => {
      theirs++
      throw new Error('poison')
    },
  })
  await crashed
  await consumer.disconnect()
  await admin.deleteGroups([groupId])
  expect(theirs).toBe(6)

  let ours = 0
  const handle = (): void => {
    ours++
    throw new Error('poison')
  }
  const { stream } = partitionOf(topic)
  await errorOf(run({ stream, cursors: memoryCursors(), consumer: { name: 'c', handle } }, { toHead: true }))
  expect(ours).toBe(1)
})

test('trap kafkajs 5: below the earliest and beyond the end, the broker gives the same error', async () => {
  const { topic, producer, trim } = await newTopic()
  await producer.send({ topic, messages: Array.from({ length: 10 }, () => ({ value: 'x' })) })
  await trim('4')
  const theirs = await kafkajsPartition(topic)
  for (const offset of [3, 11])
    expect(await errorOf(theirs.fetch(offset))).toMatchObject({ type: 'OFFSET_OUT_OF_RANGE' })
  expect(await errorOf(partitionOf(topic).stream('2', {}))).toMatchObject({ code: 'CURSOR_TRIMMED', earliest: '4' })
  expect((await readAll(partitionOf(topic), '3')).events).toHaveLength(6)
  expect(await errorOf(partitionOf(topic).stream('10', {}))).toMatchObject({ code: 'CURSOR_AHEAD', reason: 'beyond' })
  expect((await readAll(partitionOf(topic), '9')).events).toEqual([])
})

test('trap kafkajs 6: a fetch brings the whole batch, with what lies before the offset that was asked for', async () => {
  const { topic, producer } = await newTopic()
  const values = Array.from({ length: 10 }, (_, i) => `v${i}`)
  await producer.send({ topic, messages: values.map((value) => ({ value })) }) // one batch
  expect(kafkajsValues((await (await kafkajsPartition(topic)).fetch(7)).messages)).toEqual(values)
  for (let after = -1; after < 10; after++)
    expect(valuesOf(await readAll(partitionOf(topic), String(after)))).toEqual(values.slice(after + 1))
})

test('trap kafkajs 7: Node 24 prints a warning about its timers on every connection; our command line leaves it out', async () => {
  const { topic, producer } = await newTopic()
  await producer.send({ topic, messages: [{ value: 'x' }] })
  const { url } = inject('servers').kafka
  const told = async (...args: string[]): Promise<string> => {
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, NODE_OPTIONS: '' },
    })
    const [errors] = await Promise.all([text(child.stderr), once(child, 'exit')])
    return errors
  }
  const theirs = `
    const { Kafka } = require('kafkajs')
    const admin = new Kafka({ brokers: ['${url}'], logLevel: 0 }).admin()
    admin.connect().then(() => admin.fetchTopicOffsets('${topic}')).then(() => admin.disconnect())`
  expect(await told('-e', theirs)).toContain('TimeoutNegativeWarning')
  const ours = await told(
    '--conditions=reflex-bridge-source',
    'src/cli/main.ts',
    'tail',
    `kafka://${url}?topic=${topic}`,
    '--to-head',
  )
  expect(ours).toMatch(/^last cursor: .*\n$/)
})

test.each(['snappy', 'lz4', 'zstd'])('trap kafkajs 8: it cannot read what is compressed with %s', async (codec) => {
  const { topic, producer } = await newTopic({ 'compression.type': codec })
  const values = Array.from({ length: 10 }, (_, i) => `value ${i} `.repeat(20))
  await producer.send({ topic, messages: values.map((value) => ({ value })) })
  const error = await errorOf((await kafkajsPartition(topic)).fetch(0))
  expect(String(error)).toMatch(/not implemented/)
  expect(valuesOf(await readAll(partitionOf(topic)))).toEqual(values)
  expect(valuesOf(await readAll(partitionOf(topic), '6'))).toEqual(values.slice(7))
})

test('trap kafkajs 9: it does not look at the checksum of a batch: bytes that were changed on the way are delivered', async () => {
  const { topic, producer } = await newTopic()
  await producer.send({ topic, messages: [{ value: 'true' }, { value: 'before' }, { value: 'changed' }] })
  const kafka = await changing('changed', 'chanted')
  const theirs = await kafkajsPartition(topic, kafka)
  expect(kafkajsValues((await theirs.fetch(0)).messages)).toEqual(['true', 'before', 'chanted'])
  const error = await errorOf(readAll(kafkaPartition(kafka, { topic, partition: 0 })))
  expect([codeOf(error), isRetriable(error)]).toEqual(['KAFKA_CORRUPT_BATCH', true])
  expect(String(error)).toContain('offset 0 has other bytes than its checksum says')
})

/** A client whose connections pass on a text of the broker's as another of the same length. */
async function changing(from: string, to: string): Promise<Kafka> {
  const { host, port, url } = inject('servers').kafka
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const broker = connect({ host, port })
    for (const [socket, other] of [
      [client, broker],
      [broker, client],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => other.destroy())
      socket.on('data', (bytes) => {
        const at = bytes.indexOf(from)
        if (at >= 0) bytes.write(to, at)
        other.write(bytes)
      })
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const via = { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
  const socketFactory = ({ onConnect }: { onConnect: () => void }): Socket => connect(via, onConnect)
  return new Kafka({ brokers: [url], ...kafkaFailFast, socketFactory })
}

test('trap kafkajs 9: its admin cannot trim a topic that it has not heard of', async () => {
  const { topic, producer } = await newTopic()
  await producer.send({ topic, messages: [{ value: 'x' }] })
  const admin: Admin = testClient().admin()
  await admin.connect()
  onTestFinished(() => admin.disconnect())
  const trim = (): Promise<void> => admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '1' }] })
  expect(String(await errorOf(trim()))).toMatch(/metadata|partition/i)
  await admin.fetchTopicOffsets(topic)
  await trim()
  expect(await partitionOf(topic).backlog?.('')).toEqual({ count: 0n, unit: 'positions' })
})

test('trap kafkajs 10: the newest requests that it knows are years old; this broker still takes them, and the newer ones that we make', async () => {
  const { topic } = await newTopic()
  const { versions } = await kafkajsPartition(topic)
  const newest = { 0: 7, 1: 11, 2: 3, 3: 6, 11: 5, 8: 5, 19: 3, 22: 1 }
  const ours = { 0: 8, 1: 13, 3: 12 }
  for (const [api, version] of [...Object.entries(newest), ...Object.entries(ours)]) {
    const { minVersion, maxVersion } = versions[Number(api)] ?? { minVersion: Number.NaN, maxVersion: Number.NaN }
    expect([api, version >= minVersion && version <= maxVersion]).toEqual([api, true])
  }
  const known = require('kafkajs/src/protocol/requests/index.js') as {
    requests: Readonly<Record<string, { versions: readonly (number | string)[] }>>
  }
  expect(Math.max(...(known.requests['Fetch']?.versions ?? []).map(Number))).toBe(11)
})

test('trap kafkajs 11: its idempotent producer tries again a few times, not for ever as is documented; ours gives up at once', async () => {
  const topic = fresh('nowhere')
  const kafka = new Kafka({
    brokers: [inject('servers').kafka.url],
    logLevel: 0,
    retry: { initialRetryTime: 1, maxRetryTime: 2 },
  })
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1, allowAutoTopicCreation: false })
  await producer.connect()
  onTestFinished(() => producer.disconnect())
  const theirs = await errorOf(producer.send({ topic, messages: [{ value: 'x' }] }))
  expect(theirs).toMatchObject({ name: 'KafkaJSNumberOfRetriesExceeded' })
  expect((theirs as { retryCount: number }).retryCount).toBeLessThan(50)
  const error = await errorOf(kafkaSink(adapterClient(), { topic }).open({ route: 'r', source: 's' }))
  expect(codeOf(error)).toBe('KAFKA_UNKNOWN_TOPIC_OR_PARTITION')
})

test('trap kafkajs 11: its partitions are those of Java only since 2.0; ours are the same', () => {
  const theirs = Partitioners.DefaultPartitioner()
  const partitionMetadata = Array.from({ length: 7 }, (_, partitionId) => ({
    ...{ partitionErrorCode: 0, partitionId, leader: 1, replicas: [1], isr: [1], offlineReplicas: [] },
  }))
  let legacy = 0
  for (let i = 0; i < 100; i++) {
    const message = { key: Buffer.from(`order-${i}`), value: null }
    const partition = partitionOfKey(message.key, 7)
    expect(partition).toBe(theirs({ topic: 't', partitionMetadata, message }))
    if (partition !== Partitioners.LegacyPartitioner()({ topic: 't', partitionMetadata, message })) legacy++
  }
  expect(legacy).toBeGreaterThan(0)
})

test('trap kafkajs 12: headers come as an object of one or several buffers, whose order is lost; null keys and values are null', async () => {
  const { topic, producer } = await newTopic()
  const headers = { constructor: 'c', toString: ['a', 'b'], '1': '', é: 'ü' }
  await producer.send({ topic, messages: [{ key: null, value: null, headers: headers as never }] })
  const [theirs] = (await (await kafkajsPartition(topic)).fetch(0)).messages
  expect([theirs?.key, theirs?.value, Object.keys(theirs?.headers ?? {})[0]]).toEqual([null, null, '1'])
  // A name that every object has is thought to have come before.
  expect(theirs?.headers['toString']).toEqual([Object.prototype.toString, Buffer.from('a'), Buffer.from('b')])
  const { events } = await readAll(partitionOf(topic))
  expect(events[0]).toMatchObject({ type: 0, foreignId: '', metadata: null, headers })
})

test('trap kafkajs 12: a topic may keep the time of the append in place of that of the producer', async () => {
  const { topic, producer } = await newTopic({ 'message.timestamp.type': 'LogAppendTime' })
  const before = Date.now() - 1
  await producer.send({
    topic,
    compression: CompressionTypes.GZIP,
    messages: [
      { value: 'v', timestamp: '1000' },
      { key: '', value: null },
    ],
  })
  const [theirs] = (await (await kafkajsPartition(topic)).fetch(0)).messages
  expect([theirs?.batchContext.timestampType, Number(theirs?.timestamp)]).toEqual([1, expect.any(Number)])
  const { events } = await readAll(partitionOf(topic))
  for (const { timestamp } of events) expect(timestamp).toBeGreaterThanOrEqual(before)
  expect(events.map(({ foreignId, metadata }) => [foreignId, metadata])).toEqual([
    ['', Buffer.from('v')],
    ['', null],
  ])
})

import { type ConsumeOptions, Consumer, NetworkError, TimeoutError } from '@platformatic/kafka'
import { expect, inject, onTestFinished, test } from 'vitest'
import { fresh } from '../subjects/adapter-subjects.ts'
import { errorOf, eventually } from '../tools/reader.ts'
import { testClient } from './fixture.ts'
import { newTopic, partitionOf, readAll, valuesOf } from './partition-fixture.ts'

// What the other client in pure JavaScript does. Our adapter does not use it: these tests say when that should be looked at again.

type Fetched = Awaited<ReturnType<Consumer['fetch']>>

const text = (bytes: Buffer | undefined): string => String(bytes)

function newConsumer(groupId = fresh('group')): Consumer<string, string, string, string> {
  const deserializers = { key: text, value: text, headerKey: text, headerValue: text }
  const bootstrapBrokers = [inject('servers').kafka.url]
  const consumer = new Consumer({
    groupId,
    clientId: 'test',
    bootstrapBrokers,
    deserializers,
    retries: 20,
    retryDelay: 50,
  })
  onTestFinished(() => consumer.close(true))
  return consumer
}

/** Its raw fetch of partition 0, which wants the topic's id and the leader. */
async function fetchRaw(topic: string, fetchOffset: bigint): Promise<Fetched> {
  const consumer = newConsumer()
  consumer.topics.track(topic)
  const { topics } = await consumer.metadata({ topics: [topic] })
  const { id = '', partitions = [] } = topics.get(topic) ?? {}
  const partition = {
    partition: 0,
    fetchOffset,
    currentLeaderEpoch: -1,
    lastFetchedEpoch: -1,
    partitionMaxBytes: 1 << 20,
  }
  return consumer.fetch({
    ...{ node: partitions[0]?.leader ?? -1, maxWaitTime: 100, isolationLevel: 1 },
    topics: [{ topicId: id, partitions: [partition] }],
  })
}

/** What its stream gives first, from an offset that it was told. */
async function firstOf(
  topic: string,
  offset: bigint,
  options: Partial<ConsumeOptions<string, string, string, string>> = {},
) {
  const consumer = newConsumer()
  const stream = await consumer.consume({
    ...{ topics: [topic], mode: 'manual', offsets: [{ topic, partition: 0, offset }], maxWaitTime: 100, ...options },
  })
  const first = (async () => {
    for await (const message of stream) return message
    return undefined
  })()
  return { consumer, first }
}

test('trap platformatic 1: it has a public raw fetch that joins no group, and tells of each batch where it ends', async () => {
  const { topic, producer, admin } = await newTopic()
  await producer.send({ topic, messages: [{ value: 'a' }, { value: 'b' }] })
  await producer.send({ topic, messages: [{ value: 'c' }] })
  const before = (await admin.listGroups()).groups.length
  const fetched = await fetchRaw(topic, 0n)
  const batches = fetched.responses[0]?.partitions[0]?.records ?? []
  expect(
    batches.map(({ firstOffset, lastOffsetDelta, records }) => [firstOffset, lastOffsetDelta, records.length]),
  ).toEqual([
    [0n, 1, 2],
    [2n, 0, 1],
  ])
  expect(valuesOf(await readAll(partitionOf(topic)))).toEqual(['a', 'b', 'c'])
  expect((await admin.listGroups()).groups).toHaveLength(before)
})

test('trap platformatic 2: told the offsets, it joins a group all the same, and goes on with the latest if they were trimmed, unless it is told to fail', async () => {
  const { topic, producer, admin, trim } = await newTopic()
  await producer.send({ topic, messages: Array.from({ length: 10 }, (_, i) => ({ value: `v${i}` })) })
  await trim('5')
  const { consumer, first } = await firstOf(topic, 2n)
  const { groups } = await admin.describeGroups([consumer.groupId])
  expect(groups[0]?.members.length).toBe(1)
  // Whatever comes first is of what is written now: 5 to 9 are lost without a word.
  let sent = 0
  const stop = new AbortController()
  const writing = eventually(
    async () => {
      await producer.send({ topic, messages: [{ value: `later ${sent++}` }] })
      return stop.signal.aborted
    },
    20_000,
    'its first message',
  )
  const message = await first
  stop.abort()
  await writing
  expect(message?.value).toMatch(/^later/)
  const strict = await firstOf(topic, 2n, { fallbackMode: 'fail' })
  expect(String(await errorOf(strict.first))).toMatch(/not within the range of offsets/)
  expect(await errorOf(partitionOf(topic).stream('1', {}))).toMatchObject({ code: 'CURSOR_TRIMMED', earliest: '5' })
})

test('trap platformatic 2: an aborted transaction is left out since 2.12, but of two of one producer only the second', async () => {
  const producer = testClient().producer({ idempotent: true, maxInFlightRequests: 1, transactionalId: fresh('id') })
  await producer.connect()
  onTestFinished(() => producer.disconnect())
  for (const [outcomes, theirs] of [
    [['abort', 'commit'], 'commit 1'],
    [['abort', 'abort', 'commit'], 'abort 0'],
  ] as const) {
    const { topic } = await newTopic()
    for (const [i, outcome] of outcomes.entries()) {
      const transaction = await producer.transaction()
      await transaction.send({ topic, messages: [{ value: `${outcome} ${i}` }] })
      await transaction[outcome]()
    }
    const head = String(2 * outcomes.length - 1)
    await eventually(async () => (await partitionOf(topic).head?.()) === head, 5000, 'the markers')
    const { first } = await firstOf(topic, 0n)
    expect((await first)?.value).toBe(theirs)
    expect(valuesOf(await readAll(partitionOf(topic)))).toEqual([`commit ${outcomes.length - 1}`])
  }
})

test.each(['gzip', 'snappy', 'lz4', 'zstd'])(
  'trap platformatic 3: it reads %s without another package, and so do we with one',
  async (codec) => {
    const { topic, producer } = await newTopic({ 'compression.type': codec })
    const value = 'a value '.repeat(100)
    await producer.send({ topic, messages: [{ value }] })
    const { first } = await firstOf(topic, 0n)
    expect((await first)?.value).toBe(value)
    expect(valuesOf(await readAll(partitionOf(topic)))).toEqual([value])
  },
)

test('trap platformatic 4: its timeout has the code of a broken connection', () => {
  expect(new TimeoutError('late').code).toBe(NetworkError.code)
  expect(TimeoutError.code).not.toBe(NetworkError.code)
})

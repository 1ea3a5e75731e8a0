import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { KafkaBroker, KafkaConnection } from '../../src/adapters/kafka/kafka-connection.ts'
import { type KafkaProducer, openProducer, type PartitionRecords } from '../../src/adapters/kafka/kafka-producer.ts'
import { codeOf, isRetriable } from '../../src/core/errors.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] }))
afterEach(() => void vi.useRealTimers())

const place = { topic: 't', partition: 0 }
/** So large that each needs a request of its own. */
const records = Array.from({ length: 3 }, () => ({ key: Buffer.from('k'), value: Buffer.alloc(400_000), headers: [] }))
const batch: PartitionRecords = { ...place, topicId: Buffer.alloc(16), leader: 1, records }

/** A producer whose broker takes everything, and then holds it back for so long. */
async function producer(
  transactionalId: string | undefined,
  throttleMs: number,
  { newestProduce = 13, producerEpoch = 0 } = {},
): Promise<{ producer: KafkaProducer; sent: () => number }> {
  let sent = 0
  const broker = {
    call: (request: (kafkajs: object) => Promise<unknown>) =>
      request({
        versions: { 0: { maxVersion: newestProduce } },
        initProducerId: async () => ({ producerId: '1', producerEpoch }),
        addPartitionsToTxn: async () => {},
        metadata: async () => {},
      }),
    send: async () => {
      sent++
      return { produced: [{ ...place, errorCode: 0, baseOffset: BigInt(sent - 1) }], throttleMs }
    },
  } as unknown as KafkaBroker
  const connection = {
    broker: async () => broker,
    anyBroker: async () => broker,
    coordinator: async () => broker,
  } as unknown as KafkaConnection
  return { producer: await openProducer(connection, { where: 'here', transactionalId }), sent: () => sent }
}

/** What comes of work within so many ms. */
async function outcome<T>(work: Promise<T>, withinMs: number): Promise<unknown> {
  const settled = work.then(
    (value) => ({ value }),
    (error: unknown) => ({ code: codeOf(error), isRetriable: isRetriable(error) }),
  )
  await vi.advanceTimersByTimeAsync(withinMs)
  return Promise.race([settled, Promise.resolve('under way')])
}

test('a transaction is given up before several waits for a quota make it last longer than the coordinator lets it', async () => {
  const { producer: once, sent } = await producer('id', 5000)
  await once.begin([place])
  expect(await outcome(once.send([batch]), 8000)).toEqual({
    code: 'KAFKA_THROTTLING_QUOTA_EXCEEDED',
    isRetriable: true,
  })
  expect(sent()).toBe(2)
})

test('waits that a transaction has time for are waited for, and those of the one before do not count', async () => {
  const { producer: once } = await producer('id', 3500)
  await once.begin([place])
  const sent = { value: [{ first: 0n, end: 3n }] }
  expect(await outcome(once.send([batch]), 7000)).toMatchObject({ value: [{ first: 0n }] })
  expect(await outcome(once.begin([place]), 3500)).toEqual({ value: undefined })
  expect(await outcome(once.send([batch]), 7000)).toMatchObject({ value: [{ first: 3n }] })
  const { producer: free } = await producer(undefined, 10_000)
  expect(await outcome(free.send([batch]), 20_000)).toMatchObject(sent)
})

test('a clock that is set back holds nothing back', async () => {
  const { producer: once } = await producer('id', 0)
  await once.begin([place])
  await once.send([batch])
  vi.setSystemTime(Date.now() - 3_600_000)
  expect(await outcome(once.begin([place]), 1)).toEqual({ value: undefined })
  const { producer: throttled } = await producer(undefined, 2000)
  await throttled.send([{ ...batch, records: batch.records.slice(0, 1) }])
  vi.setSystemTime(Date.now() - 3_600_000)
  expect(await outcome(throttled.send([batch]), 6000)).toMatchObject({ value: [{ first: 1n }] })
})

test('records go without a transaction only to brokers that take them by the id of their topic, and not with the last epochs', async () => {
  for (const [newestProduce, producerEpoch, takes] of [
    [13, 0, true],
    [13, 32_511, true],
    [12, 0, false], // Kafka 4.0
    [13, 32_766, false],
  ] as const) {
    const made = await producer('id', 0, { newestProduce, producerEpoch })
    expect(await made.producer.takesAlone([1, 2])).toBe(takes)
  }
})

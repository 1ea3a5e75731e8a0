import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type NewRecord, sizeOfBatch } from '../../src/adapters/kafka/protocol/new-record-batch.ts'
import { produceRequest } from '../../src/adapters/kafka/protocol/produce.ts'
import { reader } from '../../src/adapters/kafka/protocol/reader.ts'
import { readRecordBatches } from '../../src/adapters/kafka/protocol/record-batch.ts'

const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 20 }), fc.string({ unit: 'binary', maxLength: 200 }))
const bytes = fc.uint8Array({ maxLength: 300 }).map((each) => Buffer.from(each))
const record = fc.record({
  key: bytes,
  value: fc.option(bytes),
  headers: fc.array(fc.tuple(text, text), { maxLength: 5 }).map((pairs) => pairs.flat()),
})
const partition = fc.record({
  topic: fc.string({ unit: 'binary', maxLength: 100 }),
  topicId: fc.constant(Buffer.alloc(16)),
  partition: fc.nat(),
  records: fc.array(record, { minLength: 1, maxLength: 30 }),
  sequence: fc.nat(),
})

/** Where a batch says how many bytes follow. */
const LENGTH_AT = 8
const BEHIND_LENGTH = 12

test('a request holds the records of all partitions as a reader finds them, and none is larger than it was said to be', async () => {
  const options = fc.record({
    transactionalId: fc.option(text),
    partitions: fc.array(partition, { maxLength: 4 }),
  })
  await fc.assert(
    fc.asyncProperty(options, async ({ transactionalId, partitions }) => {
      const producer = { producerId: 7n, producerEpoch: 3, timeoutMs: 1000 }
      const { buffer } = await produceRequest({ transactionalId, ...producer, partitions }).request.encode()
      const from = reader(buffer)
      expect([from.string(), from.int16(), from.int32()]).toEqual([transactionalId ?? undefined, -1, 1000])
      const found = from.array(() => {
        const topic = from.string()
        const [of] = from.array(() => ({ partition: from.int32(), batch: from.bytes(from.int32()) }))
        return { topic, partition: of?.partition, batch: of?.batch as Buffer }
      })
      expect(from.at).toBe(buffer.length)
      for (const [i, { batch }] of found.entries()) {
        expect(batch.length).toBe(batch.readInt32BE(LENGTH_AT) + BEHIND_LENGTH)
        expect(batch.length).toBeLessThanOrEqual(sizeOfBatch(partitions[i]?.records ?? []))
      }
      expect(found.map(({ batch, ...rest }) => ({ ...rest, records: recordsIn(batch) }))).toEqual(
        partitions.map(({ topic, partition, records }) => ({ topic, partition, records: records.map(plain) })),
      )
    }),
  )
})

function recordsIn(batch: Buffer): unknown[] {
  return readRecordBatches(batch).flatMap((each) =>
    Array.from(each.records(), ({ key, value, headers }) => ({
      ...{ key: key?.toString('hex'), value: value?.toString('hex') },
      headers: headers.flatMap(([name, value]) => [name, String(value)]),
    })),
  )
}

function plain({ key, value, headers }: NewRecord): unknown {
  return { key: key.toString('hex'), value: value === null ? undefined : Buffer.from(value).toString('hex'), headers }
}

import { createRequire } from 'node:module'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fetchRequest } from '../../src/adapters/kafka/protocol/fetch.ts'
import { metadataRequest } from '../../src/adapters/kafka/protocol/metadata.ts'
import { reader } from '../../src/adapters/kafka/protocol/reader.ts'
import { type RecordBatch, readRecordBatches } from '../../src/adapters/kafka/protocol/record-batch.ts'
import { writer } from '../../src/adapters/kafka/protocol/writer.ts'

const require = createRequire(import.meta.url)

interface Encoded {
  readonly buffer: Buffer
}
/** What kafkajs's producer writes with. */
const { RecordBatch: kafkajsBatch } = require('kafkajs/src/protocol/recordBatch/v0') as {
  RecordBatch: (options: object) => Promise<Encoded>
}
const kafkajsRecord = require('kafkajs/src/protocol/recordBatch/record/v0') as (options: object) => Encoded

/** A zigzag varint of any length, as in Kafka's `ByteUtils.writeVarlong`. */
function varlong(value: bigint): Buffer {
  const bytes: number[] = []
  let rest = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n))
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80)
  return Buffer.from([...bytes, Number(rest)])
}
const blob = (bytes: Buffer | null): Buffer =>
  bytes === null ? varlong(-1n) : Buffer.concat([varlong(BigInt(bytes.length)), bytes])

interface ByHand {
  readonly baseOffset?: bigint
  readonly lastOffsetDelta?: number
  readonly attributes?: number
  readonly baseTimestamp?: bigint
  readonly maxTimestamp?: bigint
  readonly producerId?: bigint
  readonly count?: number
  readonly magic?: number
  readonly records?: readonly RecordByHand[]
  /** In place of the records. */
  readonly body?: (records: Buffer) => Buffer
}
interface RecordByHand {
  readonly delta?: bigint
  readonly timeDelta?: bigint
  readonly key?: Buffer | null
  readonly value?: Buffer | null
  readonly headers?: readonly (readonly [name: Buffer, value: Buffer | null])[]
}

/** A record batch, field by field. */
function batchByHand(o: ByHand): Buffer {
  const { records = [], body = (bytes: Buffer) => bytes } = o
  const whole = records.map(({ delta = 0n, timeDelta = 0n, key = null, value = null, headers = [] }) => {
    const pairs = headers.flatMap(([name, each]) => [blob(name), blob(each)])
    const inner = Buffer.concat([
      ...[Buffer.from([0]), varlong(timeDelta), varlong(delta), blob(key), blob(value)],
      ...[varlong(BigInt(headers.length)), ...pairs],
    ])
    return blob(inner)
  })
  const head = writer()
    .int32(0) // leader epoch
    .int8(o.magic ?? 2)
    .int32(0) // crc, which is not looked at
    .int16(o.attributes ?? 0)
    .int32(o.lastOffsetDelta ?? Math.max(0, records.length - 1))
    .int64(o.baseTimestamp ?? 0n)
    .int64(o.maxTimestamp ?? 0n)
    .int64(o.producerId ?? -1n)
    .int16(0)
    .int32(-1)
    .int32(o.count ?? records.length)
    .done()
  const rest = Buffer.concat([head, body(Buffer.concat(whole))])
  return Buffer.concat([
    writer()
      .int64(o.baseOffset ?? 0n)
      .int32(rest.length)
      .done(),
    rest,
  ])
}

const only = (buffer: Buffer): RecordBatch => {
  const batches = readRecordBatches(buffer)
  expect(batches).toHaveLength(1)
  return batches[0] as RecordBatch
}
const recordsIn = (buffer: Buffer) => [...only(buffer).records()]

const bytes = fc.uint8Array({ maxLength: 200 }).map((each) => Buffer.from(each))
const name = fc.string({ unit: 'binary', maxLength: 20 })

describe('record batches', () => {
  test("are read as kafkajs's producer writes them", async () => {
    const record = fc.record({
      key: fc.option(bytes),
      value: fc.option(bytes),
      pairs: fc.array(fc.tuple(name, bytes), { maxLength: 4 }),
      timeDelta: fc.oneof(fc.nat(), fc.integer({ min: -(2 ** 40), max: 2 ** 40 })),
    })
    const options = {
      records: fc.array(record, { minLength: 1, maxLength: 20 }),
      base: fc.bigInt({ min: 0n, max: 2n ** 62n }),
      time: fc.integer({ min: -(2 ** 42), max: 2 ** 42 }),
      transactional: fc.boolean(),
    }
    await fc.assert(
      fc.asyncProperty(fc.record(options), async ({ records, base, time, transactional }) => {
        const { buffer } = await kafkajsBatch({
          firstOffset: base.toString(),
          firstTimestamp: time,
          maxTimestamp: time,
          lastOffsetDelta: records.length - 1,
          partitionLeaderEpoch: 5,
          producerId: '77',
          transactional,
          records: records.map(({ key, value, pairs, timeDelta }, offsetDelta) =>
            kafkajsRecord({
              ...{ key, value, offsetDelta, timestampDelta: timeDelta },
              headers: Object.fromEntries(pairs),
            }),
          ),
        })
        expect(only(buffer)).toMatchObject({
          ...{ baseOffset: base, lastOffset: base + BigInt(records.length) - 1n, leaderEpoch: 5 },
          ...{ producerId: 77n, transactional, control: undefined },
        })
        expect(recordsIn(buffer)).toEqual(
          records.map(({ key, value, pairs, timeDelta }, i) => ({
            ...{ offset: String(base + BigInt(i)), timestamp: time + timeDelta, key, value },
            headers: Object.entries(Object.fromEntries(pairs)),
          })),
        )
      }),
      { numRuns: 300 },
    )
  })

  test('keep the order of headers, names that come again, null values and null keys', () => {
    const text = (each: string) => Buffer.from(each)
    const headers = [
      [text('2'), text('a')],
      [text('1'), null],
      [text('2'), text('')],
      [text('__proto__'), text('\ufffd')],
      [text('\ufffd'), text('b')],
    ] as const
    expect(recordsIn(batchByHand({ records: [{ headers }, { delta: 1n, key: text('') }] }))).toEqual([
      {
        ...{ offset: '0', timestamp: 0, key: null, value: null },
        headers: headers.map(([each, value]) => [String(each), value]),
      },
      { offset: '1', timestamp: 0, key: text(''), value: null, headers: [] },
    ])
  })

  test('refuse a header whose name is not UTF-8, rather than to change it', () => {
    const headers = [[Buffer.from([0x61, 0xff]), null]] as const
    expect(() => recordsIn(batchByHand({ baseOffset: 9n, records: [{ headers }] }))).toThrow(
      expect.objectContaining({ code: 'KAFKA_HEADER_NAME', message: expect.stringContaining('61ff') }),
    )
  })

  test('have times before 1970, differences of centuries, and gaps between their offsets', () => {
    const century = 100n * 365n * 86_400_000n
    const records = [
      { delta: 3n, timeDelta: -century },
      { delta: 7n, timeDelta: century },
      { delta: 2_000_000_000n, timeDelta: 5n * century },
    ]
    const batch = batchByHand({ baseOffset: 10n, lastOffsetDelta: 2_000_000_001, baseTimestamp: -5n, records })
    expect(only(batch).lastOffset).toBe(2_000_000_011n)
    expect(recordsIn(batch).map(({ offset, timestamp }) => [offset, timestamp])).toEqual([
      ['13', Number(-5n - century)],
      ['17', Number(-5n + century)],
      ['2000000010', Number(-5n + 5n * century)],
    ])
  })

  test('have exact offsets beyond what a number can count', () => {
    const baseOffset = 2n ** 63n - 10n
    const records = [0n, 1n, 2n].map((delta) => ({ delta }))
    expect(recordsIn(batchByHand({ baseOffset, records })).map(({ offset }) => offset)).toEqual(
      [0n, 1n, 2n].map((delta) => String(baseOffset + delta)),
    )
  })

  test('have the time of their append where the topic says so', () => {
    const records = [{ timeDelta: 5n }, { delta: 1n, timeDelta: 9n }]
    const batch = batchByHand({ attributes: 0x08, baseTimestamp: 100n, maxTimestamp: 7777n, records })
    expect(recordsIn(batch).map(({ timestamp }) => timestamp)).toEqual([7777, 7777])
  })

  test('may be left without records by compaction, and end where they ended', () => {
    const batch = batchByHand({ baseOffset: 20n, lastOffsetDelta: 4, producerId: 3n })
    expect(only(batch)).toMatchObject({ baseOffset: 20n, lastOffset: 24n, producerId: 3n, control: undefined })
    expect(recordsIn(batch)).toEqual([])
  })

  test.each([
    [0, 'abort'],
    [1, 'commit'],
    [3, 'other'],
  ])('of control records of type %i are %s', (type, control) => {
    const key = writer().int16(0).int16(type).done()
    expect(only(batchByHand({ attributes: 0x30, records: [{ key, value: Buffer.alloc(6) }] })).control).toBe(control)
    expect(only(batchByHand({ attributes: 0x10, records: [{ key }] })).control).toBeUndefined()
    expect(only(batchByHand({ attributes: 0x30 })).control).toBe('other')
  })

  test.each([
    [1, gzipSync],
    [4, zstdCompressSync],
  ])('compressed with codec %i are unpacked', (attributes, body) => {
    const records = [{ value: Buffer.alloc(5000, 'x') }, { delta: 1n, key: Buffer.from('k') }]
    expect(recordsIn(batchByHand({ attributes, records, body }))).toEqual(recordsIn(batchByHand({ records })))
  })

  test.each([
    [2, 'snappy'],
    [3, 'lz4'],
    [5, 'codec 5'],
  ])('compressed with codec %i are refused by name; their header is read', (attributes, codec) => {
    const batch = only(batchByHand({ baseOffset: 8n, attributes, records: [{}] }))
    expect(batch.lastOffset).toBe(8n)
    expect(() => [...batch.records()]).toThrow(
      expect.objectContaining({
        ...{ code: 'KAFKA_COMPRESSION', retriable: false },
        message: expect.stringMatching(`offset 8 .*${codec}.*compression.type`),
      }),
    )
  })

  test('of the formats before Kafka 0.11 are refused, also one message of a few bytes', () => {
    const message = writer().int64(5n).int32(14).int32(0).int8(1).int8(0).int32(-1).int32(-1).done()
    expect(() => readRecordBatches(message)).toThrow(
      expect.objectContaining({ code: 'KAFKA_MESSAGE_FORMAT', retriable: false }),
    )
  })

  test('that were cut off at the end of a reply are left out, wherever the cut is', () => {
    const [first, second] = [0n, 1n].map((baseOffset) =>
      batchByHand({ baseOffset, records: [{ value: Buffer.from('v') }] }),
    )
    const both = Buffer.concat([first as Buffer, second as Buffer])
    expect(readRecordBatches(both).map(({ baseOffset }) => baseOffset)).toEqual([0n, 1n])
    for (let end = (first as Buffer).length; end < both.length; end++)
      expect(readRecordBatches(both.subarray(0, end)).map(({ baseOffset }) => baseOffset)).toEqual([0n])
    for (let end = 1; end < (first as Buffer).length; end++)
      expect(() => readRecordBatches(both.subarray(0, end))).toThrow(RangeError)
    expect(readRecordBatches(Buffer.alloc(0))).toEqual([])
  })

  test('whose records do not fill them as they say are an error, never other records', () => {
    const records = [
      {
        key: Buffer.from('key'),
        value: Buffer.from('a value'),
        headers: [[Buffer.from('h'), Buffer.from('x')]] as const,
      },
    ]
    for (let cut = 1; cut <= 20; cut++) {
      const body = (whole: Buffer): Buffer => whole.subarray(0, whole.length - cut)
      expect(() => recordsIn(batchByHand({ records, body }))).toThrow(RangeError)
    }
    const longer = (whole: Buffer): Buffer =>
      Buffer.concat([Buffer.from([(whole[0] as number) + 2]), whole.subarray(1)])
    expect(() => recordsIn(batchByHand({ records, body: longer }))).toThrow(RangeError)
    expect(() => recordsIn(batchByHand({ records: [...records, ...records], body: longer }))).toThrow(RangeError)
    expect(() => recordsIn(batchByHand({ records, count: 2 }))).toThrow(RangeError)
  })
})

describe('replies', () => {
  const batch = batchByHand({ baseOffset: 4n, records: [{ value: Buffer.from('v') }] })
  const partition = (o: { tags?: Buffer; records?: Buffer } = {}): Buffer => {
    const { tags = Buffer.from([0]), records = batch } = o
    const front = writer()
      .noTags()
      .int32(30) // throttle time
      .int16(0)
      .int32(0)
      .compactLength(1)
      .uuid(Buffer.alloc(16, 1))
      .compactLength(1)
      .int32(0)
      .int16(0)
      .int64(10n)
      .int64(9n)
      .int64(2n)
      .compactLength(1)
      .int64(77n)
      .int64(3n)
      .noTags()
      .int32(-1)
      .compactLength(records.length)
      .done()
    return Buffer.concat([front, records, tags, Buffer.from([0, 0])])
  }
  const { response } = fetchRequest({
    ...{ topicId: Buffer.alloc(16), partition: 0, offset: 0n, lastEpoch: -1, maxBytes: 1 },
    ...{ maxWaitMs: 1, isolation: 'committed' as const },
  })

  test('to Fetch hold what the leader said', async () => {
    expect(await response.decode(partition())).toMatchObject({
      ...{ errorCode: 0, throttleMs: 30, lastStableOffset: 9n, logStartOffset: 2n, divergingEnd: undefined },
      aborted: [{ producerId: 77n, firstOffset: 3n }],
      batches: [{ baseOffset: 4n }],
    })
  })

  test('to Fetch tell where the logs diverge, among other tagged fields', async () => {
    const field = (tag: number, value: Buffer): Buffer => Buffer.concat([Buffer.from([tag, value.length]), value])
    const diverging = Buffer.concat([writer().int32(6).int64(5n).done(), Buffer.from([0])])
    const tags = Buffer.concat([
      Buffer.from([3]),
      field(0, diverging),
      field(1, Buffer.alloc(9)),
      field(2, Buffer.alloc(0)),
    ])
    expect(await response.decode(partition({ tags, records: Buffer.alloc(0) }))).toMatchObject({
      ...{ divergingEnd: 5n, batches: [], lastStableOffset: 9n },
    })
  })

  test('to Fetch that are held back name no partition, and are no reason to pass anything over', async () => {
    const held = writer().noTags().int32(5000).int16(0).int32(0).compactLength(0).noTags().done()
    expect(await response.decode(held)).toMatchObject({
      errorCode: 0,
      throttleMs: 5000,
      lastStableOffset: -1n,
      batches: [],
    })
  })

  test('that end too early are an error, wherever that is', async () => {
    const whole = partition()
    for (let end = 0; end < whole.length - 1; end++)
      await expect(response.decode(whole.subarray(0, end)), `${end} bytes`).rejects.toThrow(RangeError)
    const { response: metadata } = metadataRequest('t')
    await expect(metadata.decode(Buffer.from([0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]))).rejects.toThrow(RangeError)
  })
})

test('what is written of the types of the protocol is read', () => {
  const parts = fc.record({
    ...{ a: fc.integer({ min: -128, max: 127 }), b: fc.integer({ min: -32768, max: 32767 }), c: fc.integer() },
    ...{ d: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), text: fc.string({ unit: 'binary' }) },
    length: fc.oneof(fc.nat(), fc.constantFrom(0, 126, 127, 128, 16_382, 16_383, 2 ** 32 - 2)),
  })
  fc.assert(
    fc.property(parts, ({ a, b, c, d, text, length }) => {
      const from = reader(writer().int8(a).int16(b).int32(c).int64(d).compactString(text).compactLength(length).done())
      expect([from.int8(), from.int16(), from.int32(), from.int64()]).toEqual([a, b, c, d])
      expect([from.compactString(), from.uvarint() - 1]).toEqual([text, length])
      expect(() => from.int8()).toThrow(RangeError)
    }),
  )
  expect(() => reader(Buffer.alloc(99, 0xff)).uvarint()).toThrow('more than 5 bytes')
  expect(() => reader(Buffer.alloc(3)).bytes(4)).toThrow(RangeError)
})

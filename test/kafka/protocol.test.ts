import { isUtf8 } from 'node:buffer'
import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { compressFrameSync } from 'lz4-napi'
import { compressSync } from 'snappy'
import { describe, expect, test } from 'vitest'
import { crc32c } from '../../src/adapters/kafka/protocol/crc32c.ts'
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

/** Behind the length of the batch. */
const ATTRIBUTES_AT = 9

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
    .int32(0) // crc
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
  rest.writeInt32BE(crc32c(rest, ATTRIBUTES_AT), ATTRIBUTES_AT - 4)
  return Buffer.concat([
    writer()
      .int64(o.baseOffset ?? 0n)
      .int32(rest.length)
      .done(),
    rest,
  ])
}

const batchOf = (o: ByHand): RecordBatch => only(batchByHand(o))
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

  test('give headers as text where that is asked for, but for those that are not UTF-8', () => {
    const header = fc.tuple(
      name.map((each) => Buffer.from(each)),
      fc.option(bytes),
    )
    const record = fc.record({ headers: fc.array(header, { maxLength: 5 }), value: fc.option(bytes) })
    fc.assert(
      fc.property(fc.array(record, { minLength: 1, maxLength: 8 }), (records) => {
        const batch = batchOf({ records })
        const asText = [...batch.records()].map(({ headers, ...rest }) => ({
          ...rest,
          headers: headers.map(([each, value]) => [
            each,
            value !== null && isUtf8(value) && !String(value).includes('\ufffd') ? String(value) : value,
          ]),
        }))
        expect([...batch.records('text')]).toEqual(asText)
      }),
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

  describe('that are compressed', () => {
    /** As Java's clients frame snappy: blocks of 32 KiB each behind its length. */
    const xerial = (bytes: Buffer, blockBytes = 32 * 1024): Buffer => {
      const parts: Buffer[] = [Buffer.from('\x82SNAPPY\0\0\0\0\x01\0\0\0\x01', 'latin1')]
      for (let at = 0; at < bytes.length; at += blockBytes) {
        const block = compressSync(bytes.subarray(at, at + blockBytes))
        parts.push(writer().int32(block.length).done(), block)
      }
      return Buffer.concat(parts)
    }
    const codecs: Readonly<Record<string, readonly [attributes: number, pack: (bytes: Buffer) => Buffer]>> = {
      gzip: [1, (bytes) => gzipSync(bytes)],
      "snappy in Java's frame": [2, (bytes) => xerial(bytes)],
      'snappy in many blocks': [2, (bytes) => xerial(bytes, 64)],
      'snappy without a frame, as librdkafka writes it': [2, (bytes) => compressSync(bytes)],
      lz4: [3, (bytes) => compressFrameSync(bytes)],
      'lz4 with checksums': [3, (bytes) => compressFrameSync(bytes, { contentChecksum: true, blockChecksums: true })],
      zstd: [4, (bytes) => zstdCompressSync(bytes)],
    }

    test.each(Object.entries(codecs))('with %s are unpacked to what was packed', async (_, [attributes, body]) => {
      await batchOf({ attributes, body: () => body(Buffer.alloc(1)) }).ready
      const record = fc.record({ key: fc.option(bytes), value: fc.option(fc.uint8Array({ maxLength: 3000 })) })
      fc.assert(
        fc.property(fc.array(record, { minLength: 1, maxLength: 40 }), (some) => {
          const records = some.map(({ key, value }, i) => ({
            key,
            value: value && Buffer.from(value),
            delta: BigInt(i),
          }))
          expect(recordsIn(batchByHand({ attributes, records, body }))).toEqual(recordsIn(batchByHand({ records })))
        }),
        { numRuns: 50 },
      )
      const records = [{ value: Buffer.alloc(200_000, 'x') }]
      expect(recordsIn(batchByHand({ attributes, records, body }))).toEqual(recordsIn(batchByHand({ records })))
    })

    test.each(Object.entries(codecs))(
      'with %s and cut short are an error with their offset, wherever the cut is',
      async (_, [attributes, body]) => {
        await batchOf({ attributes, body: () => body(Buffer.alloc(1)) }).ready
        const records = [0n, 1n, 2n].map((delta) => ({ delta, value: Buffer.alloc(50, String(delta)) }))
        const whole = recordsIn(batchByHand({ attributes, records, body }))
        const length = batchByHand({ attributes, records, body }).length - 61
        for (let left = 0; left < length; left++) {
          const cut = batchByHand({
            ...{ attributes, records, baseOffset: 8n },
            body: (all) => body(all).subarray(0, left),
          })
          try {
            // What is cut off may be nothing but an end mark.
            expect(recordsIn(cut).map(({ value }) => value)).toEqual(whole.map(({ value }) => value))
          } catch (error) {
            expect(error).toMatchObject({ code: 'KAFKA_CORRUPT_BATCH', message: expect.stringContaining('offset 8 ') })
          }
        }
      },
    )

    test.each([
      ['gzip', 1, () => gzipSync(Buffer.alloc(200 << 20))],
      ['snappy', 2, () => Buffer.concat([Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f]), compressSync(Buffer.alloc(1))])],
      ['lz4', 3, () => compressFrameSync(Buffer.alloc(200 << 20))],
      ['zstd', 4, () => zstdCompressSync(Buffer.alloc(200 << 20))],
    ])('with %s to a few bytes, and say they are hundreds of MiB, are refused', async (_, attributes, body) => {
      const batch = batchOf({ attributes, baseOffset: 8n, body, records: [{}] })
      await batch.ready
      expect(() => [...batch.records()]).toThrow(
        expect.objectContaining({ code: 'KAFKA_CORRUPT_BATCH', message: expect.stringContaining('134217728 bytes') }),
      )
    })

    const optional = [
      [2, 'snappy'],
      [3, 'lz4-napi'],
    ] as const

    /** What a process says of such a batch in which `import` of the codec's package is answered by the expression `resolved`. */
    function toldOf(attributes: number, name: string, resolved: string): string {
      const batch = batchByHand({ attributes, baseOffset: 8n, records: [{}], body: () => Buffer.from('packed') })
      const script = `
        import { registerHooks } from 'node:module'
        registerHooks({ resolve: (specifier, context, next) => specifier === '${name}' ? ${resolved} : next(specifier, context) })
        const { readRecordBatches } = await import('./src/adapters/kafka/protocol/record-batch.ts')
        const [batch] = readRecordBatches(Buffer.from('${batch.toString('base64')}', 'base64'))
        await batch.ready
        try { [...batch.records()] } catch ({ code, retriable, message }) { console.log(JSON.stringify({ code, retriable, message })) }`
      const told = execFileSync('node', ['--input-type=module', '-e', script], { encoding: 'utf8' })
      expect(JSON.parse(told)).toMatchObject({ code: 'KAFKA_COMPRESSION', retriable: false })
      return told
    }

    test.each(optional)(
      'with codec %i, for which a package is needed that is missing, say what to install',
      (codec, name) => {
        expect(toldOf(codec, name, "next('no-such-package', context)")).toMatch(
          new RegExp(`offset 8 .*npm install ${name}`),
        )
      },
    )

    test.each(optional)(
      'with codec %i, whose package is there but has another interface, say so, and are not called corrupt',
      (codec, name) => {
        expect(toldOf(codec, name, "{ url: 'data:text/javascript,export{}', shortCircuit: true }")).toMatch(
          new RegExp(`offset 8 .*npm install ${name}.*expected its function \\w+Sync, but found undefined`),
        )
      },
    )

    test('with lz4 in several frames are read to the end of the first, and what is no frame is refused', async () => {
      await batchOf({ attributes: 3, body: () => compressFrameSync(Buffer.alloc(1)) }).ready
      const records = [{ value: Buffer.from('v') }]
      const body = (all: Buffer): Buffer => Buffer.concat([compressFrameSync(all), compressFrameSync(Buffer.alloc(99))])
      expect(recordsIn(batchByHand({ attributes: 3, records, body }))).toEqual(recordsIn(batchByHand({ records })))
      const legacy = (): Buffer => Buffer.from('02214c180000000000000000', 'hex')
      expect(() => recordsIn(batchByHand({ attributes: 3, records, body: legacy }))).toThrow(
        expect.objectContaining({ code: 'KAFKA_CORRUPT_BATCH', message: expect.stringContaining('no frame of LZ4') }),
      )
    })

    test('with a codec that nobody knows are refused by name; their header is read', () => {
      const batch = batchOf({ baseOffset: 8n, attributes: 5, records: [{}] })
      expect(batch.lastOffset).toBe(8n)
      expect(() => [...batch.records()]).toThrow(
        expect.objectContaining({
          ...{ code: 'KAFKA_COMPRESSION', retriable: false },
          message: expect.stringMatching(/offset 8 .*codec 5.*compression.type/),
        }),
      )
    })
  })

  test('that were changed on the way are an error with their offset, wherever that is', () => {
    const [first, second] = [0n, 4n].map((baseOffset) =>
      batchByHand({ baseOffset, records: [{ value: Buffer.from('v') }] }),
    ) as [Buffer, Buffer]
    for (let at = 17; at < second.length; at++) {
      const changed = Buffer.from(second)
      changed[at] = (changed[at] as number) ^ 4
      expect(() => readRecordBatches(changed)).toThrow(
        expect.objectContaining({ code: 'KAFKA_CORRUPT_BATCH', message: expect.stringContaining('offset 4 ') }),
      )
      // What comes before it can be handled; it is the first of the next reply.
      expect(readRecordBatches(Buffer.concat([first, changed, first]))).toHaveLength(1)
    }
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

  test('that a producer filled with anything are read to an end, or are an error with their offset', () => {
    const headers = [[Buffer.from('name'), Buffer.from('x')]] as const
    const records = [0n, 1n, 2n].map((delta) => ({ delta, key: Buffer.from('k'), headers }))
    const change = fc.record({ at: fc.nat(), byte: fc.nat({ max: 255 }) })
    const counts = { read: 0, refused: 0 }
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
        const body = (whole: Buffer): Buffer => {
          const changed = Buffer.from(whole)
          for (const { at, byte } of changes) changed[at % changed.length] = byte
          return changed
        }
        for (const headersAs of [undefined, 'text'] as const) {
          const batch = batchOf({ baseOffset: 8n, records, body })
          try {
            expect([...(headersAs === undefined ? batch.records() : batch.records(headersAs))]).toHaveLength(3)
            counts.read++
          } catch (error) {
            expect(error).toMatchObject({ code: expect.stringMatching(/^KAFKA_(CORRUPT_BATCH|HEADER_NAME)$/) })
            expect(String(error)).toContain('offset 8 ')
            counts.refused++
          }
        }
      }),
      { numRuns: 3000 },
    )
    expect(Math.min(counts.read, counts.refused)).toBeGreaterThan(100)
  })

  test('whose records do not fill them as they say are an error, never other records', () => {
    const records = [
      {
        key: Buffer.from('key'),
        value: Buffer.from('a value'),
        headers: [[Buffer.from('h'), Buffer.from('x')]] as const,
      },
    ]
    const corrupt = expect.objectContaining({ code: 'KAFKA_CORRUPT_BATCH', retriable: false })
    for (let cut = 1; cut <= 20; cut++) {
      const body = (whole: Buffer): Buffer => whole.subarray(0, whole.length - cut)
      expect(() => recordsIn(batchByHand({ records, body }))).toThrow(corrupt)
    }
    const longer = (whole: Buffer): Buffer =>
      Buffer.concat([Buffer.from([(whole[0] as number) + 2]), whole.subarray(1)])
    expect(() => recordsIn(batchByHand({ records, body: longer }))).toThrow(corrupt)
    expect(() => recordsIn(batchByHand({ records: [...records, ...records], body: longer }))).toThrow(corrupt)
    expect(() => recordsIn(batchByHand({ records, count: 2 }))).toThrow(corrupt)
    expect(() => recordsIn(batchByHand({ records: [...records, ...records], count: 1 }))).toThrow(corrupt)
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

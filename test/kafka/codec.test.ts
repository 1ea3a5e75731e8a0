import fc from 'fast-check'
import { Partitioners } from 'kafkajs'
import { describe, expect, test } from 'vitest'
import { decodeRecord, encodeRecord } from '../../src/adapters/kafka/codec.ts'
import { murmur2, partitionOfKey } from '../../src/adapters/kafka/partition-of-key.ts'
import type { NewRecord } from '../../src/adapters/kafka/protocol/new-record-batch.ts'
import type { KafkaRecord } from '../../src/adapters/kafka/protocol/record-batch.ts'
import type { Event } from '../../src/core/event.ts'
import { addHeader } from '../../src/core/wire.ts'
import { arbitraryEvent, comparable } from '../tools/arbitrary-event.ts'

function pairsOf(turns: readonly string[]): [name: string, value: string][] {
  return Array.from({ length: turns.length / 2 }, (_, i) => [turns[2 * i] as string, turns[2 * i + 1] as string])
}
/** The record as it comes back. */
function recordOf({ key, value, headers }: NewRecord): KafkaRecord {
  const pairs = pairsOf(headers).map(([name, text]) => [name, Buffer.from(text)] as const)
  return { offset: '7', timestamp: 1000, key, value: value && Buffer.from(value), headers: pairs }
}
const record = (o: Partial<KafkaRecord>): KafkaRecord => ({
  ...{ offset: '7', timestamp: 1000, key: Buffer.from('k'), value: Buffer.from('v'), headers: [] },
  ...o,
})
const own: Event = { id: '5', type: 3, foreignId: 'order-7', timestamp: 1.5, metadata: null, headers: {} }

describe('an event of ours', () => {
  const arbitrary = arbitraryEvent().map((event): Event => ({ ...event, id: '41' }))

  test('that was encoded is decoded as it was, in whatever order its headers come', () => {
    fc.assert(
      fc.property(arbitrary, (event) => {
        const encoded = recordOf(encodeRecord(event, 'shop'))
        const decoded = decodeRecord(encoded)
        expect(comparable(decoded)).toEqual(comparable(event))
        expect(decoded).toMatchObject({ id: '7', headers: { 'reflex-source': 'shop', 'reflex-source-id': '41' } })
        const ours = encoded.headers.filter(([name]) => name.startsWith('reflex-'))
        const others = encoded.headers.filter(([name]) => !name.startsWith('reflex-'))
        for (const headers of [
          [...others, ...ours],
          [...ours.toReversed(), ...others],
        ])
          expect(comparable(decodeRecord({ ...encoded, headers }))).toEqual(comparable(event))
      }),
    )
  })

  test('has its payload as the value, a null one as a tombstone, and its foreignId as the key', () => {
    const { key, value, headers } = encodeRecord(own, 'shop')
    expect([String(key), value]).toEqual(['order-7', null])
    expect(pairsOf(headers).map(([name]) => name)).toEqual([
      'reflex-source',
      'reflex-source-id',
      'reflex-type',
      'reflex-timestamp',
    ])
    expect(encodeRecord({ ...own, metadata: new Uint8Array(0) }, 's').value).toHaveLength(0)
    const part = new Uint8Array(Buffer.from('abcdef')).subarray(2, 4)
    expect(encodeRecord({ ...own, metadata: part }, 's').value).toEqual(part)
  })

  test.each(['__proto__', 'constructor', 'toString', '1', '', 'reflex-other'])(
    'with a header named %j keeps it, once or several times',
    (name) => {
      for (const values of [['x'], ['x', '', 'x'], ['\ufffd']]) {
        const headers: Record<string, string | string[]> = {}
        for (const value of values) addHeader(headers, name, value)
        const decoded = decodeRecord(recordOf(encodeRecord({ ...own, headers }, 's')))
        expect(Object.entries(decoded.headers).find(([each]) => each === name)?.[1]).toEqual(
          values.length === 1 ? values[0] : values,
        )
        expect(Object.getPrototypeOf(decoded.headers)).toBe(Object.prototype)
        expect(decoded).toMatchObject({ type: 3, foreignId: 'order-7', timestamp: 1.5, metadata: null })
      }
    },
  )

  test('whose own header comes twice keeps both values and stays an event of ours', () => {
    const twice = recordOf(encodeRecord(own, 'a'))
    const headers = [...twice.headers, ['reflex-source', Buffer.from('b')] as const]
    expect(decodeRecord({ ...twice, headers })).toMatchObject({ type: 3, headers: { 'reflex-source': ['a', 'b'] } })
  })

  test.each(['5000000000', '1.5', '', 'x', '0x10', '-0', '01'])('whose type is %j is an error, or a number', (type) => {
    const encoded = recordOf(encodeRecord(own, 's'))
    const headers = encoded.headers.map(
      ([name, value]) => [name, name === 'reflex-type' ? Buffer.from(type) : value] as const,
    )
    for (const order of [headers, headers.toReversed()]) {
      if (['-0', '01'].includes(type)) expect(decodeRecord({ ...encoded, headers: order }).type).toBe(Number(type))
      else expect(() => decodeRecord({ ...encoded, headers: order })).toThrow('32-bit integer')
    }
  })

  test('may tell its foreignId and its null in headers, as on brokers without keys and nulls', () => {
    const encoded = recordOf(encodeRecord({ ...own, metadata: new Uint8Array(0) }, 's'))
    const more = [
      ['reflex-foreign-id', Buffer.from('other')],
      ['reflex-null', Buffer.from('1')],
    ] as const
    for (const headers of [
      [...encoded.headers, ...more],
      [...more, ...encoded.headers],
    ])
      expect(decodeRecord({ ...encoded, headers })).toMatchObject({ type: 3, foreignId: 'other', metadata: null })
  })

  test('without its time is another record', () => {
    const encoded = recordOf(encodeRecord(own, 's'))
    const headers = encoded.headers.filter(([name]) => name !== 'reflex-timestamp')
    expect(decodeRecord({ ...encoded, headers })).toMatchObject({ type: 0, timestamp: 1000 })
  })
})

describe('a record of others', () => {
  test('has type 0, its key as foreignId, its own time, its value and its headers', () => {
    expect(
      decodeRecord(
        record({
          headers: [
            ['a', Buffer.from('1')],
            ['b', null],
            ['a', Buffer.from('')],
          ],
        }),
      ),
    ).toEqual({
      ...{ id: '7', type: 0, foreignId: 'k', timestamp: 1000, metadata: Buffer.from('v') },
      headers: { a: ['1', ''], b: '' },
    })
  })

  test('without a key has an empty foreignId; null and empty values are told apart', () => {
    expect(decodeRecord(record({ key: null, value: null }))).toMatchObject({ foreignId: '', metadata: null })
    expect(decodeRecord(record({ value: Buffer.alloc(0) })).metadata).toHaveLength(0)
  })

  test('with bytes that are not UTF-8 in its key or in a header is an error that shows them; in the value they are fine', () => {
    const bytes = Buffer.from([0x61, 0xff])
    expect(() => decodeRecord(record({ key: bytes }))).toThrow('61ff')
    expect(() => decodeRecord(record({ headers: [['a', bytes]] }))).toThrow('61ff')
    expect(decodeRecord(record({ value: bytes })).metadata).toEqual(bytes)
    expect(decodeRecord(record({ key: Buffer.from('\ufffd') })).foreignId).toBe('\ufffd')
  })
})

describe('the partition of a key', () => {
  /** kafkajs's own, which is Java's. */
  const theirs = Partitioners.DefaultPartitioner()
  const metadata = (count: number) =>
    Array.from({ length: count }, (_, partitionId) => ({
      ...{ partitionErrorCode: 0, partitionId, leader: 1, replicas: [1], isr: [1], offlineReplicas: [] },
    }))

  test("is that of kafkajs's producer, for every key", () => {
    const key = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.string({ unit: 'binary' }).map((text) => Buffer.from(text)),
    )
    fc.assert(
      fc.property(key, fc.integer({ min: 1, max: 200 }), (bytes, count) => {
        const key = Buffer.from(bytes)
        const partition = theirs({ topic: 't', partitionMetadata: metadata(count), message: { key, value: null } })
        expect(partitionOfKey(key, count)).toBe(partition)
      }),
      { numRuns: 2000 },
    )
  })

  // UtilsTest.testMurmur2 of Kafka.
  test.each([
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ])("is that of Kafka's producer: murmur2 of %j", (key, hash) => {
    expect(murmur2(Buffer.from(key))).toBe(hash)
  })
})

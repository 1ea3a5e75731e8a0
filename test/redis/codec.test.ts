import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeEntry, encodeEntry } from '../../src/adapters/redis/codec.ts'
import { packEntries } from '../../src/adapters/redis/pack-entries.ts'
import type { Event } from '../../src/core/event.ts'
import { arbitraryEvent, comparable } from '../tools/arbitrary-event.ts'

const arbitrary = arbitraryEvent().map((event): Event => ({ ...event, id: '1-0' }))
const bytesOf = (entry: readonly (string | Uint8Array)[]): Buffer[] =>
  entry.slice(1).map((part) => Buffer.from(part as string))

test('an event that was encoded is decoded as it was, in whatever order its fields come', () => {
  const order = fc.array(fc.nat(), { minLength: 20, maxLength: 20 })
  fc.assert(
    fc.property(arbitrary, order, (event, keys) => {
      const fields = bytesOf(encodeEntry(event, 'shop', '*'))
      const decoded = decodeEntry('1-0', fields, 'key')
      expect(comparable(decoded)).toEqual(comparable(event))
      expect(decoded.headers).toMatchObject({ 'reflex-source': 'shop', 'reflex-source-id': '1-0' })
      // Values of one name keep their order, whatever stands between them.
      const own = fields.slice(0, 10)
      const pairs = [0, 1, 2, 3, 4]
        .map((i) => own.slice(2 * i, 2 * i + 2))
        .sort(() => ((keys.pop() ?? 0) % 2 === 0 ? -1 : 1))
      expect(comparable(decodeEntry('1-0', [...fields.slice(10), ...pairs.flat()], 'key'))).toEqual(comparable(event))
    }),
  )
})

test('a header never passes for a field of our own, nor for the payload', () => {
  const headers = { metadata: 'x', 'h:a': 'y', 'h:metadata': ['z', ''], toString: '1' }
  const event: Event = { id: '1', type: 1, foreignId: 'f', timestamp: 1, metadata: null, headers }
  const decoded = decodeEntry('1', bytesOf(encodeEntry(event, 's', '*')), 'key')
  expect(decoded.metadata).toBeNull()
  expect(decoded.headers).toEqual({ ...headers, 'reflex-source': 's', 'reflex-source-id': '1' })
})

test('packages hold every entry once, in order, and stay below 1 MB where an entry allows it', () => {
  const sizes = fc.array(fc.oneof(fc.nat({ max: 1000 }), fc.nat({ max: 300_000 })), { maxLength: 30 })
  fc.assert(
    fc.property(sizes, (lengths) => {
      const entries = lengths.map((length, i) => ['*', `f${i}`, new Uint8Array(length)] as const)
      const packages = packEntries(entries, 2 ** 29)
      for (const each of packages) expect(each.length).toBeLessThan(320_000)
      expect(packages.flatMap(unpack).map(([, name, value]) => [String(name), value?.length])).toEqual(
        lengths.map((length, i) => [`f${i}`, length]),
      )
      if (lengths.length > 0)
        expect(packages.length).toBeLessThanOrEqual(1 + lengths.reduce((a, b) => a + b, 0) / 100_000)
    }),
    { numRuns: 50 },
  )
})

/** Reads `array 32` and `str 32`, the two kinds of MessagePack that are written. */
function unpack(bytes: Buffer): Buffer[][] {
  let at = 0
  const header = (kind: number): number => {
    expect(bytes[at]).toBe(kind)
    at += 5
    return bytes.readUInt32BE(at - 4)
  }
  const entries = Array.from({ length: header(0xdd) }, () =>
    Array.from({ length: header(0xdd) }, () => {
      const length = header(0xdb)
      at += length
      return bytes.subarray(at - length, at)
    }),
  )
  expect(at).toBe(bytes.length)
  return entries
}

import fc from 'fast-check'
import type { Event, NewEvent } from '../core/event.ts'
import { addHeader, headerPairs, wireNames } from '../core/wire.ts'

/** What an event says, as plain data. */
export interface EventBody {
  readonly type: number
  readonly foreignId: string
  /** Epoch in µs. */
  readonly micros: number
  /** The payload in hexadecimal digits; null for none. */
  readonly hex: string | null
  readonly headers: readonly (readonly [name: string, value: string])[]
}

const reserved = new Set<string>(Object.values(wireNames))
/** Any code point; not `fc.string`, which tabulates all of Unicode first and makes half of the characters of a text rare ones. */
const unit = fc.oneof(
  fc.constantFrom(...'abcAZ09 -_.%'),
  fc.integer({ min: 0, max: 0x10f7ff }).map((code) => String.fromCodePoint(code < 0xd800 ? code : code + 0x800)),
)
const text = (maxLength: number, minLength = 0): fc.Arbitrary<string> =>
  fc.array(unit, { minLength, maxLength }).map((units) => units.join(''))
const hexDigits = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const everyByte = hexDigits(Uint8Array.from({ length: 256 }, (_, i) => i))
const large = hexDigits(Uint8Array.from({ length: 100_000 }, (_, i) => (i * 31) % 251))
const headerName = fc.oneof(
  text(12, 1).filter((name) => !reserved.has(name)),
  fc.constantFrom('a', 'A', 'Content-Type', '__proto__', 'constructor'),
)

/** Events of every kind that the contract allows: any bytes, none and null, µs timestamps, Unicode ids, headers with several values. */
export const arbitraryBody: fc.Arbitrary<EventBody> = fc
  .record({
    type: fc.oneof(fc.integer(), fc.constantFrom(0, 1, -1, 2 ** 31 - 1, -(2 ** 31))),
    foreignId: fc.oneof(
      text(40),
      fc.constantFrom('', '0', ' ', 'a b', 'ключ', '🪵', '%25', 'a\nb', '\u0000', '__proto__', 'e\u0301', 'ﬁ'),
      fc.constantFrom('n'.repeat(255), 'é🪵'.repeat(85)),
    ),
    micros: fc.oneof(
      fc.integer({ min: 0, max: 4_102_444_800_000_000 }),
      fc.constantFrom(0, 1_767_225_600_000_001, 1_767_225_600_000_000, -1, -1_000_001, -2_208_988_800_000_000),
    ), // 1900 to 2100
    hex: fc.option(
      fc.oneof(
        { weight: 6, arbitrary: fc.uint8Array({ maxLength: 60 }).map(hexDigits) },
        { weight: 1, arbitrary: fc.constantFrom(everyByte, large) },
      ),
    ),
    headers: fc.oneof(
      fc.array(fc.tuple(headerName, text(20)), { maxLength: 4 }),
      fc.constantFrom(2000, 20_000).map((length) => [['long', 'x'.repeat(length)] as const]),
      fc.constant(Array.from({ length: 20 }, (_, i) => [`h${i}`, String(i)] as const)),
      // Of one name, in an order that means something.
      fc
        .tuple(headerName, fc.array(text(8), { minLength: 2, maxLength: 3 }))
        .map(([name, values]) => values.map((value) => [name, value] as const)),
    ),
  })
  .filter(({ type, foreignId }) => !(type === 0 && foreignId === '0')) // reflex's no-op, which its tables refuse

/** The event that a body describes. */
export function eventOf({ type, foreignId, micros, hex, headers }: EventBody): Required<NewEvent> {
  const collected: Record<string, string | string[]> = {}
  for (const [name, value] of headers) addHeader(collected, name, value)
  const metadata = hex === null ? null : Buffer.from(hex, 'hex')
  return { type, foreignId, timestamp: micros / 1000, metadata, headers: collected }
}

/** What is different about an event that was read, in words; undefined if it is as it was appended. What was left open may be anything. */
export function difference(appended: NewEvent, read: Event): string | undefined {
  if (isSame(appended, read)) return undefined
  for (const [name, wanted, found] of [
    ['type', appended.type, read.type],
    ['foreignId', appended.foreignId, read.foreignId],
    ['timestamp in µs', micros(appended.timestamp), micros(read.timestamp)],
    ['payload', hexOf(appended.metadata), hexOf(read.metadata)],
    ['headers', pairs(appended.headers), pairs(read.headers)],
  ] as const) {
    if (wanted !== undefined && wanted !== found)
      return `its ${name} should be ${short(wanted)}, but is ${short(found)}`
  }
  return undefined
}

/** Most events are equal, and cheap to compare. */
function isSame(appended: NewEvent, read: Event): boolean {
  const { metadata, timestamp } = appended
  return (
    appended.type === read.type &&
    appended.foreignId === read.foreignId &&
    (timestamp === undefined || timestamp === read.timestamp) &&
    (metadata === undefined ||
      metadata === read.metadata ||
      (metadata !== null && read.metadata instanceof Uint8Array && Buffer.compare(metadata, read.metadata) === 0)) &&
    (appended.headers === undefined || pairs(appended.headers) === pairs(read.headers))
  )
}

function micros(timestamp: number | undefined): number | undefined {
  return timestamp === undefined ? undefined : Math.round(timestamp * 1000)
}

/** What is no payload at all stays as it is, and is told. */
function hexOf(bytes: unknown): unknown {
  if (!(bytes instanceof Uint8Array)) return bytes
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}

/** Values of one name keep their order; names have none. An array of one is no way to give a value. */
function pairs(headers: Event['headers'] | undefined): string | undefined {
  if (headers === undefined) return undefined
  const lone = Object.entries(headers).find(([, value]) => Array.isArray(value) && value.length < 2)
  if (lone !== undefined) return JSON.stringify(lone)
  const own = headerPairs(headers).filter(([name]) => !reserved.has(name))
  return JSON.stringify(own.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
}

/** What looks alike is told apart, and what is long is cut. */
function short(value: unknown): string {
  if (value === undefined) return 'nothing'
  const text = typeof value === 'string' && value.startsWith('[') ? value : JSON.stringify(value)
  const words = text.replaceAll(/[^ -~]/g, escaped)
  return words.length > 120 ? `${words.slice(0, 80)}… (${words.length} characters)` : words
}

function escaped(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
}

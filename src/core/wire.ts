import { OptionError, ReflexError } from './errors.ts'
import type { Event, Headers } from './event.ts'
import { withMicros } from './with-micros.ts'

/**
 * The names under which the parts of an event travel through a broker that has headers or fields; docs/wire.md is the
 * table per broker. A header of an event that has one of these names is replaced when the event is appended.
 */
export const wireNames = {
  /** `Source.name` of the log that the event was read from. */
  source: 'reflex-source',
  /** The event's id there. Together with the source's name it is the dedupe key. */
  sourceId: 'reflex-source-id',
  type: 'reflex-type',
  foreignId: 'reflex-foreign-id',
  /** RFC 3339, UTC, with µs. */
  timestamp: 'reflex-timestamp',
  /** Present, with the value `1`, if the payload is null where the broker itself could only say empty. */
  null: 'reflex-null',
} as const

/** A header or field: name and value. */
export type WireField = readonly [name: string, value: string]

/**
 * Hands the parts of an event that are not its payload to `each`, in the order in which they travel. Throws on text that would be
 * changed on the way.
 */
export function forEachField(event: Event, source: string, each: (name: string, value: string) => void): void {
  const { id, foreignId, headers } = event
  // Nothing is made that holds them: a sink does this once per event, and what it keeps until they are sent is its own.
  each(wireNames.source, wellFormed(event, wireNames.source, source))
  each(wireNames.sourceId, wellFormed(event, wireNames.sourceId, id))
  each(wireNames.type, String(event.type))
  each(wireNames.foreignId, wellFormed(event, wireNames.foreignId, foreignId))
  each(wireNames.timestamp, formatTimestamp(event.timestamp))
  if (event.metadata === null) each(wireNames.null, '1')
  forEachHeader(headers, (name, value) => {
    if (!reserved.has(name)) each(name, wellFormed(event, name, value))
  })
}

/** The value, if both are. */
function wellFormed({ id }: Event, name: string, value: string): string {
  if (name.isWellFormed() && value.isWellFormed()) return value
  throw new ReflexError(
    'EVENT_UNENCODABLE',
    `event ${id}: the header or foreignId ${JSON.stringify(name)}: ${JSON.stringify(value)} is not well-formed Unicode and would be changed on the way`,
    { kind: 'poison', eventId: id },
  )
}

/** What `forEachField` gives, as a list. */
export function encodeFields(event: Event, source: string): WireField[] {
  const fields: WireField[] = []
  forEachField(event, source, (name, value) => fields.push([name, value]))
  return fields
}

const reserved: ReadonlySet<string> = new Set(Object.values(wireNames))

/** What `decodeFields` finds: an event without id and payload. */
export interface DecodedFields extends Omit<Event, 'id' | 'metadata'> {
  /** The payload is null, whatever the broker says. */
  readonly isNull: boolean
}

/**
 * The event that `encodeFields` took apart. The source's name and id stay in the headers. Undefined if the fields were not
 * written by this package; throws on one that is wrong.
 */
export function decodeFields(fields: Iterable<WireField>): DecodedFields | undefined {
  const own = new Map<string, string>()
  const headers: Record<string, string | string[]> = {}
  for (const [name, value] of fields) {
    if (reserved.has(name)) own.set(name, value)
    if (!reserved.has(name) || name === wireNames.source || name === wireNames.sourceId) addHeader(headers, name, value)
  }
  const type = own.get(wireNames.type)
  const foreignId = own.get(wireNames.foreignId)
  const timestamp = own.get(wireNames.timestamp)
  if (type === undefined || foreignId === undefined || timestamp === undefined) return undefined
  if (!/^-?\d{1,10}$/.test(type) || Number(type) !== (Number(type) | 0)) {
    throw new RangeError(`${wireNames.type} must be a 32-bit integer, but is ${JSON.stringify(type)}`)
  }
  return {
    type: Number(type),
    foreignId,
    timestamp: parseTimestamp(timestamp),
    headers,
    isNull: own.has(wireNames.null),
  }
}

/** Adds a header to those that an adapter collects; a name that comes again gets an array. */
export function addHeader(headers: Record<string, string | string[]>, name: string, value: string): void {
  const there = Object.hasOwn(headers, name) ? headers[name] : undefined
  if (there === undefined)
    Object.defineProperty(headers, name, { value, enumerable: true, configurable: true, writable: true })
  else if (typeof there === 'string') headers[name] = [there, value]
  else there.push(value)
}

/** `2026-11-21T10:36:25.123456Z` of epoch ms with µs. Throws outside of the years 0 to 9999. */
export function formatTimestamp(timestamp: number): string {
  // In parts: as a whole number of µs, times after 2255 would exceed what a double can count.
  const fraction = Math.round((timestamp - Math.floor(timestamp)) * 1000)
  const ms = Math.floor(timestamp) + (fraction === 1000 ? 1 : 0)
  if (!(ms >= -62_167_219_200_000 && ms <= 253_402_300_799_999)) {
    throw new OptionError(`a timestamp must be epoch milliseconds in the years 0 to 9999, but is ${timestamp}`)
  }
  const second = Math.floor(ms / 1000) * 1000
  if (second !== lastSecond.ms) lastSecond = { text: new Date(second).toISOString().slice(0, 19), ms: second }
  const micros = (ms - second) * 1000 + (fraction % 1000)
  return `${lastSecond.text}.${String(micros).padStart(6, '0')}Z`
}

/** Neighbours in a log share their second: only its fraction is written and read anew. */
let lastSecond = { text: '1970-01-01T00:00:00', ms: 0 }

/** Epoch ms with µs of an RFC 3339 timestamp; throws a RangeError on anything else. */
export function parseTimestamp(text: string): number {
  if (text.length === 27 && text.startsWith(lastSecond.text) && text[19] === '.' && text[26] === 'Z') {
    const micros = digitsOf(text, 20, 26)
    if (micros !== undefined) return withMicros(lastSecond.ms, micros)
  }
  const [, second, fraction = '', zone] =
    /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(text) ?? []
  const ms = second === undefined ? Number.NaN : Date.parse(`${second}${zone}`)
  if (Number.isNaN(ms))
    throw new RangeError(`expected a timestamp like 2026-11-21T10:36:25.123456Z, but found ${JSON.stringify(text)}`)
  if (zone === 'Z') lastSecond = { text: new Date(ms).toISOString().slice(0, 19), ms } // not as read: 24:00:00 is 00:00:00
  return withMicros(ms, Number(fraction.padEnd(6, '0').slice(0, 6)))
}

/** The number that the digits from `from` up to `end` are; undefined if one of them is no digit. */
function digitsOf(text: string, from: number, end: number): number | undefined {
  let number = 0
  for (let i = from; i < end; i++) {
    const digit = text.charCodeAt(i) - 48
    if (digit < 0 || digit > 9) return undefined
    number = number * 10 + digit
  }
  return number
}

/**
 * Text as a header that holds only visible ASCII and inner spaces: all else, and `%`, is percent-encoded as UTF-8. For
 * brokers whose headers cannot carry every string (NATS trims values and refuses newlines and non-ASCII names).
 */
export function encodeHeaderText(text: string, { name = false }: { name?: boolean } = {}): string {
  return text.replace(name ? /[^!-$&-9;-~]+/gu : /^ +| +$|[^ -$&-~]+/gu, (part) =>
    Buffer.from(part, 'utf8').reduce(
      (encoded, byte) => `${encoded}%${byte.toString(16).toUpperCase().padStart(2, '0')}`,
      '',
    ),
  )
}

/** The inverse of `encodeHeaderText`. */
export function decodeHeaderText(text: string): string {
  return text.includes('%') ? decodeURIComponent(text) : text
}

/** Hands all headers to `each`, once for each value. */
function forEachHeader(headers: Headers, each: (name: string, value: string) => void): void {
  for (const name in headers) {
    if (!Object.hasOwn(headers, name)) continue
    const value = headers[name] as string | readonly string[]
    if (typeof value === 'string') each(name, value)
    else for (const one of value) each(name, one)
  }
}

/** All headers as pairs, one for each value. */
export function headerPairs(headers: Headers): WireField[] {
  const pairs: WireField[] = []
  forEachHeader(headers, (name, value) => pairs.push([name, value]))
  return pairs
}

import { ReflexError } from '../../core/errors.ts'
import type { Batch, Event } from '../../core/event.ts'
import { encodeTrace } from '../../core/trace-bytes.ts'
import { headerPairs } from '../../core/wire.ts'
import { tags } from './field-numbers.ts'

/** So many bytes of events are put into one message: few enough to stop soon when the client does not read. */
const MESSAGE_BYTES = 16 * 1024
/** The most bytes of what is not a text or a payload: tags, lengths, numbers. */
const FIXED_BYTES = 96
/** The years 1 to 9999, in ms, which is what a `google.protobuf.Timestamp` goes up to. */
const EARLIEST_MS = -62_135_596_800_000
const LATEST_MS = 253_402_300_799_999

/**
 * An event as luno/reflex sends it, a message of its own: `traceparent` becomes the trace, other headers stay behind, and a null payload
 * is like an empty one. Throws `EVENT_UNENCODABLE` on a text that is not well-formed, and on times outside of the years 1 to 9999.
 */
export function encodeEvent(event: Event): Buffer {
  const { traceparent } = event.headers
  const trace = typeof traceparent === 'string' ? encodeTrace(traceparent) : undefined
  const buffer = Buffer.allocUnsafe(mostBytes(event, 0) + (trace?.length ?? 0))
  let at = writeBody(buffer, 0, event)
  if (trace !== undefined) at = writeBytes(buffer, at, tags.trace, trace)
  return buffer.subarray(0, at)
}

/** The events of a batch, each as `encodeEvent` has it. */
export function* encodeEvents({ events }: Pick<Batch, 'events'>): Generator<Buffer> {
  for (const event of events) yield encodeEvent(event)
}

/**
 * A batch as messages for a client that has asked for batches, with all that an event has; the last one carries the position. An event
 * that is larger than a message should be is one of its own. Throws as `encodeEvent`, once what stands before that event is given.
 */
export function* encodeBatch({ events, cursor }: Batch): Generator<Buffer> {
  let from = 0
  do {
    // What fits is found first, since the position stands before the events.
    let bytes = 0
    let end = from
    for (; end < events.length; end++) {
      const event = events[end] as Event
      const size = mostBytes(event, headerBytes(event))
      if (end > from && bytes + size > MESSAGE_BYTES) break
      bytes += size
    }
    const isLast = end >= events.length
    const buffer = Buffer.allocUnsafe(bytes + (isLast ? cursor.length * 3 + FIXED_BYTES : 0))
    const start = isLast ? writeText(buffer, writeVarint(buffer, 0, tags.position), cursor, undefined) : 0
    let at = start
    try {
      for (; from < end; from++) at = writeNested(buffer, at, events[from] as Event)
    } catch (error) {
      if (at > start) yield buffer.subarray(start, at)
      throw error
    }
    yield buffer.subarray(0, at)
  } while (from < events.length)
}

/** Bytes that an event takes at most. */
function mostBytes({ id, foreignId, metadata }: Event, headers: number): number {
  return FIXED_BYTES + (id.length + foreignId.length) * 3 + (metadata?.length ?? 0) + headers
}

function headerBytes({ headers }: Event): number {
  let bytes = 0
  for (const name in headers) {
    const value = headers[name] as string | readonly string[]
    for (const each of typeof value === 'string' ? [value] : value) bytes += 20 + (name.length + each.length) * 3
  }
  return bytes
}

function writeNested(buffer: Buffer, start: number, event: Event): number {
  const at = writeVarint(buffer, start, tags.events)
  const room = (event.metadata?.length ?? 0) + event.foreignId.length > 90 ? 2 : 1 // for the length, mostly
  let end = writeBody(buffer, at + room, event)
  end = writeHeaders(buffer, end, event)
  if (event.metadata === null) end = writeVarint(buffer, writeVarint(buffer, end, tags.nullMetadata), 1)
  return closeNested(buffer, at, room, end)
}

/** Puts the length before what was written after `room` bytes for it. */
function closeNested(buffer: Buffer, at: number, room: number, end: number): number {
  const length = end - at - room
  const needed = varintBytes(length)
  if (needed !== room) buffer.copyWithin(at + needed, at + room, end)
  writeVarint(buffer, at, length)
  return end + needed - room
}

/** The fields that luno/reflex has, but for the trace, in order. */
function writeBody(buffer: Buffer, start: number, event: Event): number {
  const { id, type, foreignId, timestamp, metadata } = event
  let at = start
  if (type !== 0) at = writeInteger(buffer, writeVarint(buffer, at, tags.type), type)
  at = writeTimestamp(buffer, at, timestamp, event)
  if (foreignId !== '') at = writeText(buffer, writeVarint(buffer, at, tags.foreignId), foreignId, event)
  if (id !== '') at = writeText(buffer, writeVarint(buffer, at, tags.id), id, event)
  if (metadata !== null && metadata.length > 0) at = writeBytes(buffer, at, tags.metadata, metadata)
  return at
}

function writeHeaders(buffer: Buffer, start: number, event: Event): number {
  let at = start
  for (const [name, value] of headerPairs(event.headers)) {
    at = writeVarint(buffer, at, tags.headers)
    let end = at + 1
    if (name !== '') end = writeText(buffer, writeVarint(buffer, end, tags.name), name, event)
    if (value !== '') end = writeText(buffer, writeVarint(buffer, end, tags.value), value, event)
    at = closeNested(buffer, at, 1, end)
  }
  return at
}

function writeTimestamp(buffer: Buffer, start: number, timestamp: number, event: Event): number {
  if (!(timestamp >= EARLIEST_MS && timestamp < LATEST_MS + 1))
    throw unencodable(event, `the timestamp ${timestamp} is not in the years 1 to 9999`)
  let seconds = Math.floor(timestamp / 1000)
  // In parts: as a whole number of µs, times after 2255 would exceed what a double can count.
  let micros = Math.round((timestamp - seconds * 1000) * 1000)
  if (micros === 1_000_000) {
    seconds++
    micros = 0
  }
  const at = writeVarint(buffer, start, tags.timestamp)
  let end = at + 1
  if (seconds !== 0) end = writeInteger(buffer, writeVarint(buffer, end, tags.seconds), seconds)
  if (micros !== 0) end = writeVarint(buffer, writeVarint(buffer, end, tags.nanos), micros * 1000)
  buffer[at] = end - at - 1
  return end
}

function writeBytes(buffer: Buffer, start: number, tag: number, bytes: Uint8Array): number {
  const at = writeVarint(buffer, writeVarint(buffer, start, tag), bytes.length)
  buffer.set(bytes, at)
  return at + bytes.length
}

/** Texts that are no longer are mostly ids, and written quicker here than by Node. */
const SHORT = 40

function writeText(buffer: Buffer, start: number, text: string, event: Event | undefined): number {
  const { length } = text
  if (length < SHORT) {
    let at = start + 1
    let i = 0
    for (; i < length; i++) {
      const code = text.charCodeAt(i)
      if (code > 127) break
      buffer[at++] = code
    }
    if (i === length) {
      buffer[start] = length
      return at
    }
  }
  if (!text.isWellFormed())
    throw unencodable(
      event,
      `the text ${JSON.stringify(text)} is not well-formed Unicode and would be changed on the way`,
    )
  const bytes = Buffer.byteLength(text)
  const at = writeVarint(buffer, start, bytes)
  buffer.write(text, at)
  return at + bytes
}

/** A number that may be negative, of 64 bits. */
function writeInteger(buffer: Buffer, start: number, value: number): number {
  if (value >= 0) return writeVarint(buffer, start, value)
  let rest = BigInt.asUintN(64, BigInt(value))
  let at = start
  for (; rest > 127n; rest >>= 7n) buffer[at++] = Number(rest & 127n) | 128
  buffer[at++] = Number(rest)
  return at
}

function writeVarint(buffer: Buffer, start: number, value: number): number {
  let rest = value
  let at = start
  for (; rest > 127; rest = Math.floor(rest / 128)) buffer[at++] = (rest % 128) | 128
  buffer[at++] = rest
  return at
}

function varintBytes(value: number): number {
  let bytes = 1
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) bytes++
  return bytes
}

function unencodable(event: Event | undefined, why: string): ReflexError {
  const at = event === undefined ? 'a position' : `event ${event.id}`
  return new ReflexError('EVENT_UNENCODABLE', `${at} cannot be sent: ${why}`, { kind: 'poison', eventId: event?.id })
}

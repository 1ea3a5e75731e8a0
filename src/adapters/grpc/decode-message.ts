import type { Cursor, Event } from '../../core/event.ts'
import { decodeTrace } from '../../core/trace-bytes.ts'
import { addHeader } from '../../core/wire.ts'
import { withMicros } from '../../core/with-micros.ts'
import { tags } from './field-numbers.ts'

/** What is in a message of a stream. */
export interface StreamMessage {
  readonly events: readonly Event[]
  /** The position after its last event, and after what was passed over; undefined if it has neither. */
  readonly cursor: Cursor | undefined
  /** The log's incarnation, `""` if it has none, of the message that says that the stream is open. */
  readonly opened: string | undefined
}

const noHeaders: Event['headers'] = Object.freeze({})
const noBytes = new Uint8Array(0)
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * What a message says: of a server of this package, which sends batches, or of one that sends each event by itself, where no payload is
 * null and the trace becomes the header `traceparent`. Throws a RangeError or TypeError on what is not a `reflexpb.Event`.
 */
export function decodeMessage(bytes: Buffer): StreamMessage {
  const reader = { bytes, at: 0 }
  if (bytes.length === 0) throw new RangeError('the message is empty')
  const events: Event[] = []
  let position: Cursor | undefined
  let opened: string | undefined
  let isPlain = false
  while (reader.at < bytes.length) {
    const start = reader.at
    const tag = readVarint(reader)
    switch (tag) {
      case tags.events:
        events.push(readEvent(reader, endOf(reader), true))
        break
      case tags.position:
        position = readText(reader, endOf(reader))
        break
      case tags.opened:
        opened = readOpened(reader, endOf(reader))
        break
      case tags.type:
      case tags.timestamp:
      case tags.foreignId:
      case tags.id:
      case tags.metadata:
      case tags.trace:
        // The message is an event itself, which begins here.
        isPlain = true
        reader.at = start
        events.push(readEvent(reader, bytes.length, false))
        break
      default:
        skip(reader, tag)
    }
  }
  if (isPlain && events[0]?.id === '') throw new RangeError('the event has no id')
  return { events, cursor: position ?? events.at(-1)?.id, opened }
}

interface Reader {
  readonly bytes: Buffer
  at: number
}

function readEvent(reader: Reader, end: number, isWhole: boolean): Event {
  let id = ''
  let type = 0
  let foreignId = ''
  let timestamp = 0
  let metadata: Uint8Array | null = isWhole ? noBytes : null
  let headers: Record<string, string | string[]> | undefined
  let trace: string | undefined
  while (reader.at < end) {
    const tag = readVarint(reader)
    switch (tag) {
      case tags.type:
        type = readVarint(reader) | 0
        break
      case tags.timestamp:
        timestamp = readTimestamp(reader, endOf(reader))
        break
      case tags.foreignId:
        foreignId = readText(reader, endOf(reader))
        break
      case tags.id:
        id = readText(reader, endOf(reader))
        break
      case tags.metadata:
        metadata = readBytes(reader, endOf(reader))
        break
      case tags.trace:
        trace = decodeTrace(readBytes(reader, endOf(reader)))
        break
      case tags.headers:
        headers ??= {}
        readHeader(reader, endOf(reader), headers)
        break
      case tags.nullMetadata:
        if (readVarint(reader) !== 0) metadata = null
        break
      default:
        skip(reader, tag)
    }
  }
  checkEnd(reader, end)
  if (trace !== undefined && headers?.['traceparent'] === undefined) headers = { ...headers, traceparent: trace }
  return { id, type, foreignId, timestamp, metadata, headers: headers ?? noHeaders }
}

function readTimestamp(reader: Reader, end: number): number {
  let seconds = 0
  let nanos = 0
  while (reader.at < end) {
    const tag = readVarint(reader)
    if (tag === tags.seconds) seconds = readVarint(reader)
    else if (tag === tags.nanos) nanos = readVarint(reader)
    else skip(reader, tag)
  }
  checkEnd(reader, end)
  return withMicros(seconds * 1000, Math.floor(nanos / 1000))
}

function readHeader(reader: Reader, end: number, headers: Record<string, string | string[]>): void {
  let name = ''
  let value = ''
  while (reader.at < end) {
    const tag = readVarint(reader)
    if (tag === tags.name) name = readText(reader, endOf(reader))
    else if (tag === tags.value) value = readText(reader, endOf(reader))
    else skip(reader, tag)
  }
  checkEnd(reader, end)
  addHeader(headers, name, value)
}

function readOpened(reader: Reader, end: number): string {
  let incarnation = ''
  while (reader.at < end) {
    const tag = readVarint(reader)
    if (tag === tags.name) incarnation = readText(reader, endOf(reader))
    else skip(reader, tag)
  }
  checkEnd(reader, end)
  return incarnation
}

function checkEnd(reader: Reader, end: number): void {
  if (reader.at !== end) throw new RangeError('a field is longer than its message')
}

/** Where a value ends that begins with its length. */
function endOf(reader: Reader): number {
  const length = readVarint(reader)
  const end = reader.at + length
  if (!(length >= 0 && end <= reader.bytes.length)) throw new RangeError('a field is longer than its message')
  return end
}

function readBytes(reader: Reader, end: number): Uint8Array {
  const bytes = reader.bytes.subarray(reader.at, end)
  reader.at = end
  return bytes
}

function readText(reader: Reader, end: number): string {
  const { bytes, at } = reader
  reader.at = end
  const text = bytes.toString('utf8', at, end)
  // Where bytes are no UTF-8, Node puts this in their place; it may also be what was sent.
  return text.includes('\ufffd') ? strict.decode(bytes.subarray(at, end)) : text
}

/** A number of up to 64 bits, negative if its highest is set; rounded where a double cannot hold it. */
function readVarint(reader: Reader): number {
  const { bytes } = reader
  let value = 0
  let factor = 1
  const start = reader.at
  for (;;) {
    const byte = bytes[reader.at++]
    if (byte === undefined) throw new RangeError('the message ends within a number')
    value += (byte & 127) * factor
    if (byte < 128) break
    factor *= 128
    if (reader.at - start === 10) throw new RangeError('a number has more than 64 bits')
  }
  return reader.at - start < 10 ? value : wide(bytes, start)
}

function wide(bytes: Buffer, start: number): number {
  let value = 0n
  for (let i = 0; i < 10; i++) value |= BigInt((bytes[start + i] as number) & 127) << BigInt(7 * i)
  return Number(BigInt.asIntN(64, value))
}

/** Passes over a field that is not known. */
function skip(reader: Reader, tag: number): void {
  const kind = tag & 7
  if (kind === 0) readVarint(reader)
  else if (kind === 2) reader.at = endOf(reader)
  else if (kind === 1 || kind === 5) reader.at += kind === 1 ? 8 : 4
  else throw new RangeError(`a field has the wire type ${kind}`)
  if (reader.at > reader.bytes.length) throw new RangeError('a field is longer than its message')
}

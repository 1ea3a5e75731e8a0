import { isUtf8 } from 'node:buffer'
import type { Event } from '../../core/event.ts'
import { addHeader, decodeFields, forEachField, parseTimestamp, type WireField, wireNames } from '../../core/wire.ts'
import type { NewRecord } from './protocol/new-record-batch.ts'
import type { KafkaRecord, TextRecord } from './protocol/record-batch.ts'

/** Makes an event, but for its id, of a record of `topic`. */
export type DecodeRecord = (record: KafkaRecord, topic: string) => Omit<Event, 'id'>

/**
 * The record of an event of the log named `source`. The key is the foreignId, and a null payload a null value, a tombstone where
 * the topic is compacted. Throws on text that would be changed on the way.
 */
export function encodeRecord(event: Event, source: string): NewRecord {
  const headers: string[] = []
  forEachField(event, source, (name, value) => {
    if (name !== wireNames.foreignId && name !== wireNames.null) headers.push(name, value)
  })
  return { key: Buffer.from(event.foreignId), value: event.metadata, headers }
}

/**
 * The event of a record. If it is not one that `encodeRecord` made, the type is 0, the foreignId the key, the timestamp the
 * record's, the payload its value, and its headers are kept. Throws on a key or a header that is not UTF-8.
 */
export function decodeRecord(record: TextRecord): Event {
  return ownEvent(record) ?? anyEvent(record)
}

/** A record whose headers stand in the order in which `encodeRecord` writes them: faster than `anyEvent`, which takes every other one. */
function ownEvent({ offset, key, value, headers }: TextRecord): Event | undefined {
  const [source, sourceId, type, timestamp] = headers
  if (source?.[0] !== wireNames.source || sourceId?.[0] !== wireNames.sourceId) return undefined
  if (type?.[0] !== wireNames.type || timestamp?.[0] !== wireNames.timestamp) return undefined
  const typeText = text(type[1])
  const number = Number(typeText) | 0
  if (String(number) !== typeText) return undefined
  const kept: Record<string, string | string[]> = {
    [wireNames.source]: text(source[1]),
    [wireNames.sourceId]: text(sourceId[1]),
  }
  for (let i = 4; i < headers.length; i++) {
    const [name, bytes] = headers[i] as (typeof headers)[number]
    if (name.startsWith('reflex-')) return undefined
    addHeader(kept, name, text(bytes))
  }
  return {
    id: offset,
    type: number,
    foreignId: text(key),
    timestamp: parseTimestamp(text(timestamp[1])),
    metadata: value,
    headers: kept,
  }
}

function anyEvent({ offset, timestamp, key, value, headers }: TextRecord): Event {
  if (headers.length === 0)
    return { id: offset, type: 0, foreignId: text(key), timestamp, metadata: value, headers: {} }
  const fields: WireField[] = headers.map(([name, bytes]) => [name, text(bytes)])
  if (!fields.some(([name]) => name === wireNames.foreignId)) fields.push([wireNames.foreignId, text(key)])
  const own = decodeFields(fields)
  if (own !== undefined) {
    const { isNull, ...rest } = own
    return { id: offset, ...rest, metadata: isNull ? null : value }
  }
  const kept: Record<string, string | string[]> = {}
  for (const [name, bytes] of headers) addHeader(kept, name, text(bytes))
  return { id: offset, type: 0, foreignId: text(key), timestamp, metadata: value, headers: kept }
}

function text(bytes: string | Buffer | null): string {
  if (typeof bytes === 'string') return bytes
  if (bytes === null) return ''
  const decoded = bytes.toString()
  // What is not UTF-8 is replaced by U+FFFD, which may also stand there in earnest.
  if (decoded.includes('\ufffd') && !isUtf8(bytes))
    throw new TypeError(`expected UTF-8, but found the bytes ${bytes.subarray(0, 20).toString('hex')}`)
  return decoded
}

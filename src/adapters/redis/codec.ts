import { isUtf8 } from 'node:buffer'
import type { Event } from '../../core/event.ts'
import { addHeader, decodeFields, forEachField, parseTimestamp, type WireField, wireNames } from '../../core/wire.ts'

/** An entry of a stream. */
export interface RedisEntry {
  readonly id: string
  /** Names and values in the order in which they were given to XADD; a name may come more than once. */
  readonly fields: readonly (readonly [name: Buffer, value: Buffer])[]
}

/** Makes an event, but for its id, of an entry of the stream at `key`. */
export type DecodeEntry = (entry: RedisEntry, key: string) => Omit<Event, 'id'>

/** The payload. A null payload has no such field, an empty one has an empty field. */
const METADATA = 'metadata'
/** Stands before the name of each header, so that it is never taken for one of our own fields. */
const HEADER = 'h:'

const own: ReadonlySet<string> = new Set(Object.values(wireNames))

/** The id, then names and values in turns: what stands after the key in an XADD. */
export type EntryArguments = readonly (string | Uint8Array)[]

/** The entry, under the id `entryId`, of an event of the log named `source`. Throws on text that would be changed on the way. */
export function encodeEntry(event: Event, source: string, entryId: string): EntryArguments {
  const entry: (string | Uint8Array)[] = [entryId]
  forEachField(event, source, (name, value) => {
    if (name !== wireNames.null) entry.push(own.has(name) ? name : HEADER + name, value)
  })
  if (event.metadata !== null) entry.push(METADATA, event.metadata)
  return entry
}

/**
 * The event of an entry. If it is not one that `encodeEntry` made, the type is 0, the foreignId the key, the timestamp that of
 * the id and the payload its fields as a JSON object, a repeated name with an array. Throws on bytes that are not UTF-8.
 */
export function decodeEntry(id: string, fields: readonly Buffer[], key: string): Event {
  return ownEvent(id, fields) ?? anyEvent(id, fields, key)
}

const leading = [wireNames.source, wireNames.sourceId, wireNames.type, wireNames.foreignId, wireNames.timestamp].map(
  (name) => Buffer.from(name),
)
const metadataName = Buffer.from(METADATA)
/** Neighbours mostly are of one source and one type: to compare the bytes is quicker than to decode them. */
let lastSource: Known = { bytes: Buffer.of(), text: '' }
let lastType = lastSource

/** An entry in the order in which `encodeEntry` writes: several times as fast as `anyEvent`, which takes every other one. */
function ownEvent(id: string, fields: readonly Buffer[]): Event | undefined {
  if (fields.length < 2 * leading.length) return undefined
  for (let i = 0; i < leading.length; i++) if (!isSame(fields[2 * i] as Buffer, leading[i] as Buffer)) return undefined
  lastType = asText(fields[5] as Buffer, lastType)
  const type = Number(lastType.text) | 0
  if (String(type) !== lastType.text) return undefined
  lastSource = asText(fields[1] as Buffer, lastSource)
  const headers: Record<string, string | string[]> = {
    [wireNames.source]: lastSource.text,
    [wireNames.sourceId]: text(fields[3] as Buffer),
  }
  let metadata: Buffer | null = null
  for (let i = 2 * leading.length; i < fields.length; i += 2) {
    const name = fields[i] as Buffer
    if (metadata === null && isSame(name, metadataName)) metadata = fields[i + 1] as Buffer
    else {
      const header = text(name)
      if (!header.startsWith(HEADER)) return undefined
      addHeader(headers, header.slice(HEADER.length), text(fields[i + 1] as Buffer))
    }
  }
  const time = text(fields[9] as Buffer)
  const timestamp = parseTimestamp(time)
  return { id, type, foreignId: text(fields[7] as Buffer), timestamp, metadata, headers }
}

function anyEvent(id: string, fields: readonly Buffer[], key: string): Event {
  const texts: WireField[] = []
  let metadata: Buffer | null = null
  for (let i = 0; i < fields.length; i += 2) {
    const name = text(fields[i] as Buffer)
    const value = fields[i + 1] as Buffer
    if (name === METADATA && metadata === null) metadata = value
    else texts.push([name.startsWith(HEADER) ? name.slice(HEADER.length) : name, text(value)])
  }
  const decoded = decodeFields(texts)
  if (decoded === undefined) return foreignEvent(id, fields, key)
  const { isNull, ...rest } = decoded
  return { id, ...rest, metadata: isNull ? null : metadata }
}

function foreignEvent(id: string, fields: readonly Buffer[], key: string): Event {
  const values = new Map<string, string[]>()
  for (const [name, value] of pairsOf(fields)) {
    const there = values.get(text(name))
    if (there === undefined) values.set(text(name), [text(value)])
    else there.push(text(value))
  }
  const members = Array.from(
    values,
    ([name, all]) => `${JSON.stringify(name)}:${JSON.stringify(all.length === 1 ? all[0] : all)}`,
  )
  return {
    id,
    type: 0,
    foreignId: key,
    timestamp: Number(id.slice(0, id.indexOf('-'))),
    metadata: Buffer.from(`{${members.join(',')}}`),
    headers: {},
  }
}

/** Names and values in turns, as pairs. */
export function pairsOf(fields: readonly Buffer[]): [name: Buffer, value: Buffer][] {
  const pairs: [Buffer, Buffer][] = []
  for (let i = 0; i < fields.length; i += 2) pairs.push([fields[i] as Buffer, fields[i + 1] as Buffer])
  return pairs
}

/** Quicker than the runtime's own comparison: names are short. */
function isSame(a: Buffer, b: Buffer): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

/** Bytes and their text. */
interface Known {
  readonly bytes: Buffer
  readonly text: string
}

/** With its text, which is that of the one before if the bytes are the same. */
function asText(bytes: Buffer, before: Known): Known {
  return isSame(bytes, before.bytes) ? before : { bytes: Buffer.from(bytes), text: text(bytes) }
}

function text(bytes: Buffer): string {
  const decoded = bytes.toString()
  // What is not UTF-8 is replaced by U+FFFD, which may also stand there in earnest.
  if (decoded.includes('\ufffd') && !isUtf8(bytes))
    throw new TypeError(`expected UTF-8, but found the bytes ${bytes.subarray(0, 20).toString('hex')}`)
  return decoded
}

import { open, stat } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import type { Batch, Cursor, Event, NewEvent, Source, StreamFunc, StreamOptions } from 'reflex-bridge'
import {
  CursorAheadError,
  CursorInvalidError,
  checkStreamOptions,
  DecodeError,
  eventStream,
  systemClock,
} from 'reflex-bridge'

/** How long to wait at the end of the file, in ms, default 100; how much to read at once, in bytes, default 64 KiB. */
export type JsonLinesOptions = { readonly pollMs?: number; readonly chunkBytes?: number }

/** The position before the first line. */
const START = '0'
const utf8 = new TextDecoder('utf-8', { fatal: true })

/**
 * A source over a file to which others append an event a line, as `toLine` writes it.
 *
 * A cursor names the line that was read last: where it starts, and its checksum. Every read begins with that line and expects
 * it there, so a file that was truncated or replaced is an error, even if it has grown again since. The file is open only
 * while it is read. A last line without its end is still being written, and waited for.
 */
export function jsonLines(path: string, { pollMs = 100, chunkBytes = 65_536 }: JsonLinesOptions = {}): Source {
  const name = `file:${path}`

  /** Where the line starts that a cursor names; -1 for the position before the first. */
  function offsetOf(cursor: Cursor): number {
    if (cursor === '' || cursor === START) return -1
    const offset = /^(0|[1-9]\d{0,14})-[0-9a-f]{8}$/.exec(cursor)?.[1]
    if (offset === undefined) throw new CursorInvalidError(name, { cursor, expected: 'OFFSET-CHECKSUM of a line' })
    return Number(offset)
  }

  /** Lines after the one that `cursor` names, which must be there; none if the next is yet to be written. */
  async function linesAfter(cursor: Cursor): Promise<Line[]> {
    const at = offsetOf(cursor)
    const from = Math.max(at, 0)
    for (let length = chunkBytes; ; length *= 2) {
      const chunk = await readAt(path, from, length)
      const isAll = chunk.length < length
      const lines = wholeLines(chunk, from)
      const named = at < 0 ? undefined : lines.shift()
      if (at >= 0 && (named === undefined ? isAll : named.id !== cursor)) {
        const found = named?.id ?? String(from + chunk.length)
        throw new CursorAheadError(name, { cursor, reason: named ? 'recreated' : 'beyond', found })
      }
      if (lines.length > 0 || isAll) return lines // else the next line is longer than this
    }
  }

  /** The cursor of the last whole line. */
  async function head({ signal }: Pick<StreamOptions, 'signal'> = {}): Promise<Cursor> {
    signal?.throwIfAborted()
    const { size } = await stat(path)
    for (let length = chunkBytes; ; length *= 2) {
      const from = Math.max(size - length, 0)
      const lines = wholeLines(await readAt(path, from, size - from), from)
      if (from > 0) lines.shift() // it may have begun before
      if (lines.length > 0 || from === 0) return lines.at(-1)?.id ?? START
    }
  }

  const stream: StreamFunc = async (after, options) => {
    checkStreamOptions(name, after, options)
    const { signal, toHead, fromHead, types } = options
    signal?.throwIfAborted()
    await linesAfter(after) // the proof of the cursor
    const pinned = toHead || fromHead ? await head(options) : START
    const end = toHead ? offsetOf(pinned) : Number.POSITIVE_INFINITY
    const closed = new AbortController()

    async function* batches(): AsyncGenerator<Batch> {
      let cursor = fromHead ? pinned : after
      if (fromHead) yield { events: [], cursor }
      while (offsetOf(cursor) < end) {
        const lines = (await linesAfter(cursor)).filter(({ id }) => offsetOf(id) <= end)
        const events = eventsIn(name, lines)
        const last = lines[events.length - 1]
        if (last !== undefined) {
          cursor = last.id
          yield { events: events.filter(({ type }) => types?.includes(type) ?? true), cursor }
        } else if (toHead) throw new CursorAheadError(name, { cursor: pinned, reason: 'beyond', found: cursor })
        else await systemClock.sleep(pollMs, closed.signal)
      }
    }
    return eventStream(batches(), () => closed.abort(), { signal })
  }

  return { name, stream, head, compare: (a, b) => offsetOf(a) - offsetOf(b) }
}

/** A line without its end, and its cursor. */
type Line = { readonly id: Cursor; readonly bytes: Buffer }

function wholeLines(chunk: Buffer, offset: number): Line[] {
  const lines: Line[] = []
  for (let from = 0, to = chunk.indexOf('\n'); to >= 0; from = to + 1, to = chunk.indexOf('\n', from)) {
    const bytes = chunk.subarray(from, to)
    lines.push({ id: lineId(offset + from, bytes), bytes })
  }
  return lines
}

/** The cursor of the line that starts at `offset`. */
export function lineId(offset: number, bytes: Uint8Array): Cursor {
  return `${offset}-${crc32(bytes).toString(16).padStart(8, '0')}`
}

async function readAt(path: string, position: number, length: number): Promise<Buffer> {
  const file = await open(path)
  try {
    const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(length), 0, length, position)
    return buffer.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}

/** An event as a line, without its end. */
export function toLine({ timestamp = Date.now(), metadata = null, headers = {}, ...event }: NewEvent): string {
  return JSON.stringify({
    ...event,
    timestamp,
    metadata: metadata && Buffer.from(metadata).toString('base64'),
    headers,
  })
}

/** The events up to the first line that is none; throws if that is the first line. */
function eventsIn(name: string, lines: readonly Line[]): Event[] {
  const events: Event[] = []
  for (const { id, bytes } of lines) {
    try {
      const { type, foreignId, timestamp, metadata, headers } = JSON.parse(utf8.decode(bytes))
      if (type !== (type | 0) || typeof foreignId !== 'string' || typeof timestamp !== 'number')
        throw new TypeError('expected a type, a foreignId and a timestamp')
      const payload = metadata === null ? null : Buffer.from(metadata, 'base64')
      events.push({ id, type, foreignId, timestamp, metadata: payload, headers: { ...headers } })
    } catch (cause) {
      if (events.length > 0) break
      throw new DecodeError(name, { position: id, cause })
    }
  }
  return events
}

import { CursorAheadError, CursorTrimmedError, OptionError } from '../../core/errors.ts'
import { compareIds, ZERO_ID } from './entry-id.ts'
import type { RedisConnection } from './redis-connection.ts'
import { redisError } from './redis-error.ts'

/** An entry as it comes over the wire: its id, and names and values in turns. */
export type RawEntry = readonly [id: Buffer, fields: readonly Buffer[]]

/** What XINFO STREAM says, at the moment of a read. A key that is missing is an empty log. */
export interface LogState {
  readonly length: bigint
  /** How many entries have ever been appended. */
  readonly added: bigint
  /** last-generated-id, also when that entry has been deleted. */
  readonly last: string
  /** The largest id that XDEL has removed; XTRIM does not move it. */
  readonly lastDeleted: string
  /** The earliest entry that is there. */
  readonly first: string | undefined
  /** The newest id that has been an entry: `last`, unless XSETID has raised that. */
  readonly head: string
  /** The larger of the first and the newest entry, in bytes. */
  readonly entryBytes: number
}

/** Entries and the state of the log at the same moment. */
export interface LogPage {
  readonly rows: readonly RawEntry[]
  readonly state: LogState
}

/** Reads up to `count` entries from `from` (inclusive) on, together with the log's state, in one transaction. */
export async function readPage(
  { callBuffer }: RedisConnection,
  { log, key, from, count }: { log: string; key: string; from: string; count: number },
): Promise<LogPage> {
  // Sent in one go: nothing of this connection comes in between.
  const replies = await Promise.all([
    callBuffer('MULTI'),
    callBuffer('XRANGE', key, from, '+', 'COUNT', String(count)),
    callBuffer('XINFO', 'STREAM', key),
    callBuffer('EXEC'),
  ])
  const [rows, info] = replies[3] as [RawEntry[] | Error, (Buffer | string | unknown)[] | Error]
  if (rows instanceof Error) throw redisError(log, rows)
  if (!(info instanceof Error)) return { rows, state: parseState(log, info) }
  if (!info.message.includes('no such key')) throw redisError(log, info)
  return {
    rows,
    state: {
      length: 0n,
      added: 0n,
      last: ZERO_ID,
      lastDeleted: ZERO_ID,
      first: undefined,
      head: ZERO_ID,
      entryBytes: 0,
    },
  }
}

function parseState(log: string, info: readonly unknown[]): LogState {
  const fields = new Map<string, unknown>()
  for (let i = 0; i < info.length; i += 2) fields.set(String(info[i]), info[i + 1])
  const text = (name: string): string => {
    const value = fields.get(name)
    if (value === undefined)
      throw new OptionError(`${log}: XINFO STREAM does not tell ${name}; Redis 7.0 or newer is needed`)
    return String(value)
  }
  const length = BigInt(text('length'))
  const last = text('last-generated-id')
  const lastDeleted = text('max-deleted-entry-id')
  const newest = fields.get('last-entry') as RawEntry | null
  const oldest = fields.get('first-entry') as RawEntry | null
  const newestId = newest?.[0].toString('latin1')
  return {
    length,
    added: BigInt(text('entries-added')),
    last,
    lastDeleted,
    first: length === 0n ? undefined : text('recorded-first-entry-id'),
    head: newestId === undefined ? last : compareIds(newestId, lastDeleted) > 0 ? newestId : lastDeleted,
    entryBytes: Math.max(bytesOf(newest?.[1]), bytesOf(oldest?.[1])),
  }
}

/** Bytes of the names and values of an entry. */
export function bytesOf(fields: readonly Buffer[] | undefined): number {
  let bytes = 0
  if (fields !== undefined) for (const part of fields) bytes += part.length
  return bytes
}

/** What is known from earlier reads. */
export interface LogKnowledge {
  /** How many entries had been appended at the last read. */
  readonly added: bigint
  /** How many had been appended when the position was last at the head; undefined if it has not been seen there. */
  readonly addedAtHead: bigint | undefined
}

/** What is known of a position that a stream is opened at: nothing, but that all entries follow `0-0`. */
export function knownAt(position: string): LogKnowledge {
  return { added: 0n, addedAtHead: position === ZERO_ID ? 0n : undefined }
}

/** What is known when a read at `position` has shown `state`. */
export function learn(known: LogKnowledge, position: string, { added, head }: LogState): LogKnowledge {
  return { added, addedAtHead: position === head ? added : known.addedAtHead }
}

/**
 * Throws unless everything that was ever appended after `position`, but for what XDEL removed, can still be read.
 *
 * Trimming removes from the front, so an entry at the position itself proves it. Without one, either the entries after it are
 * gone as well (trimmed), or it lies beyond the end, or XDEL has removed it alone, or it never was an entry of this log.
 */
export function provePosition(
  log: string,
  position: string,
  { rows, state }: LogPage,
  { added, addedAtHead }: LogKnowledge,
): void {
  const { length, last, lastDeleted, first } = state
  const recreated = (found: string): CursorAheadError =>
    new CursorAheadError(log, { cursor: position, reason: 'recreated', found })
  if (state.added < added)
    throw recreated(`one to which ${state.added} entries have ever been appended, not ${added} as a moment ago`)
  if (position === last || rows[0]?.[0].toString('latin1') === position) return
  if (compareIds(position, last) > 0)
    throw new CursorAheadError(log, { cursor: position, reason: 'beyond', found: last })
  if (first === undefined || compareIds(first, position) > 0) {
    // All that is left follows the position. Nothing else did if it is all that was appended since the position was the head.
    const explained = compareIds(lastDeleted, position) > 0 ? 1n : 0n
    if (addedAtHead !== undefined) {
      const missing = state.added - addedAtHead - length
      if (missing < 0n) throw recreated(`one of ${length} entries, more than can have followed`)
      if (missing <= explained) return
    }
    throw new CursorTrimmedError(log, { cursor: position, ...(first === undefined ? {} : { earliest: first }) })
  }
  if (compareIds(lastDeleted, position) < 0)
    throw recreated(
      'one that never had this entry, which is not there and has not been deleted (use at() for the cursor of a time)',
    )
}

import { type Clock, systemClock } from '../core/clock.ts'
import {
  CursorAheadError,
  CursorInvalidError,
  CursorTrimmedError,
  type DecodeError,
  OptionError,
} from '../core/errors.ts'
import type { Batch, Cursor, Event } from '../core/event.ts'
import { checkStreamOptions, type EventStream, eventStream, type StreamOptions } from '../core/stream.ts'
import type { Wakeups } from './wakeups.ts'

/** A row that is no event. */
export interface UndecodableRow {
  readonly id: string
  readonly error: DecodeError
}

/** What stands in an event table. */
export type TableRow = Event | UndecodableRow

/** One connection's view of an event table. Every call reads in a snapshot of its own. */
export interface TableReader extends AsyncDisposable {
  /**
   * The first `limit` rows with `id >= from`, in the order of their ids. May end earlier where the payloads exceed
   * `maxBytes`, but not before the second row; and ends with a row that is no event.
   */
  page(from: bigint, limit: number, maxBytes: number): Promise<readonly TableRow[]>
  /** The newest id; 0 if there is no row. */
  newest(): Promise<bigint>
  /**
   * Resolves when every transaction is over that was open at the call and may have been given an id. What a *new* read
   * then does not find was rolled back. Returns at once where ids are given in the order of commits. Rejects when the
   * signal aborts that `connect` was given.
   */
  settleWriters(): Promise<void>
}

/** Options of every SQL event source. */
export interface TableStreamOptions {
  /** The most events in a batch. Default: 1,000. */
  readonly batchSize?: number
  /** About the most payload bytes in a batch. Default: 8 MiB. */
  readonly batchBytes?: number
  /** How long to wait at the head before asking again: grows from `min` to `max` while nothing comes. In ms, default 5 to 250. */
  readonly pollMs?: { readonly min: number; readonly max: number }
  readonly clock?: Clock
}

const FIRST_PAGE = 100

/**
 * Reads an event table in the order of its ids, without losing one that is committed late.
 *
 * Ids are given before commit, so a missing id may still appear. Each page is read from the row of the position itself,
 * which must be there (a cursor whose row is gone is trimmed or ahead); rows up to the first missing id are handed on; then
 * the writers of that moment are waited for, and what a new read still lacks is dead.
 */
export async function tableStream(
  name: string,
  connect: (signal: AbortSignal) => Promise<TableReader>,
  wakeups: Wakeups,
  after: Cursor,
  options: StreamOptions,
  {
    batchSize = 1000,
    batchBytes = 8 * 1024 * 1024,
    pollMs = { min: 5, max: 250 },
    clock = systemClock,
  }: TableStreamOptions,
): Promise<EventStream> {
  checkStreamOptions(name, after, options)
  const { signal, toHead, fromHead, types } = options
  signal?.throwIfAborted()
  let position = parseTableCursor(name, after)
  const closed = new AbortController()
  const ended = signal === undefined ? closed.signal : AbortSignal.any([signal, closed.signal])
  const table = await connect(ended)

  const prove = async (first: TableRow | undefined): Promise<void> => {
    if (position === 0n || first?.id === String(position)) return
    const newest = await table.newest()
    const cursor = String(position)
    if (position > newest) throw new CursorAheadError(name, { cursor, reason: 'beyond', found: String(newest) })
    const [earliest] = await table.page(0n, 1, batchBytes)
    throw new CursorTrimmedError(name, { cursor, ...(earliest === undefined ? {} : { earliest: earliest.id }) })
  }

  let end: bigint | undefined
  try {
    const newest = await table.newest()
    if (toHead) end = newest
    if (fromHead) {
      // Whoever has been given an id up to this one has committed it, or never will, before anything after it is read.
      await table.settleWriters()
      position = newest
    } else await prove((await table.page(position, 1, batchBytes))[0])
  } catch (error) {
    await table[Symbol.asyncDispose]()
    throw error
  }

  async function* batches(): AsyncGenerator<Batch> {
    if (fromHead) yield { events: [], cursor: String(position) }
    let limit = Math.min(FIRST_PAGE, batchSize)
    let decided = 0n // ids up to this one are there, or never will be
    let pause = pollMs.min
    while (end === undefined || position < end) {
      const woken = wakeups.count() // before the query: a commit in between is not missed
      const page = await table.page(position, position === 0n ? limit : limit + 1, batchBytes)
      await prove(page[0])
      const rows = rowsAfter(page, position, end)
      const count = countBeforeGap(rows, position, decided)
      if (count > 0) {
        const passed = eventsIn(rows, count)
        position = idOf(passed, passed.length - 1)
        const events = types === undefined ? passed : passed.filter(({ type }) => types.includes(type))
        yield { events, cursor: String(position) }
        // The next page is as large as rows of this size allow.
        const bytes = passed.reduce((sum, { metadata }) => sum + (metadata?.length ?? 0), 0)
        limit = Math.max(
          1,
          Math.min(batchSize, limit * 10, Math.floor((batchBytes * passed.length) / Math.max(1, bytes))),
        )
      }
      if (count < rows.length) {
        const newest = await table.newest()
        await table.settleWriters()
        decided = newest
      } else if (count > 0) pause = pollMs.min
      else if (end !== undefined)
        return // the rows up to the head have been deleted since
      else {
        await wakeups.wait(woken, pause, { clock, signal: ended })
        pause = Math.min(pollMs.max, pause * 2)
      }
    }
  }
  const close = async (): Promise<void> => {
    closed.abort()
    await table[Symbol.asyncDispose]()
  }
  return eventStream(batches(), close, { signal })
}

function idOf(rows: readonly TableRow[], index: number): bigint {
  return BigInt((rows[index] as TableRow).id)
}

/** The first `count` rows, up to one that is no event; throws if that is the first. */
function eventsIn(rows: readonly TableRow[], count: number): readonly Event[] {
  const last = rows[count - 1] as TableRow
  if (!('error' in last)) return (count === rows.length ? rows : rows.slice(0, count)) as readonly Event[]
  if (count === 1) throw last.error
  return rows.slice(0, count - 1) as Event[]
}

/** The rows after `position`, and not after `end`. */
function rowsAfter(page: readonly TableRow[], position: bigint, end: bigint | undefined): readonly TableRow[] {
  const from = page.length > 0 && idOf(page, 0) <= position ? 1 : 0
  let to = page.length
  if (end !== undefined) while (to > from && idOf(page, to - 1) > end) to--
  return page.slice(from, to)
}

/** How many of `rows` follow `position` without an id missing that is not decided yet. */
function countBeforeGap(rows: readonly TableRow[], position: bigint, decided: bigint): number {
  if (rows.length === 0) return 0
  const last = idOf(rows, rows.length - 1)
  if (last <= decided || last - position === BigInt(rows.length)) return rows.length
  let expected = position + 1n
  const gap = rows.findIndex(({ id }) => {
    const found = BigInt(id)
    if (found !== expected && found - 1n > decided) return true
    expected = found + 1n
    return false
  })
  return gap < 0 ? rows.length : gap
}

/** The id in a cursor of an event table; `""` is 0, before the first row. */
export function parseTableCursor(name: string, cursor: Cursor): bigint {
  if (cursor === '') return 0n
  if (!/^(0|[1-9]\d{0,18})$/.test(cursor)) {
    throw new CursorInvalidError(name, { cursor, expected: 'the decimal id of a row, or "0"' })
  }
  return BigInt(cursor)
}

/** Refuses table and column names that are not plain identifiers, so that they can stand in a statement. */
export function checkTableName(name: string): string {
  if (/^[A-Za-z_][A-Za-z0-9_]{0,63}$/.test(name)) return name
  throw new OptionError(
    `a table name must be letters, digits and _, at most 64, not starting with a digit, but is ${JSON.stringify(name)}`,
  )
}

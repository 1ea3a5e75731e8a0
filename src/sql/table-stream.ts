import { type Clock, systemClock } from '../core/clock.ts'
import { CursorAheadError, CursorInvalidError, CursorTrimmedError, OptionError } from '../core/errors.ts'
import type { Batch, Cursor, Event } from '../core/event.ts'
import { checkStreamOptions, type EventStream, eventStream, type StreamOptions } from '../core/stream.ts'
import type { Wakeups } from './wakeups.ts'

/** One connection's view of an event table. Every call reads in a snapshot of its own. */
export interface TableReader extends AsyncDisposable {
  /** The first `limit` rows with `id >= from`, in the order of their ids. */
  page(from: bigint, limit: number): Promise<readonly Event[]>
  /** The newest id; 0 if there is no row. */
  newest(): Promise<bigint>
  /**
   * Resolves when every transaction is over that was open at the call and may have been given an id. What a *new* read
   * then does not find was rolled back. Returns at once where ids are given in the order of commits.
   */
  settleWriters(signal: AbortSignal): Promise<void>
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

  const prove = async (first: Event | undefined): Promise<void> => {
    if (position === 0n || first?.id === String(position)) return
    const newest = await table.newest()
    const cursor = String(position)
    if (position > newest) throw new CursorAheadError(name, { cursor, reason: 'beyond', found: String(newest) })
    const [earliest] = await table.page(0n, 1)
    throw new CursorTrimmedError(name, { cursor, ...(earliest === undefined ? {} : { earliest: earliest.id }) })
  }

  let end: bigint | undefined
  try {
    const newest = await table.newest()
    if (toHead) end = newest
    if (fromHead) {
      // Whoever has been given an id up to this one has committed it, or never will, before anything after it is read.
      if (newest > 0n) await table.settleWriters(ended)
      position = newest
    } else await prove(...((await table.page(position, 1)) as [Event?]))
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
      const rows = await table.page(position, limit + 1)
      await prove(rows[0])
      const events: Event[] = []
      let last = position
      let bytes = 0
      let gap = false
      for (const event of rows) {
        const id = BigInt(event.id)
        if (id <= position) continue
        if (end !== undefined && id > end) break
        gap = id !== last + 1n && id > decided
        if (gap) break
        last = id
        bytes += event.metadata?.length ?? 0
        if (types === undefined || types.includes(event.type)) events.push(event)
      }
      const passed = last - position
      if (passed > 0n) {
        position = last
        yield { events, cursor: String(position) }
        // The next page is as large as rows of this size allow.
        limit = Math.max(
          1,
          Math.min(batchSize, limit * 10, Math.floor(batchBytes / Math.max(1, bytes / Number(passed)))),
        )
      }
      if (gap) {
        const newest = await table.newest()
        await table.settleWriters(ended)
        decided = newest
      } else if (passed > 0n) pause = pollMs.min
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

/** The id in a cursor of an event table; `""` is 0, before the first row. */
export function parseTableCursor(name: string, cursor: Cursor): bigint {
  if (cursor === '') return 0n
  if (!/^(0|[1-9]\d{0,18})$/.test(cursor))
    throw new CursorInvalidError(name, { cursor, expected: 'the decimal id of a row, or "0"' })
  return BigInt(cursor)
}

/** Refuses table and column names that are not plain identifiers, so that they can stand in a statement. */
export function checkTableName(name: string): string {
  if (/^[A-Za-z_][A-Za-z0-9_]{0,63}$/.test(name)) return name
  throw new OptionError(
    `a table name must be letters, digits and _, at most 64, not starting with a digit, but is ${JSON.stringify(name)}`,
  )
}

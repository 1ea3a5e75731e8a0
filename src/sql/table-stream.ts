import { type Clock, systemClock } from '../core/clock.ts'
import { CursorInvalidError, OptionError } from '../core/errors.ts'
import type { Batch, Cursor, Event } from '../core/event.ts'
import { checkStreamOptions, eventStream, type StreamFunc } from '../core/stream.ts'
import { type ProvePosition, positionProof } from './prove-position.ts'
import { type SharedReader, type SharedReading, sharedReading } from './shared-reading.ts'
import { type TablePager, tablePager } from './table-pager.ts'
import type { TableReader } from './table-reader.ts'
import type { Wakeups, WakeupsOptions } from './wakeups.ts'

/** Options of every SQL event source. */
export interface TableStreamOptions extends WakeupsOptions {
  /** The most events in a batch. Default: 1,000. */
  readonly batchSize?: number
  /** About the most payload bytes in a batch. Default: 8 MiB. */
  readonly batchBytes?: number
  /** How long to wait at the head before asking again: grows from `min` to `max` while nothing comes. In ms, default 2 to 250. */
  readonly pollMs?: { readonly min: number; readonly max: number }
  readonly clock?: Clock
}

/** What tells one kind of event table from another. */
export interface TableKind {
  /** Whether a row is no event, and only takes the place of an id. Default: none is. */
  readonly isNoop?: (event: Event) => boolean
}

/** So many batches are held for streams that read at different speeds. */
const WINDOW_BATCHES = 4

interface OpenTable {
  readonly table: TableReader
  /** The newest row when it was opened. */
  readonly newest: bigint
  readonly prove: ProvePosition
}

/** A reader of a stream's own, and what ends it. */
interface OwnReader {
  readonly lifetime: AbortController
  readonly opening: Promise<OpenTable>
}

/**
 * The streams of an event table, in the order of its ids, without losing one that is committed late (see `tablePager`).
 * A stream opens a reader of its own, and keeps it while it catches up; then all that are near the head share one.
 */
export function tableStreams(
  name: string,
  connect: (signal: AbortSignal) => Promise<TableReader>,
  wakeups: Wakeups,
  {
    batchSize = 1000,
    batchBytes = 8 * 1024 * 1024,
    pollMs = { min: 2, max: 250 },
    clock = systemClock,
    isNoop,
  }: TableStreamOptions & TableKind,
): StreamFunc {
  const bounds = { maxEvents: WINDOW_BATCHES * batchSize, maxBytes: WINDOW_BATCHES * batchBytes }
  let shared: SharedReading | undefined

  const open = async (signal: AbortSignal, seen: bigint): Promise<OpenTable> => {
    const table = await connect(signal)
    try {
      const newest = await table.newest()
      return { table, newest, prove: positionProof(name, table, newest > seen ? newest : seen) }
    } catch (error) {
      await table[Symbol.asyncDispose]()
      throw error
    }
  }
  const share = ({ lifetime, opening }: OwnReader, pager: TablePager): void => {
    shared?.retire()
    const created = sharedReading(pager, {
      ...bounds,
      wakeups,
      pollMs,
      clock,
      signal: lifetime.signal,
      close: async () => {
        lifetime.abort()
        await (await opening).table[Symbol.asyncDispose]()
      },
      onRetired: () => {
        if (shared === created) shared = undefined
      },
    })
    shared = created
  }

  return async (after, options) => {
    checkStreamOptions(name, after, options)
    const { signal, toHead, fromHead, types } = options
    signal?.throwIfAborted()
    let position = parseTableCursor(name, after)
    let own: OwnReader | undefined
    let pager: TablePager | undefined
    let sharer: SharedReader | undefined
    let isClosed = false
    let seen = 0n
    let parting: Promise<unknown> | undefined

    const openOwn = (): Promise<OpenTable> => {
      const lifetime = new AbortController()
      own = { lifetime, opening: open(lifetime.signal, seen) }
      return own.opening
    }
    const closeOwn = async (): Promise<void> => {
      const left = own
      own = undefined
      pager = undefined
      const opened = await left?.opening.catch(() => undefined) // whoever opened it was told
      await opened?.table[Symbol.asyncDispose]()
    }
    /** Of a reader that is not needed any more. */
    const part = (): void => {
      if (own === undefined) return
      parting = Promise.all([parting, closeOwn()])
      parting.catch(() => {}) // whoever closes the stream gets it
    }
    const onAbort = (): void => own?.lifetime.abort(signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    const close = async (): Promise<void> => {
      isClosed = true
      signal?.removeEventListener('abort', onAbort)
      own?.lifetime.abort()
      await Promise.all([closeOwn(), sharer?.leave(), parting])
    }

    let end: bigint | undefined
    try {
      const { table, newest, prove } = await openOwn()
      if (toHead) end = newest
      if (fromHead) {
        // Whoever has been given an id up to this one has committed it, or never will, before anything after it is read.
        await table.settleWriters()
        position = newest
      } else await prove(position, await table.page(position, 2, batchBytes))
    } catch (error) {
      await close()
      throw error
    }

    const batch = (passed: readonly Event[]): Batch => {
      position = BigInt((passed.at(-1) as Event).id)
      const real = isNoop !== undefined && passed.some(isNoop) ? passed.filter((event) => !isNoop(event)) : passed
      const events = types === undefined ? real : real.filter(({ type }) => types.includes(type))
      return { events, cursor: String(position) }
    }
    async function* batches(): AsyncGenerator<Batch> {
      if (fromHead) yield { events: [], cursor: String(position) }
      while (!isClosed && (end === undefined || position < end)) {
        if (end === undefined) sharer ??= shared?.join(position)
        if (sharer !== undefined) {
          part()
          const events = await sharer.next()
          if (events !== undefined) yield batch(events)
          else {
            seen = sharer.newest
            await sharer.leave()
            sharer = undefined
          }
          continue
        }
        const { table, prove } = await (own?.opening ?? openOwn())
        pager ??= tablePager(table, position, { batchSize, batchBytes, end, prove })
        const { events, isLast } = await pager.read()
        if (isLast && end === undefined && !isClosed && own !== undefined) {
          // Before what it read is handled, which may take long: it is near the head now.
          const read = events.length > 0 ? BigInt((events.at(-1) as Event).id) : position
          sharer = shared?.join(read)
          // If nothing follows, and the others are beyond it all the same, the rows have been deleted under them.
          if (sharer === undefined && (shared === undefined || shared.isLeftBehind(read) || events.length === 0)) {
            share(own, pager)
            own = undefined
            pager = undefined
            sharer = (shared as SharedReading | undefined)?.join(read)
          }
          if (sharer !== undefined) part()
        }
        if (events.length > 0) yield batch(events)
        else if (end !== undefined && pager?.isHeldUp === false) return // the rows up to the head have been deleted since
      }
    }
    return eventStream(batches(), close, { signal })
  }
}

/** The id in a cursor of an event table; `""` is 0, before the first row. */
export function parseTableCursor(name: string, cursor: Cursor): bigint {
  if (cursor === '') return 0n
  if (!/^(0|[1-9]\d{0,18})$/.test(cursor)) {
    throw new CursorInvalidError(name, { cursor, expected: 'the decimal id of a row, or "0"' })
  }
  return BigInt(cursor)
}

/** Refuses a name that is no plain identifier, so that it can stand in a statement. `what` it names is for the error. */
export function checkTableName(name: string, what = 'a table name'): string {
  if (/^[A-Za-z_][A-Za-z0-9_]{0,63}$/.test(name)) return name
  throw new OptionError(
    `${what} must be letters, digits and _, at most 64, not starting with a digit, but is ${JSON.stringify(name)}`,
  )
}

import type { Event } from '../core/event.ts'
import type { ProvePosition } from './prove-position.ts'
import type { TableReader, TableRow } from './table-reader.ts'
import { payloadBytes } from './table-window.ts'

/** Reads on in an event table, page by page. */
export interface TablePager {
  /** The id of the last row that was read, or where it began. */
  readonly position: bigint
  /** Whether an id is missing right after the position: the next read begins with waiting until it is decided. */
  readonly isHeldUp: boolean
  /**
   * What follows the position, up to the first missing id that may still appear. `isLast`: no row followed when it was read.
   * Throws where the row of the position is gone, and where the next row is no event.
   */
  read(): Promise<{ readonly events: readonly Event[]; readonly isLast: boolean }>
}

/** Options of `tablePager`. */
export interface TablePagerOptions {
  readonly batchSize: number
  readonly batchBytes: number
  /** Reads no row after it. */
  readonly end?: bigint | undefined
  /** Of this stream and this table. */
  readonly prove: ProvePosition
}

const FIRST_PAGE = 100

/**
 * Pages through a table from a position whose row was read.
 *
 * Ids are given before commit, so a missing id may still appear. Each page is read from the row of the position itself,
 * which must be there (a cursor whose row is gone is trimmed or ahead); rows up to the first missing id are handed on; then
 * the writers of that moment are waited for, and what a new read still lacks is dead.
 */
export function tablePager(
  table: TableReader,
  start: bigint,
  { batchSize, batchBytes, end, prove }: TablePagerOptions,
): TablePager {
  let position = start
  let isHeldUp = false
  let seen = start // the newest row of the last page
  let isNewest = false // there was none after it
  let limit = Math.min(FIRST_PAGE, batchSize)
  let decided = 0n // ids up to this one are there, or never will be

  return {
    get position() {
      return position
    },
    get isHeldUp() {
      return isHeldUp
    },
    read: async () => {
      if (isHeldUp) {
        // The ids up to a row that was seen have been given; those up to the newest one spare later pages the waiting.
        const given = isNewest ? seen : await table.newest()
        await table.settleWriters(position)
        decided = given
      }
      const wanted = position === 0n ? limit : limit + 1
      const page = await table.page(position, wanted, batchBytes)
      await prove(position, page)
      const isLast = page.length < wanted && !mayBeCut(page, batchBytes)
      isNewest = isLast
      if (page.length > 0) seen = idOf(page, page.length - 1)
      const rows = rowsAfter(page, position, end)
      const count = countBeforeGap(rows, position, decided)
      isHeldUp = count < rows.length
      if (count === 0) return { events: [], isLast }
      const events = eventsIn(rows, count)
      position = idOf(events, events.length - 1)
      // The next page is as large as rows of this size allow.
      const fitting = Math.floor((batchBytes * events.length) / Math.max(1, payloadBytes(events)))
      limit = Math.max(1, Math.min(batchSize, limit * 10, fitting))
      return { events, isLast }
    },
  }
}

/** Whether a page may have ended for its payloads. Two rows come in any case. */
function mayBeCut(page: readonly TableRow[], maxBytes: number): boolean {
  if (page.length < 2) return false
  if ('error' in (page.at(-1) as TableRow)) return true
  return payloadBytes(page as readonly Event[]) > maxBytes / 2
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

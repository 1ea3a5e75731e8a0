import { CursorAheadError, CursorTrimmedError } from '../core/errors.ts'
import type { TableReader, TableRow } from './table-reader.ts'

/**
 * Checks that nothing that follows `position` has been deleted. `page` is what `TableReader.page` found from there on, of two
 * rows at least where there are as many.
 */
export type ProvePosition = (position: bigint, page: readonly TableRow[]) => Promise<void>

/**
 * Makes what proves the positions of one stream, of which `newest` was the newest row when it was opened. It throws
 * `CursorTrimmedError` or `CursorAheadError` where the row of a position is missing, unless a purge took just that one and
 * none that follows; and where a row is missing that the stream has seen and not come to yet. Rows that were deleted from
 * between others before anybody saw them look like a rollback. Position 0 is before the earliest row there is.
 */
export function positionProof(name: string, table: TableReader, newest: bigint): ProvePosition {
  let seen = newest

  /** Whether a purge has taken the row of this position and no other that follows: then the one after it is there. */
  const isPurgedOnly = async (position: bigint, page: readonly TableRow[]): Promise<boolean> => {
    const purged = await table.purged?.()
    if (purged?.to !== position) return false
    const next = String(purged.next)
    return page.some(({ id }) => id === next) || (await table.page(purged.next, 1, 1))[0]?.id === next
  }

  const trimmed = async (position: bigint, missing: bigint): Promise<CursorTrimmedError> => {
    const [earliest] = await table.page(0n, 1, 1)
    return new CursorTrimmedError(name, {
      cursor: String(position),
      ...(earliest === undefined ? {} : { earliest: earliest.id }),
      cause: new Error(`the row ${missing} was deleted`),
    })
  }

  return async (position, page) => {
    if (position === 0n) return
    if (page[0]?.id !== String(position) && !(await isPurgedOnly(position, page))) {
      const found = await table.newest()
      if (position <= found) throw await trimmed(position, position)
      throw new CursorAheadError(name, { cursor: String(position), reason: 'beyond', found: String(found) })
    }
    const last = BigInt(page.at(-1)?.id ?? position)
    if (seen > position) {
      const isLost = last > seen ? !page.some(({ id }) => id === String(seen)) : last < seen && page.length === 1
      if (isLost) throw await trimmed(position, seen)
    }
    if (last > seen) seen = last
  }
}

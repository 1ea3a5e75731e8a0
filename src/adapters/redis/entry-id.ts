import { CursorInvalidError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'

/** The position before the first entry that a stream can have. */
export const ZERO_ID = '0-0'

const MAX_PART = 2n ** 64n - 1n

/** Negative, zero or positive as entry id `a` stands before, at or after `b`: by two 64-bit numbers, not as text. */
export function compareIds(a: string, b: string): number {
  if (a === b) return 0
  const [aMs = '', aSeq = ''] = a.split('-')
  const [bMs = '', bSeq = ''] = b.split('-')
  return compareDigits(aMs, bMs) || compareDigits(aSeq, bSeq)
}

/** Canonical decimals: the longer is the larger. */
function compareDigits(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0)
}

/** The entry id in a cursor; `""` is `0-0`. Throws `CursorInvalidError` on what is not an id as Redis writes it. */
export function parseEntryId(log: string, cursor: Cursor): string {
  if (cursor === '') return ZERO_ID
  const [, ms, seq] = /^(0|[1-9]\d{0,19})-(0|[1-9]\d{0,19})$/.exec(cursor) ?? []
  if (ms === undefined || seq === undefined || BigInt(ms) > MAX_PART || BigInt(seq) > MAX_PART)
    throw new CursorInvalidError(log, { cursor, expected: 'an entry id like 1700000000000-0' })
  return cursor
}

import { positionIn } from '../../core/cursor.ts'
import { CursorInvalidError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'

const MAX_SEQUENCE = 2n ** 64n - 1n
/** A stream's time of creation, as the server writes it. */
const INCARNATION = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/

/** The sequence in a cursor, whatever its incarnation; undefined for `""`. Throws `CursorInvalidError` on anything else. */
export function parseSequence(log: string, cursor: Cursor): bigint | undefined {
  if (cursor === '') return undefined
  const at = cursor.lastIndexOf('@')
  const text = at < 0 ? cursor : cursor.slice(0, at)
  const wellFormed = /^(0|[1-9]\d{0,19})$/.test(text) && (at < 0 || INCARNATION.test(cursor.slice(at + 1)))
  if (!wellFormed || BigInt(text) > MAX_SEQUENCE)
    throw new CursorInvalidError(log, {
      cursor,
      expected: "a sequence like 1042, or 1042@ and the stream's time of creation",
    })
  return BigInt(text)
}

/** Throws `CursorAheadError` unless the cursor is of this incarnation, or of none. */
export function checkIncarnation(log: string, cursor: Cursor, incarnation: string): void {
  if (cursor !== '') positionIn(log, cursor, incarnation)
}

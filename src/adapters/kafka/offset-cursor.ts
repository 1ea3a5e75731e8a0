import { positionIn } from '../../core/cursor.ts'
import { CursorInvalidError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'

const MAX_OFFSET = 2n ** 63n - 1n

/**
 * The offset in a cursor, after which to go on: `-1` is the position before the first record; undefined of `""`, the earliest
 * there is. Throws `CursorInvalidError` on what is not an offset, and `CursorAheadError` if it is one of another topic.
 */
export function parseOffset(log: string, cursor: Cursor, topicId: string): bigint | undefined {
  if (cursor === '') return undefined
  const text = /@./.test(cursor) ? positionIn(log, cursor, topicId) : cursor
  if (!/^(-1|0|[1-9]\d{0,18})$/.test(text) || BigInt(text) > MAX_OFFSET)
    throw new CursorInvalidError(log, { cursor, expected: 'an offset like 17, or 17@<topic id>' })
  return BigInt(text)
}

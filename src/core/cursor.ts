import { CursorAheadError } from './errors.ts'
import type { Cursor } from './event.ts'

/** Keeps a cursor per consumer. Every implementation is compare-and-set: two runners of one name cannot overwrite each other. */
export interface CursorStore {
  /** The stored cursor; `""` if there is none. */
  get(consumer: string, options?: { signal?: AbortSignal | undefined }): Promise<Cursor>
  /**
   * Stores `cursor` if the stored one is `expected`; storing what is there already is success.
   * Throws `CursorConflictError` otherwise. Any other error means that the outcome is unknown.
   */
  set(consumer: string, cursor: Cursor, expected: Cursor): Promise<void>
  /** An operator's overwrite: a runner at work meets a `CursorConflictError` with `reset: true` and starts again from here. */
  reset(consumer: string, cursor: Cursor): Promise<void>
  /** All stored cursors, by consumer. */
  list?(): Promise<ReadonlyMap<string, Cursor>>
}

/** What is saved for a position: `position@incarnation` where the log has an incarnation, else the bare position. */
export function savedCursor(position: Cursor, incarnation: string | undefined): Cursor {
  return position === '' || incarnation === undefined ? position : `${position}@${incarnation}`
}

/**
 * The position in a saved cursor of a log that has incarnations. A bare position is accepted.
 * Throws `CursorAheadError { reason: 'recreated' }` if it was saved for another incarnation.
 */
export function positionIn(log: string, cursor: Cursor, incarnation: string): Cursor {
  const at = cursor.lastIndexOf('@')
  if (at < 0) return cursor
  const saved = cursor.slice(at + 1)
  if (saved !== incarnation)
    throw new CursorAheadError(log, { cursor, reason: 'recreated', found: `incarnation ${incarnation}` })
  return cursor.slice(0, at)
}

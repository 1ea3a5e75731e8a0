import { CursorInvalidError } from '../core/errors.ts'
import type { Cursor } from '../core/event.ts'
import type { Checkpoint } from '../core/sink.ts'

/** A checkpoint as the bridge keeps it. */
export interface RouteCheckpoint extends Checkpoint {
  /** Where the route started if it started at the head: what is before that is never forwarded. Else `""`. */
  readonly start: Cursor
}

/** A checkpoint as a cursor store keeps it: `{"cursor":"7","mark":"1700000000000-0"}`, and `start` where it is not `""`. */
export function formatCheckpoint({ cursor, mark, start }: RouteCheckpoint): string {
  return JSON.stringify({ cursor, mark, ...(start === '' ? {} : { start }) })
}

/** What `formatCheckpoint` made; undefined of `""`. Throws `CursorInvalidError` on anything else. */
export function parseCheckpoint(route: string, stored: string): RouteCheckpoint | undefined {
  if (stored === '') return undefined
  try {
    const { cursor, mark, start = '' } = JSON.parse(stored) as Record<string, unknown>
    if (typeof cursor === 'string' && typeof mark === 'string' && typeof start === 'string')
      return { cursor, mark, start }
  } catch {
    // falls through to the one error that says what was expected
  }
  throw new CursorInvalidError(`the checkpoint of route ${route}`, {
    cursor: stored,
    expected: '{"cursor":"…","mark":"…"}',
  })
}

import { CursorInvalidError } from '../core/errors.ts'
import type { Cursor } from '../core/event.ts'
import type { Checkpoint } from '../core/sink.ts'

/** A checkpoint as the bridge keeps it. */
export interface RouteCheckpoint extends Checkpoint {
  /** Where the route started if it started at the head: what is before that is never forwarded. Else `""`. */
  readonly start: Cursor
  /** The events that the route goes past without sending them, since an operator said so; the newest last. */
  readonly skips?: readonly Skip[] | undefined
}

/** An operator's word that an event is not to be sent. */
export interface Skip {
  readonly eventId: string
  /** Who said so. */
  readonly by: string
  /** When, epoch in ms. */
  readonly at: number
  readonly why: string
}

/**
 * A checkpoint as a cursor store keeps it: `{"cursor":"7","mark":"1700000000000-0"}`, `start` where it is not `""`, and `skips` where
 * there are some.
 */
export function formatCheckpoint({ cursor, mark, start, skips = [] }: RouteCheckpoint): string {
  return JSON.stringify({
    cursor,
    mark,
    ...(start === '' ? {} : { start }),
    ...(skips.length === 0 ? {} : { skips }),
  })
}

/** What `formatCheckpoint` made; undefined of `""`. Throws `CursorInvalidError` on anything else. */
export function parseCheckpoint(route: string, stored: string): RouteCheckpoint | undefined {
  if (stored === '') return undefined
  try {
    const { cursor, mark, start = '', skips = [] } = JSON.parse(stored) as Record<string, unknown>
    if (typeof cursor === 'string' && typeof mark === 'string' && typeof start === 'string' && areSkips(skips))
      return { cursor, mark, start, ...(skips.length === 0 ? {} : { skips }) }
  } catch {
    // falls through to the one error that says what was expected
  }
  throw new CursorInvalidError(`the checkpoint of route ${route}`, {
    cursor: stored,
    expected: '{"cursor":"…","mark":"…"}',
  })
}

function areSkips(value: unknown): value is readonly Skip[] {
  return Array.isArray(value) && value.every((each) => typeof (each as Skip | null)?.eventId === 'string')
}

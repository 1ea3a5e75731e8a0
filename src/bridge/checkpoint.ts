import { CursorInvalidError } from '../core/errors.ts'
import type { Cursor } from '../core/event.ts'
import type { Checkpoint } from '../core/sink.ts'

/** A checkpoint as the bridge keeps it. */
export interface RouteCheckpoint extends Checkpoint {
  /** Where the route started if it started at the head: what is before that is never forwarded. Else `""`. */
  readonly start: Cursor
  /**
   * The id of the first event that the source had when the route came to it, if it started at the earliest: so that a destination that lost
   * everything is not refilled with a hole in it. Undefined where that is not known.
   */
  readonly first?: string | undefined
  /** The events that the route goes past without sending them, since an operator said so: those that are not in its log yet. */
  readonly skips?: readonly Skip[] | undefined
  /** How many pages there are of its log, which has the others. Default: 0. */
  readonly log?: number | undefined
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
 * A checkpoint as a cursor store keeps it: `{"cursor":"7","mark":"1700000000000-0"}`, `start` where it is not `""`, `first` where it is
 * known, `skips` where there are some, and `log` where it is not 0.
 */
export function formatCheckpoint({ cursor, mark, start, first, skips = [], log = 0 }: RouteCheckpoint): string {
  return JSON.stringify({
    cursor,
    mark,
    ...(start === '' ? {} : { start }),
    ...(first === undefined ? {} : { first }),
    ...(skips.length === 0 ? {} : { skips }),
    ...(log === 0 ? {} : { log }),
  })
}

/** What `formatCheckpoint` made; undefined of `""`. Throws `CursorInvalidError` on anything else. */
export function parseCheckpoint(route: string, stored: string): RouteCheckpoint | undefined {
  if (stored === '') return undefined
  try {
    const { cursor, mark, start = '', first, skips = [], log = 0 } = JSON.parse(stored) as Record<string, unknown>
    const isOne = typeof cursor === 'string' && typeof mark === 'string' && typeof start === 'string'
    if (isOne && areSkips(skips) && Number.isSafeInteger(log))
      return {
        cursor,
        mark,
        start,
        ...(typeof first === 'string' ? { first } : {}),
        ...(skips.length === 0 ? {} : { skips }),
        ...(log === 0 ? {} : { log: Number(log) }),
      }
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

import { untilAborted } from '../core/abort.ts'
import type { Cursor, Event } from '../core/event.ts'
import type { Status } from '../core/observer.ts'
import { oldestUnread } from '../core/oldest-unread.ts'
import type { Backlog, Source } from '../core/stream.ts'

/** What follows a position in a source. */
export type Unread = Pick<Status, 'backlog' | 'oldestUnreadAt'>

/** A status does not wait longer for the backlog. */
const UNREAD_WITHIN_MS = 2000
/** Counting a backlog may be work for the server: the source is asked for no more than one part of the time in so many. */
const UNREAD_SHARE = 20
const LONGEST_PAUSE_MS = UNREAD_WITHIN_MS * (UNREAD_SHARE + 1)

/** Nobody sees it; an abort without a reason would make an error, with a stack, each time. */
const LATE = 'late'

const noBacklog: Backlog = { count: 0n, unit: 'events' }

/** Of a source that could not be asked there is no answer: that is not the same as no event. */
async function firstAfter(...asked: Parameters<typeof oldestUnread>): Promise<{ readonly oldest: Event | undefined }> {
  return { oldest: await oldestUnread(...asked) }
}

/**
 * Makes what asks a source for what follows a position, now and then, and else says what was found last. Never rejects; undefined
 * without a source. `now` is a clock in ms, by which it is told what now and then is.
 */
export function unreadAfter(
  now: () => number = () => performance.now(),
): (source: Pick<Source, 'stream' | 'backlog'> | undefined, position: Cursor) => Promise<Unread | undefined> {
  let known: Unread | undefined
  let askAgainAt = 0
  return async (source, position) => {
    const askedAt = now()
    if (source === undefined) known = undefined // nobody can tell
    if (source === undefined || (askedAt < askAgainAt && askAgainAt - askedAt <= LONGEST_PAUSE_MS)) return known // else it was set back
    askAgainAt = askedAt + UNREAD_WITHIN_MS
    const ending = new AbortController()
    const timer = setTimeout(() => ending.abort(LATE), UNREAD_WITHIN_MS)
    const limit = { signal: ending.signal }
    const within = <T>(ask: () => Promise<T> | undefined): Promise<T | undefined> =>
      // The bridge meets the same failure, and tells it.
      untilAborted((async () => await ask())(), limit.signal).catch(() => undefined)
    const backlog = await within(() => source.backlog?.(position, limit))
    // Its stream may also be long in closing.
    const nothing = backlog?.count === 0n
    const found = nothing ? { oldest: undefined } : await within(() => firstAfter(source, position, limit))
    clearTimeout(timer)
    // Who cannot count may still know that nothing is there.
    const none = found !== undefined && found.oldest === undefined ? noBacklog : undefined
    known = { backlog: backlog ?? none, oldestUnreadAt: found?.oldest?.timestamp }
    askAgainAt = now() + (now() - askedAt) * UNREAD_SHARE
    return known
  }
}

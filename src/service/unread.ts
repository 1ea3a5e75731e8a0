import type { Cursor } from '../core/event.ts'
import type { Status } from '../core/observer.ts'
import { oldestUnread } from '../core/oldest-unread.ts'
import type { Source } from '../core/stream.ts'

/** What follows a position in a source. */
export type Unread = Pick<Status, 'backlog' | 'oldestUnreadAt'>

/** A status does not wait longer for the backlog. */
const UNREAD_WITHIN_MS = 2000
/** Counting a backlog may be work for the server: the source is asked for no more than one part of the time in so many. */
const UNREAD_SHARE = 20

/** Makes what asks a source for what follows a position, now and then, and else says what was found last. Never rejects; undefined without a source. */
export function unreadAfter(): (source: Source | undefined, position: Cursor) => Promise<Unread | undefined> {
  let known: Unread | undefined
  let askAgainAt = 0
  return async (source, position) => {
    const askedAt = performance.now()
    if (source === undefined) known = undefined // nobody can tell
    if (source === undefined || askedAt < askAgainAt) return known
    askAgainAt = askedAt + UNREAD_WITHIN_MS
    const limit = { signal: AbortSignal.timeout(UNREAD_WITHIN_MS) }
    // The bridge meets the same failure, and tells it.
    const backlog = await source.backlog?.(position, limit).catch(() => undefined)
    const oldest =
      backlog?.count === 0n ? undefined : await oldestUnread(source, position, limit).catch(() => undefined)
    known = { backlog, oldestUnreadAt: oldest?.timestamp }
    const now = performance.now()
    askAgainAt = now + (now - askedAt) * UNREAD_SHARE
    return known
  }
}

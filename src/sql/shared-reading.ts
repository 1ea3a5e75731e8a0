import type { Clock } from '../core/clock.ts'
import type { Event } from '../core/event.ts'
import type { TablePager } from './table-pager.ts'
import { type TableWindowBounds, tableWindow } from './table-window.ts'
import type { Wakeups } from './wakeups.ts'

/** Reads a table on behalf of all streams of this process that are near its head. */
export interface SharedReading {
  /** Lets a stream that stands at `position` read along; undefined if it stands before what is held, or far beyond it. */
  join(position: bigint): SharedReader | undefined
  /** Whether who stands at `position` would wait for long, since nobody asks for more and much is left unread. */
  isLeftBehind(position: bigint): boolean
  /** Reads no further: who has read what is held goes on elsewhere. */
  retire(): void
}

/** One stream's part in a shared reading. */
export interface SharedReader {
  /**
   * What follows, as soon as there is something; undefined where it cannot tell any more, and the stream has to page on its
   * own. Rejects where reading on has failed, after what was read before.
   */
  next(): Promise<readonly Event[] | undefined>
  /** The newest row that was read for all. */
  readonly newest: bigint
  /** Ends it. The last one to leave ends the shared reading with its connection. */
  leave(): Promise<void>
}

/** Options of `sharedReading`. */
export interface SharedReadingOptions extends TableWindowBounds {
  readonly wakeups: Wakeups
  readonly pollMs: { readonly min: number; readonly max: number }
  readonly clock: Clock
  /** Ends the waiting. */
  readonly signal: AbortSignal
  /** Ends the connection of the pager. */
  close(): Promise<void>
  /** Is told when nobody may join any more. */
  onRetired(): void
}

/**
 * Reads with `pager`, once for all who take part, and only when one of them has nothing left: who is slow holds nobody up.
 * Pages are held as long as somebody has yet to read them, within the bounds; who is further behind pages on its own.
 */
export function sharedReading(pager: TablePager, options: SharedReadingOptions): SharedReading {
  const { wakeups, pollMs, clock, signal, maxEvents, close, onRetired } = options
  const window = tableWindow(pager.position, options)
  const readers = new Set<{ position: bigint }>()
  let reading: Promise<void> | undefined
  let ended: { readonly error?: unknown } | undefined
  let closing: Promise<void> | undefined
  let pause = 0 // between the end of the last look and the next one, unless woken
  let lookedAt = 0
  let woken = 0
  wakeups.listen(signal)

  const end = (how: { readonly error?: unknown }): void => {
    if (ended !== undefined) return
    ended = how
    onRetired()
    closing = close()
    closing.catch(() => {}) // the last one to leave gets it
  }

  /** Reads one page that is not empty. */
  const readOn = async (): Promise<void> => {
    try {
      for (;;) {
        const left = pause - Math.max(0, clock.now() - lookedAt)
        if (left > 0) await wakeups.wait(woken, left, { clock, signal })
        woken = wakeups.count() // before the query: a commit in between is not missed
        const { events, isLast } = await pager.read()
        lookedAt = clock.now()
        if (pager.isHeldUp || !isLast) pause = 0
        else pause = events.length > 0 ? pollMs.min : Math.min(pollMs.max, Math.max(pollMs.min, pause * 2))
        if (events.length === 0) continue
        window.append(events)
        return
      }
    } catch (error) {
      end({ error })
    } finally {
      reading = undefined
    }
  }

  const forgetWhatAllHaveRead = (): void => {
    let least = window.end
    for (const { position } of readers) if (position < least) least = position
    window.forget(least)
  }

  const isLeftBehind = (position: bigint): boolean => reading === undefined && position - window.end > BigInt(maxEvents)

  return {
    join: (position) => {
      if (ended !== undefined || isLeftBehind(position) || window.after(position) === undefined) return undefined
      const self = { position }
      readers.add(self)
      return {
        get newest() {
          return window.end
        },
        next: async () => {
          for (;;) {
            const events = readers.has(self) ? window.after(self.position) : undefined
            if (events === undefined) return undefined
            if (events.length > 0) {
              self.position = BigInt((events.at(-1) as Event).id)
              forgetWhatAllHaveRead()
              return readers.size > 1 ? events.map(copyOf) : events
            }
            if (ended !== undefined) {
              if ('error' in ended) throw ended.error
              return undefined
            }
            reading ??= readOn()
            await reading
          }
        },
        leave: async () => {
          if (!readers.delete(self)) return
          if (readers.size > 0) return forgetWhatAllHaveRead()
          end({})
          await closing
        },
      }
    },
    isLeftBehind,
    retire: () => end({}),
  }
}

/** What one consumer does to an event is not seen by another. */
function copyOf(event: Event): Event {
  const headers: Record<string, string | readonly string[]> = {}
  for (const name in event.headers) {
    const value = event.headers[name] as string | readonly string[]
    headers[name] = typeof value === 'string' ? value : [...value]
  }
  const metadata = event.metadata === null ? null : Uint8Array.prototype.slice.call(event.metadata)
  return { ...event, metadata, headers }
}

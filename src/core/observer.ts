import type { Cursor } from './event.ts'
import { oldestUnread } from './oldest-unread.ts'
import type { Backlog, Blocked, Source } from './stream.ts'

/** Watches a run or a bridge. Every member is optional, synchronous and must not throw. */
export interface Observer {
  /** The stream is open at `cursor`, the one that was stored. */
  opened?(at: { readonly name: string; readonly cursor: Cursor }): void
  /** Since the last call so many events were handled and skipped, and the position is now `cursor`. Called after each batch at least. */
  progress?(since: {
    readonly cursor: Cursor
    readonly handled: number
    readonly skipped: number
    readonly timestamp: number | undefined
    /** When, epoch in ms, where that is known: a run has just looked at its clock. */
    readonly at?: number | undefined
  }): void
  /**
   * So many events were handled, and each took `ms`, or so on average; what is skipped is not among them. Events that together took
   * less than the clock can tell are told together, as 0 ms: this is called once a batch, and for what took a millisecond and longer.
   * A bridge tells for how long the destination took to confirm what `count` events were part of.
   */
  timed?(handling: { readonly count: number; readonly ms: number }): void
  /** The cursor is stored. */
  saved?(cursor: Cursor): void
  /** A destination had lost, or already held, what its checkpoint says otherwise; the text says what was done. */
  repaired?(text: string): void
  /** The position passes an event that was not sent: it is in the dead letters, or an operator has said to skip it. */
  passed?(event: { readonly eventId: string; readonly as: 'dead letter' | 'skipped'; readonly reason: string }): void
  /** The stream that was opened is closed again, whatever the reason: nothing is handled until another one is. */
  closed?(at: { readonly name: string }): void
  /** The run, or an attempt of a supervised one, failed. */
  failed?(error: unknown): void
  /** `supervise` starts again after `delayMs`, since the attempt ended with `error`; so many failed in a row, 0 after an operator's reset. */
  restarting?(after: { readonly delayMs: number; readonly failures: number; readonly error: unknown }): void
}

/** A snapshot of a consumer or a bridge. */
export interface Status {
  /** The position reached; undefined before the stream was open. */
  readonly position: Cursor | undefined
  /** The position stored. */
  readonly saved: Cursor | undefined
  /** What follows the position; undefined where the source cannot tell. */
  readonly backlog: Backlog | undefined
  /** What keeps the source from going on; undefined if nothing does, or where it cannot tell. */
  readonly blocked: Blocked | undefined
  /** The timestamp, epoch in ms, of the oldest event after the position; undefined if there is none. */
  readonly oldestUnreadAt: number | undefined
  readonly handled: number
  readonly skipped: number
  /** Epoch in ms of the last event that was handled or skipped. */
  readonly lastEventAt: number | undefined
  /** The last failure; cleared by the next progress. */
  readonly lastError: unknown
  readonly restarts: number
  /** What the destination was last repaired from. */
  readonly repair: string | undefined
}

/** An observer that keeps a `Status`. */
export interface StatusObserver extends Required<Observer> {
  /** The state now; asks the source for the backlog and its oldest event, and rejects as the source does. */
  status(options?: { signal?: AbortSignal | undefined }): Promise<Status>
}

/**
 * Makes an observer that can be asked for a status.
 *
 * @example
 * const observer = statusObserver(source)
 * void run(spec, { observer, signal })
 * console.log((await observer.status()).backlog)
 */
export function statusObserver(source?: Pick<Source, 'stream' | 'backlog' | 'blocked'>): StatusObserver {
  const state = {
    position: undefined as Cursor | undefined,
    saved: undefined as Cursor | undefined,
    handled: 0,
    skipped: 0,
    lastEventAt: undefined as number | undefined,
    lastError: undefined as unknown,
    restarts: 0,
    repair: undefined as string | undefined,
  }
  return {
    opened: ({ cursor }) => {
      state.position = cursor
      state.saved = cursor
    },
    progress: ({ cursor, handled, skipped, timestamp }) => {
      state.position = cursor
      state.handled += handled
      state.skipped += skipped
      state.lastEventAt = timestamp ?? state.lastEventAt
      if (handled > 0 || skipped > 0) state.lastError = undefined
    },
    timed: () => {},
    saved: (cursor) => {
      state.saved = cursor
    },
    repaired: (text) => {
      state.repair = text
    },
    passed: () => {},
    closed: () => {},
    failed: (error) => {
      state.lastError = error
    },
    restarting: ({ error }) => {
      state.lastError = error
      state.restarts++
    },
    status: async (options) => {
      const now = { ...state, backlog: undefined, blocked: source?.blocked?.(), oldestUnreadAt: undefined }
      if (now.position === undefined || source === undefined) return now
      const backlog = await source.backlog?.(now.position, options)
      const oldest = backlog?.count === 0n ? undefined : await oldestUnread(source, now.position, options)
      return { ...now, backlog, oldestUnreadAt: oldest?.timestamp }
    },
  }
}

/** Hands every call on to each of `observers`. */
export function combineObservers(...observers: readonly (Observer | undefined)[]): Required<Observer> {
  const each =
    <K extends keyof Observer>(member: K) =>
    (argument: never): void => {
      for (const observer of observers)
        (observer?.[member] as ((argument: never) => void) | undefined)?.call(observer, argument)
    }
  return {
    opened: each('opened'),
    progress: each('progress'),
    timed: each('timed'),
    saved: each('saved'),
    repaired: each('repaired'),
    passed: each('passed'),
    closed: each('closed'),
    failed: each('failed'),
    restarting: each('restarting'),
  }
}

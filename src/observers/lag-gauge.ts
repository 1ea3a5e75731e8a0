import type { Status } from '../core/observer.ts'

/** What is seen of a consumer, or of a route. */
export interface LagSeen extends Pick<Status, 'backlog' | 'oldestUnreadAt'> {
  /** `running`: events are handled here; `standby`: in another process. Any other: nowhere just now. */
  readonly state: string
}

/** How far one consumer is behind, in time, also while its source cannot be asked. */
export interface LagGauge {
  /** Takes note of what was seen at `now`, epoch in ms. */
  saw(seen: LagSeen, now: number): void
  /**
   * The age, in ms, of the oldest event that is not handled, 0 if there is none. Where nobody can tell now, the most that it can
   * be: it is counted from what was last known, so that it grows while a consumer is stuck. Undefined where another process handles
   * the events, where the source never tells, and as long as nobody could tell once: what waits may be older than this process.
   */
  lagMs(now: number): number | undefined
  /** For how long, in ms, nobody could tell, from the first sight on; undefined where `lagMs` is known, or is nobody's to tell. */
  unknownMs(now: number): number | undefined
}

/** Starts to measure. */
export function lagGauge(): LagGauge {
  let last: LagSeen | undefined
  /** No event that waits is older, if it is known how old they are. */
  let since = 0
  let isKnown = false
  let tells = false
  /** In ms since what was last known, or, before anything was, since the first sight. */
  const waited = (now: number): number | undefined => {
    if (last === undefined || last.state === 'standby') return undefined
    const { state, backlog, oldestUnreadAt } = last
    if (oldestUnreadAt === undefined && backlog?.count === 0n) return 0
    if (oldestUnreadAt === undefined && state === 'running' && !tells) return undefined
    return Math.max(0, now - since)
  }
  return {
    saw: ({ state, backlog, oldestUnreadAt: told }, now) => {
      const oldestUnreadAt = Number.isFinite(told) ? told : undefined // what has no age may be of any
      const isTold = oldestUnreadAt !== undefined || backlog?.count === 0n || state === 'standby'
      if (isTold || last === undefined) since = oldestUnreadAt ?? now
      if (isTold) isKnown = true
      if (backlog !== undefined) tells = true
      last = { state, backlog, oldestUnreadAt }
    },
    lagMs: (now) => (isKnown ? waited(now) : undefined),
    unknownMs: (now) => (isKnown ? undefined : waited(now)),
  }
}

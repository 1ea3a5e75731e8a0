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
   * the events, and where the source never tells.
   */
  lagMs(now: number): number | undefined
}

/** Starts to measure. */
export function lagGauge(): LagGauge {
  let last: LagSeen | undefined
  /** No event that waits is older. */
  let since = 0
  let tells = false
  return {
    saw: (seen, now) => {
      const { state, backlog, oldestUnreadAt } = seen
      if (oldestUnreadAt !== undefined) since = oldestUnreadAt
      else if (last === undefined || backlog?.count === 0n || state === 'standby') since = now
      if (backlog !== undefined) tells = true
      last = seen
    },
    lagMs: (now) => {
      if (last === undefined || last.state === 'standby') return undefined
      const { state, backlog, oldestUnreadAt } = last
      if (oldestUnreadAt === undefined && backlog?.count === 0n) return 0
      if (oldestUnreadAt === undefined && state === 'running' && !tells) return undefined
      return Math.max(0, now - since)
    },
  }
}

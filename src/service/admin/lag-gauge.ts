import type { RouteStatus } from '../start-route.ts'

/** How far one route is behind, in time, also while its source cannot be asked. */
export interface LagGauge {
  /** Takes note of what was seen at `now`, epoch in ms. */
  saw(status: RouteStatus, now: number): void
  /**
   * The age, in ms, of the oldest event that is not forwarded, 0 if there is none. Where nobody can tell now, the most that it can
   * be: it is counted from what was last known, so that it grows while a route is stuck. Undefined where another process forwards
   * the route, and where the source never tells.
   */
  lagMs(now: number): number | undefined
}

/** Starts to measure. */
export function lagGauge(): LagGauge {
  let last: RouteStatus | undefined
  /** No event that waits is older. */
  let since = 0
  let tells = false
  return {
    saw: (status, now) => {
      const { state, backlog, oldestUnreadAt } = status
      if (oldestUnreadAt !== undefined) since = oldestUnreadAt
      else if (last === undefined || backlog?.count === 0n || state === 'standby') since = now
      if (backlog !== undefined) tells = true
      last = status
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

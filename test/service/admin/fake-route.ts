import type { AdminRoute } from '../../../src/service/admin/admin-route.ts'
import type { RouteEnd, RouteStatus } from '../../../src/service/start-route.ts'

/** A route that is what it is told to be. */
export interface FakeRoute extends AdminRoute {
  /** Changes its status from now on. */
  become(status: Partial<RouteStatus>): void
  end(how: RouteEnd): void
  /** How often it was asked for its status. */
  readonly asked: number
}

/** That of a route which runs and has nothing to do. */
export const idleStatus: RouteStatus = {
  state: 'running',
  position: '7',
  saved: '7',
  backlog: { count: 0n, unit: 'events' },
  blocked: undefined,
  oldestUnreadAt: undefined,
  handled: 1000,
  skipped: 0,
  lastEventAt: undefined,
  lastError: undefined,
  restarts: 0,
  repair: undefined,
}

/** A route that runs and has nothing to do. */
export function fakeRoute(name: string, status: Partial<RouteStatus> = {}): FakeRoute {
  let now: RouteStatus = { ...idleStatus, ...status }
  let asked = 0
  const { promise: ended, resolve: end } = Promise.withResolvers<RouteEnd>()
  return {
    name,
    source: `mysql://app@127.0.0.1:3306/shop.${name}`,
    sink: `redis://127.0.0.1:6379/${name}`,
    ended,
    end,
    status: async () => {
      asked++
      return now
    },
    become: (changed) => {
      now = { ...now, ...changed }
    },
    get asked() {
      return asked
    },
  }
}

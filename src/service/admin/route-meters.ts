import type { Observer } from '../../core/observer.ts'
import { type Histogram, histogram } from './histogram.ts'

/** What one route did since it was started. */
export interface RouteMeter {
  /** Attempts that failed, and what failed while closing. */
  readonly errors: number
  readonly repairs: number
  /** Events that were put into the dead letters. */
  readonly deadLetters: number
  /** How old, in seconds, the newest event of each batch was when the destination had confirmed it. */
  readonly eventAge: Histogram
}

/** Counts what a status does not tell. */
export interface RouteMeters {
  /** The observer that `startRoute` is given for this route. */
  observer(route: string): Observer
  /** Undefined for a route that has no observer. */
  read(route: string): RouteMeter | undefined
}

/** reflex's bounds, and finer ones below them: a bridge that keeps up takes some ms. */
const AGE_BOUNDS = [0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 50, 100, 500, 1000, 10_000, 50_000, 100_000]

/**
 * Makes meters: an observer per route.
 *
 * @example
 * const meters = routeMeters()
 * const running = startRoute(route, { signal, observer: meters.observer(route.name) })
 */
export function routeMeters({ now = Date.now }: { readonly now?: (() => number) | undefined } = {}): RouteMeters {
  const meters = new Map<
    string,
    { errors: number; repairs: number; deadLetters: number; readonly eventAge: Histogram }
  >()
  return {
    observer: (route) => {
      const meter = { errors: 0, repairs: 0, deadLetters: 0, eventAge: histogram(AGE_BOUNDS) }
      meters.set(route, meter)
      return {
        progress: ({ handled, timestamp }) => {
          if (handled > 0 && timestamp !== undefined) meter.eventAge.observe(Math.max(0, now() - timestamp) / 1000)
        },
        repaired: () => {
          meter.repairs++
        },
        passed: ({ as }) => {
          if (as === 'dead letter') meter.deadLetters++
        },
        failed: () => {
          meter.errors++
        },
      }
    },
    read: (route) => meters.get(route),
  }
}

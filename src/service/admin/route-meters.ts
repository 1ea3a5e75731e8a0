import type { Observer } from '../../core/observer.ts'
import { type ConsumerCounts, type ConsumerMeter, consumerMeter } from '../../observers/consumer-meter.ts'

/** Counts what a status does not tell. */
export interface RouteMeters {
  /** The observer that `startRoute` is given for this route. */
  observer(route: string): Observer
  /** Undefined for a route that has no observer. */
  read(route: string): ConsumerCounts | undefined
}

/**
 * Makes meters: an observer per route.
 *
 * @example
 * const meters = routeMeters()
 * const running = startRoute(route, { signal, observer: meters.observer(route.name) })
 */
export function routeMeters({ now = Date.now }: { readonly now?: (() => number) | undefined } = {}): RouteMeters {
  const meters = new Map<string, ConsumerMeter>()
  return {
    observer: (route) => {
      const meter = consumerMeter({ now })
      meters.set(route, meter)
      return meter.observer
    },
    read: (route) => meters.get(route),
  }
}

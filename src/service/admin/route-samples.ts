import { setTimeout as sleep } from 'node:timers/promises'
import { lagGauge } from '../../observers/lag-gauge.ts'
import { describeError } from '../describe-error.ts'
import type { RouteEnd, RouteStatus } from '../start-route.ts'
import type { AdminRoute } from './admin-route.ts'
import { progressJudge, type Verdict } from './progress-judge.ts'

/** What was last seen of a route. */
export interface RouteSample {
  readonly route: AdminRoute
  /** Undefined until it has answered once. */
  readonly status: RouteStatus | undefined
  /** Undefined while it is at work. */
  readonly end: RouteEnd | undefined
  readonly verdict: Verdict
  /** For how long events have been waiting, at most, in ms; undefined where that cannot be told. */
  readonly lagMs: number | undefined
}

/** Looks at all routes, from time to time by itself, so that what is asked for seldom is judged as well. */
export interface RouteSamples extends Disposable {
  /** The state of now, or, of a route that does not answer within `ANSWER_WITHIN_MS`, what was last seen of it. */
  take(): Promise<readonly RouteSample[]>
}

/** By itself so often, or four times within the time that a route may take. */
const LOOK_EVERY_MS = 5000
/** What is younger is not asked for again: many may want it. */
const FRESH_MS = 250
const ANSWER_WITHIN_MS = 3000

/** Starts to look. */
export function routeSamples(
  routes: readonly AdminRoute[],
  { readyAfterMs }: { readonly readyAfterMs: number },
): RouteSamples {
  const watched = routes.map((route) => watch(route, readyAfterMs))
  const done = new AbortController()
  let looked: { readonly done: Promise<unknown>; readonly at: number } | undefined

  const take = async (): Promise<readonly RouteSample[]> => {
    const at = performance.now()
    if (looked === undefined || at - looked.at > FRESH_MS)
      looked = { done: Promise.all(watched.map((each) => each.look(done.signal))), at }
    await looked.done
    return watched.map((each) => each.sample())
  }
  const timer = setInterval(() => void take(), Math.min(LOOK_EVERY_MS, readyAfterMs / 4))
  void take()
  return {
    take,
    [Symbol.dispose]: () => {
      clearInterval(timer)
      done.abort()
    },
  }
}

interface Watched {
  /** Asks for the status; resolves too when that takes too long, or when `signal` aborts. */
  look(signal: AbortSignal): Promise<void>
  sample(): RouteSample
}

function watch(route: AdminRoute, readyAfterMs: number): Watched {
  const judge = progressJudge({ readyAfterMs })
  const lag = lagGauge()
  let status: RouteStatus | undefined
  let end: RouteEnd | undefined
  let asking: Promise<void> | undefined
  void route.ended.then((how) => {
    end = how
  })

  const ask = async (): Promise<void> => {
    try {
      status = await route.status()
      judge.saw(status, performance.now())
      lag.saw(status, Date.now())
    } catch {
      // It was not to reject; a route that does has not answered, and the others are shown all the same.
    } finally {
      asking = undefined
    }
  }
  return {
    look: async (signal) => {
      asking ??= ask() // one that does not answer is not asked again
      const waited = new AbortController()
      const limit = AbortSignal.any([signal, waited.signal])
      await Promise.race([asking, sleep(ANSWER_WITHIN_MS, undefined, { signal: limit }).catch(() => {})])
      waited.abort()
    },
    sample: () => ({
      route,
      status,
      end,
      verdict: end === undefined ? judge.verdict(performance.now()) : verdictOf(end),
      lagMs: lag.lagMs(Date.now()),
    }),
  }
}

function verdictOf(end: RouteEnd): Verdict {
  return end.reason === 'failed'
    ? { ready: false, reason: `it ended for good: ${describeError(end.error)}` }
    : { ready: true }
}

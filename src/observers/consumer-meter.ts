import type { Cursor } from '../core/event.ts'
import type { Observer } from '../core/observer.ts'
import { type Histogram, histogram } from './histogram.ts'

/** What one consumer, or route, did since it was first observed. */
export interface ConsumerCounts {
  readonly handled: number
  readonly skipped: number
  /** Attempts that failed, and what failed while closing. */
  readonly errors: number
  readonly restarts: number
  readonly repairs: number
  /** Events that were put into the dead letters. */
  readonly deadLetters: number
  /** How old, in seconds, the newest event of each batch was when it was handled. */
  readonly eventAge: Histogram
  /** How long events took to be handled, in seconds. */
  readonly latency: Histogram
}

/** Counts what an observer is told. */
export interface ConsumerMeter extends ConsumerCounts {
  readonly observer: Required<Observer>
  /** Whether a stream is open. */
  readonly active: boolean
  /** The position reached; undefined before a stream was open. */
  readonly position: Cursor | undefined
}

/** Options of `consumerMeter`. */
export interface ConsumerMeterOptions {
  /** Epoch in ms, where the time of what is observed is not told. Default: the machine's clock. */
  readonly now?: (() => number) | undefined
  /** Is told of every observation, in seconds, that goes into a histogram. */
  readonly onObserved?: ((what: 'eventAge' | 'latency', seconds: number) => void) | undefined
}

/** reflex's bounds, and finer ones below them: who keeps up takes some ms. In seconds. */
export const ageBounds: readonly number[] = [
  0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 50, 100, 500, 1000, 10_000, 50_000, 100_000,
]
/** The same of the time that handling takes. */
export const latencyBounds: readonly number[] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300]

/** Starts to count. */
export function consumerMeter({ now = Date.now, onObserved }: ConsumerMeterOptions = {}): ConsumerMeter {
  const counts = { handled: 0, skipped: 0, errors: 0, restarts: 0, repairs: 0, deadLetters: 0 }
  const eventAge = histogram(ageBounds)
  const latency = histogram(latencyBounds)
  /** A sum that has been no number once, or has fallen, is of no use from then on. */
  const observing =
    (what: 'eventAge' | 'latency', { observe }: Histogram) =>
    (ms: number, times: number): void => {
      if (!Number.isFinite(ms)) return
      const seconds = Math.max(0, ms) / 1000 // clocks differ, and are set back
      observe(seconds, times)
      onObserved?.(what, seconds)
    }
  const observeAge = observing('eventAge', eventAge)
  const observeLatency = observing('latency', latency)
  let active = false
  let position: Cursor | undefined
  const observer: Required<Observer> = {
    opened: ({ cursor }) => {
      active = true
      position = cursor
    },
    progress: ({ cursor, handled, skipped, timestamp, at }) => {
      position = cursor
      counts.handled += handled
      counts.skipped += skipped
      if (handled > 0 && timestamp !== undefined) observeAge((at ?? now()) - timestamp, 1)
    },
    timed: ({ count, ms }) => observeLatency(ms, count),
    saved: () => {},
    repaired: () => {
      counts.repairs++
    },
    passed: ({ as }) => {
      if (as === 'dead letter') counts.deadLetters++
    },
    closed: () => {
      active = false
    },
    failed: () => {
      counts.errors++
    },
    restarting: () => {
      counts.restarts++
    },
  }
  return {
    observer,
    ...{ eventAge, latency },
    get handled() {
      return counts.handled
    },
    get skipped() {
      return counts.skipped
    },
    get errors() {
      return counts.errors
    },
    get restarts() {
      return counts.restarts
    },
    get repairs() {
      return counts.repairs
    },
    get deadLetters() {
      return counts.deadLetters
    },
    get active() {
      return active
    },
    get position() {
      return position
    },
  }
}

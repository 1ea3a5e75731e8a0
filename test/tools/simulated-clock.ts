import { setImmediate as turn } from 'node:timers/promises'
import type { Clock } from '../../src/core/clock.ts'

/** A clock whose time passes only when it is told to. */
export interface SimulatedClock extends Clock {
  /** How long each sleep was meant to be, in ms, in the order of the calls. */
  readonly sleeps: readonly number[]
  /** How often `yield` was called. */
  readonly yields: number
  /** Time passes at once, as in a handler that is busy, or as when a clock is set. May be negative. */
  pass(ms: number): void
  /** Time passes from one sleeper to the next, each going on before the next one wakes. */
  advance(ms: number): Promise<void>
  /** Time passes as it is needed, until `promise` has settled; throws if nothing sleeps that it could be waiting for. */
  until<T>(promise: Promise<T>): Promise<T>
}

/** Makes a clock that stands at `start`, epoch in ms. */
export function simulatedClock(start: number = Date.parse('2026-01-01T00:00:00Z')): SimulatedClock {
  let now = start
  let sleepers: { at: number; wake: () => void }[] = []
  const sleeps: number[] = []
  let yields = 0
  let yielding = 0

  /** Lets everybody go on until they sleep, or wait for something else. */
  const settle = async (): Promise<void> => {
    for (let quiet = 0; quiet < 2; quiet++) {
      await turn()
      if (yielding > 0) quiet = 0
    }
  }
  const wakeNext = (limit: number): boolean => {
    const [next] = sleepers.toSorted((a, b) => a.at - b.at)
    if (next === undefined || next.at > limit) return false
    now = Math.max(now, next.at)
    sleepers = sleepers.filter((each) => each !== next)
    next.wake()
    return true
  }
  return {
    sleeps,
    get yields() {
      return yields
    },
    now: () => now,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        sleeps.push(ms)
        if (signal?.aborted) return reject(signal.reason)
        const onAbort = (): void => {
          sleepers = sleepers.filter((each) => each !== sleeper)
          reject(signal?.reason)
        }
        const sleeper = {
          at: now + ms,
          wake: () => {
            signal?.removeEventListener('abort', onAbort)
            resolve()
          },
        }
        sleepers.push(sleeper)
        signal?.addEventListener('abort', onAbort, { once: true })
      }),
    yield: async () => {
      yields++
      yielding++
      await turn()
      yielding--
    },
    pass: (ms) => {
      now += ms
    },
    advance: async (ms) => {
      const end = now + ms
      await settle()
      while (wakeNext(end)) await settle()
      now = Math.max(now, end)
    },
    until: async (promise) => {
      let settled = false
      promise.then(
        () => {
          settled = true
        },
        () => {
          settled = true
        },
      )
      for (let idle = 0; !settled; ) {
        await settle()
        if (settled) break
        if (wakeNext(Number.POSITIVE_INFINITY)) idle = 0
        else if (++idle > 100) throw new Error('nothing sleeps, and what is waited for does not settle')
      }
      return promise
    },
  }
}

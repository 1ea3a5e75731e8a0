import { setImmediate as macrotask } from 'node:timers/promises'
import type { Clock } from '../../core/clock.ts'

/** A world in which time is virtual, and one thing happens after the other, in an order that a schedule decides. */
export interface Simulation {
  /** Its time passes only when nothing else can go on, or when the schedule says so. */
  readonly clock: Clock
  /** Waits until it is this one's turn: what takes time in the world, as a request to a server, begins and ends with one. */
  turn(): Promise<void>
  /** The clock is set, as an operator or NTP sets one. In ms, may be negative. */
  jump(ms: number): void
  /** Lets one after the other go on until `work` has settled. Rejects with `Stuck` if nothing can go on, or if it never ends. */
  run<T>(work: Promise<T>): Promise<T>
  /** Lets everything that waits go on, but no time pass. */
  settle(): Promise<void>
}

/** What is waited for does not end, and nothing else is left to do. */
export class Stuck extends Error {
  override readonly name = 'Stuck'
}

/** Where simulated time begins: 2026-01-01, UTC. */
export const simulatedStart: number = Date.UTC(2026, 0, 1)
/** More than any schedule takes: what goes on for longer goes on for ever. */
const MAX_STEPS = 20_000

/**
 * Makes a world. Each of `decisions` says who is next of those that wait, in the order in which they began to, and after them the
 * sleeper who is due first; it counts from 0, and starts again from the front. Where they have run out, it is 0: first come, first
 * served. The same decisions make the same world, always.
 */
export function simulation(decisions: readonly number[] = []): Simulation {
  let now = simulatedStart
  let decided = 0
  const waiting: (() => void)[] = []
  const sleepers = new Set<{ readonly at: number; wake(): void }>()

  const firstSleeper = (): { readonly at: number; wake(): void } | undefined => {
    let first: { readonly at: number; wake(): void } | undefined
    for (const each of sleepers) if (first === undefined || each.at < first.at) first = each
    return first
  }
  const wake = (sleeper: { readonly at: number; wake(): void }): void => {
    now = Math.max(now, sleeper.at)
    sleeper.wake()
  }
  /** One goes on; false if none can. */
  const step = (mayPassTime: boolean): boolean => {
    const candidates = waiting.length + (mayPassTime && sleepers.size > 0 ? 1 : 0)
    if (candidates === 0) return false
    const index = candidates === 1 ? 0 : (decisions[decided++] ?? 0) % candidates
    if (index < waiting.length) waiting.splice(index, 1)[0]?.()
    else wake(firstSleeper() as { readonly at: number; wake(): void })
    return true
  }

  return {
    clock: {
      now: () => now,
      sleep: (ms, signal) =>
        new Promise((resolve, reject) => {
          if (signal?.aborted) return reject(signal.reason)
          const onAbort = (): void => {
            sleepers.delete(sleeper)
            reject(signal?.reason)
          }
          const sleeper = {
            at: now + ms,
            wake: () => {
              sleepers.delete(sleeper)
              signal?.removeEventListener('abort', onAbort)
              resolve()
            },
          }
          sleepers.add(sleeper)
          signal?.addEventListener('abort', onAbort, { once: true })
        }),
      yield: async () => {},
    },
    turn: () => new Promise((resolve) => waiting.push(resolve)),
    jump: (ms) => {
      now += ms
    },
    run: async (work) => {
      let settled = false
      const done = (): void => {
        settled = true
      }
      work.then(done, done)
      for (let steps = 0; ; steps++) {
        await drained()
        if (settled) return work
        if (steps > MAX_STEPS) throw new Stuck(`it has not ended after ${MAX_STEPS} steps`)
        if (step(true)) continue
        await macrotask() // for what is not of this world
        await drained()
        if (settled) return work
        if (waiting.length + sleepers.size === 0)
          throw new Stuck('it has not ended, and nothing is left that could end it')
      }
    },
    settle: async () => {
      do await drained()
      while (step(false))
    },
  }
}

/** Resolves when every promise that can has gone on: the queue of ticks is looked at when that of microtasks is empty. */
function drained(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve))
}

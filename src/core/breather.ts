import { type Clock, systemClock } from './clock.ts'

/** Rule 6 says 10 ms. */
const YIELD_EVERY_MS = 8

/**
 * What a loop calls between two steps: timers, I/O and the signals of the process are let in at least every 8 ms, also where all that
 * is awaited is at hand, as with SQLite and logs in memory.
 */
export function breather(clock: Clock = systemClock): () => Promise<void> {
  let yieldedAt = clock.now()
  return async () => {
    const elapsedMs = clock.now() - yieldedAt
    if (elapsedMs >= 0 && elapsedMs < YIELD_EVERY_MS) return
    await clock.yield()
    yieldedAt = clock.now()
  }
}

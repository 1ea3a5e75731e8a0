import { setImmediate as immediate } from 'node:timers/promises'
import type { Clock } from '../../src/core/index.ts'

/** Everything goes on that can; a run lets the event loop in now and then, so once would not do. */
export async function turns(): Promise<void> {
  for (let i = 0; i < 5; i++) await immediate()
}

/** A clock by which the 10 s that `run` gives a consumer to stop never pass: simulated time would let them pass at once. */
export function patient(clock: Clock): Clock {
  const sleep: Clock['sleep'] = (ms, signal) =>
    ms !== 10_000
      ? clock.sleep(ms, signal)
      : new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason), { once: true }))
  return { ...clock, sleep }
}

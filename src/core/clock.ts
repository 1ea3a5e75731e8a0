import { setImmediate as immediate } from 'node:timers/promises'

/** Time, as everything here sees it, so that schedules can be simulated. */
export interface Clock {
  /** Epoch in ms. */
  now(): number
  /** Resolves after `ms`, or rejects with the signal's reason as soon as it aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
  /** Lets timers and I/O run. */
  yield(): Promise<void>
}

const LONGEST_TIMER_MS = 2 ** 31 - 1

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      let left = ms
      let timer: NodeJS.Timeout
      const onAbort = (): void => {
        clearTimeout(timer)
        reject(signal?.reason)
      }
      const wait = (): void => {
        // A longer timer would fire at once.
        const part = Math.min(left, LONGEST_TIMER_MS)
        left -= part
        timer = setTimeout(() => {
          if (left > 0) return wait()
          signal?.removeEventListener('abort', onAbort)
          resolve()
        }, part)
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      wait()
    }),
  yield: () => immediate(),
}

import type { Clock } from '../core/clock.ts'

/** Wakes the streams of one table that wait at its head, within this process. A hint only: they poll as well. */
export interface Wakeups {
  /** Call it after the commit of an insert. */
  wake(): void
  /** How often `wake` has been called. Take it before the query whose emptiness makes you wait. */
  count(): number
  /** Waits for a wake-up after `since`, but no longer than `ms`. Rejects with the signal's reason. */
  wait(since: number, ms: number, options: { readonly clock: Clock; readonly signal: AbortSignal }): Promise<void>
}

/** Makes the wake-ups of one table. */
export function createWakeups(): Wakeups {
  let count = 0
  const waiting = new Set<() => void>()
  return {
    wake: () => {
      count++
      for (const each of waiting) each()
    },
    count: () => count,
    wait: async (since, ms, { clock, signal }) => {
      signal.throwIfAborted()
      if (count !== since) return
      const ended = new AbortController()
      const wake = (): void => ended.abort()
      waiting.add(wake)
      signal.addEventListener('abort', wake, { once: true })
      try {
        await clock.sleep(ms, ended.signal)
      } catch (error) {
        signal.throwIfAborted()
        if (!ended.signal.aborted) throw error
      } finally {
        waiting.delete(wake)
        signal.removeEventListener('abort', wake)
      }
    },
  }
}

import type { Clock } from '../core/clock.ts'
import type { Notifier } from '../core/notifier.ts'

/** Wakes the streams of one table that wait at its head, within this process and by a notifier. A hint only: they poll as well. */
export interface Wakeups {
  /** Call it after the commit of an insert. */
  wake(): void
  /** How often it was woken. Take it before the query whose emptiness makes you wait. */
  count(): number
  /** Waits for a wake-up after `since`, but no longer than `ms`. Rejects with the signal's reason. */
  wait(since: number, ms: number, options: { readonly clock: Clock; readonly signal: AbortSignal }): Promise<void>
  /** Hears the hints of other processes until the signal aborts. */
  listen(signal: AbortSignal): void
}

/** Options of `createWakeups`. */
export interface WakeupsOptions {
  /** Carries wake-ups between the processes that share the log. Default: none, they find what others commit by polling. */
  readonly notifier?: Notifier
  /** Is told, once, that the notifier has failed; streams go on by polling. Must not throw. */
  readonly onNotifierFailed?: (error: unknown) => void
}

/** Makes the wake-ups of one table. */
export function createWakeups({ notifier, onNotifierFailed }: WakeupsOptions = {}): Wakeups {
  let count = 0
  const waiting = new Set<() => void>()
  let isTold = false
  let isPublishing = false
  let isNews = false // since the hint that is under way

  const wakeHere = (): void => {
    count++
    for (const each of waiting) each()
  }
  const tell = (error: unknown): void => {
    if (!isTold) onNotifierFailed?.(error)
    isTold = true
  }
  const publish = async (to: Notifier): Promise<void> => {
    isNews = true
    if (isPublishing) return
    isPublishing = true
    try {
      while (isNews) {
        isNews = false
        await to.notify()
      }
    } catch (error) {
      tell(error)
    } finally {
      isPublishing = false
    }
  }
  const hear = async (from: Notifier, signal: AbortSignal): Promise<void> => {
    try {
      await from.subscribe(() => wakeHere(), signal) // each subscription has a listener of its own
    } catch (error) {
      if (!signal.aborted) tell(error)
    }
  }
  return {
    wake: () => {
      wakeHere()
      if (notifier !== undefined) void publish(notifier)
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
    listen: (signal) => {
      if (notifier !== undefined) void hear(notifier, signal)
    },
  }
}

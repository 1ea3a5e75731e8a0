import type { Clock } from '../../core/clock.ts'

/** A stream that cannot go on because a transaction holds an id, or a lock on the table. */
export interface Blocked {
  /** Name of the log. */
  readonly name: string
  /** Who is in the way, in words for an operator. */
  readonly holder: string
  /** For how long it has been waited for, in ms. */
  readonly blockedMs: number
}

/** Asks again and again until nothing is in the way any more: `ask` resolves with what is, or undefined. */
export type Wait = (
  ask: () => Promise<string | undefined>,
  options?: { readonly minPauseMs?: number; readonly maxPauseMs?: number },
) => Promise<void>

const MIN_PAUSE_MS = 2
const MAX_PAUSE_MS = 50
const REPORT_AFTER_MS = 1000

/** Makes the waiting for one cause: `onBlocked` is told after 1 s, 2 s, 4 s and so on. */
export function createWait(
  name: string,
  {
    clock,
    signal,
    onBlocked,
  }: { clock: Clock; signal: AbortSignal | undefined; onBlocked: ((blocked: Blocked) => void) | undefined },
): Wait {
  const since = clock.now()
  let reportAt = since + REPORT_AFTER_MS
  return async (ask, { minPauseMs = MIN_PAUSE_MS, maxPauseMs = MAX_PAUSE_MS } = {}) => {
    for (let pause = minPauseMs; ; pause = Math.min(maxPauseMs, pause * 2)) {
      signal?.throwIfAborted()
      const holder = await ask()
      if (holder === undefined) return
      const blockedMs = clock.now() - since
      if (since + blockedMs >= reportAt) {
        reportAt = since + 2 * blockedMs
        onBlocked?.({ name, holder, blockedMs })
      }
      await clock.sleep(pause, signal)
    }
  }
}

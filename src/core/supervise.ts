import { type Clock, systemClock } from './clock.ts'
import { codeOf, type ErrorKind, errorKind, isRetriable, ReflexError } from './errors.ts'
import { combineObservers, type Observer } from './observer.ts'
import type { Ended } from './run.ts'

/** Options of `supervise`. */
export interface SuperviseOptions {
  /** Ends the attempt and the waiting in between. */
  readonly signal?: AbortSignal | undefined
  /** After the abort, an attempt that has not settled within this is given up with an error. In ms, default 10,000. */
  readonly graceMs?: number | undefined
  /** The longest wait before the first new attempt; doubles with each failure. In ms, default 100. */
  readonly minDelayMs?: number | undefined
  /** The longest wait of all. In ms, default 30,000. */
  readonly maxDelayMs?: number | undefined
  /** Default: the machine's clock. */
  readonly clock?: Clock | undefined
  /** From 0 to below 1; default `Math.random`. */
  readonly random?: (() => number) | undefined
  /** Is told what happens, restarts included. Default: nobody. */
  readonly observer?: Observer | undefined
}

/** What an attempt is given: pass it on to `run` or `bridge`. */
export interface AttemptOptions {
  readonly signal: AbortSignal | undefined
  readonly clock: Clock
  readonly observer: Observer
}

/**
 * What is mended from outside while this waits: permissions are granted again, room is made, a replica becomes the primary, a limit
 * is raised, an event is skipped. Nobody then has to start anything.
 */
const MENDED_OUTSIDE: ReadonlySet<ErrorKind> = new Set(['auth', 'quota', 'read-only', 'oversize', 'poison'])

/** After so many conflicts with another runner it is certain that there is one. */
const DUELS = 3

/**
 * Starts `attempt` again after each failure that may pass, with exponential back-off and full jitter, reset by progress.
 * Rejects at once on what is not retriable (a trimmed, ahead or invalid cursor, an option, a configuration), unless it is of a kind
 * that is mended from outside (`auth`, `quota`, `read-only`, `oversize`, `poison`): that is tried again as well, `auth` only every
 * `maxDelayMs`, since a login that is tried all the time may lock the account. Rejects with
 * `ANOTHER_RUNNER` after three conflicts in a row with another runner of the same name. A cursor reset by an operator is
 * no failure: the next attempt starts from it.
 *
 * @example await supervise((o) => run({ stream, cursors, consumer }, o), { signal })
 */
export async function supervise<T extends Ended>(
  attempt: (options: AttemptOptions) => Promise<T>,
  options: SuperviseOptions = {},
): Promise<T | Ended> {
  const {
    signal,
    graceMs = 10_000,
    minDelayMs = 100,
    maxDelayMs = 30_000,
    clock = systemClock,
    random = Math.random,
    observer,
  } = options
  let failures = 0
  let duels = 0
  for (;;) {
    let progress = false
    const watch: Observer = {
      // Not what was handled: where nothing can be saved, the same events are handled in each attempt.
      saved: () => {
        progress = true
      },
    }
    let error: unknown
    try {
      return await withinGrace(attempt({ signal, clock, observer: combineObservers(observer, watch) }), {
        signal,
        graceMs,
        clock,
      })
    } catch (thrown) {
      error = thrown
    }
    const kind = errorKind(error)
    if (!isRetriable(error) && !MENDED_OUTSIDE.has(kind)) throw error
    if (signal?.aborted) return { reason: 'aborted', error }
    let delayMs = 0
    if (wasReset(error)) {
      failures = 0
      duels = 0
    } else {
      const duel = ['CURSOR_CONFLICT', 'FENCED'].includes(codeOf(error) ?? '')
      duels = duel ? duels + 1 : 0
      if (duels === DUELS) {
        throw new ReflexError(
          'ANOTHER_RUNNER',
          `another runner is alive: it took over ${DUELS} times in a row. Stop one of the two, or give each its own name.`,
          { cause: error, retriable: false },
        )
      }
      failures = progress && !duel ? 1 : failures + 1
      delayMs = duel || kind === 'auth' ? maxDelayMs : random() * Math.min(maxDelayMs, minDelayMs * 2 ** (failures - 1))
    }
    observer?.restarting?.({ delayMs, failures, error })
    try {
      await clock.sleep(delayMs, signal)
    } catch {
      return { reason: 'aborted', error } // the sleep ends early for the signal alone
    }
  }
}

/** True if an operator's reset ended the attempt; looks through the RunError around it. */
function wasReset(error: unknown): boolean {
  for (let e = error; typeof e === 'object' && e !== null; e = (e as { cause?: unknown }).cause) {
    if ((e as { reset?: unknown }).reset === true) return true
  }
  return false
}

async function withinGrace<T>(
  work: Promise<T>,
  { signal, graceMs, clock }: { signal: AbortSignal | undefined; graceMs: number; clock: Clock },
): Promise<T> {
  if (signal === undefined) return work
  const settled = new AbortController()
  const late = Promise.withResolvers<never>()
  const onAbort = (): void => {
    clock.sleep(graceMs, settled.signal).then(
      () =>
        late.reject(
          new ReflexError(
            'GRACE_EXCEEDED',
            `what was supervised has not settled ${graceMs} ms after the abort: its handler does not heed the signal it is given, or graceMs is too short`,
            { retriable: false },
          ),
        ),
      () => {},
    )
  }
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([work, late.promise])
  } finally {
    settled.abort()
    signal.removeEventListener('abort', onAbort)
  }
}

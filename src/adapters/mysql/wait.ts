import type { Clock } from '../../core/clock.ts'
import { OptionError } from '../../core/errors.ts'
import type { Blocked as BlockedSource } from '../../core/stream.ts'
import { GapBlockedError } from './gap-blocked-error.ts'

/** A stream that cannot go on because a transaction holds an id, or a lock on the table. */
export interface Blocked extends BlockedSource {
  /** Name of the log. */
  readonly name: string
}

/** Who is in the way. */
export interface Holder {
  /** In words for an operator. */
  readonly text: string
  /** The id of its connection, as in the process list. */
  readonly connection?: unknown
  /** The id of its thread in performance_schema. */
  readonly thread?: unknown
}

/** What the server tells more of a holder. */
export type HolderDetails = Omit<BlockedSource, 'holder' | 'blockedMs'>

/** Asks again and again until nothing is in the way any more: `ask` resolves with what is, or undefined. */
export type Wait = (
  ask: () => Promise<string | Holder | undefined>,
  options?: { readonly minPauseMs?: number; readonly maxPauseMs?: number },
) => Promise<void>

/** Options of `createWaits`. */
export interface WaitsOptions {
  readonly clock: Clock
  /** How long may be waited for one cause; undefined waits for ever. */
  readonly gapTimeoutMs?: number | undefined
  /** Is told after 1 s, 2 s, 4 s and so on. */
  readonly onBlocked?: ((blocked: Blocked) => void) | undefined
}

/** All the waiting for one table. */
export interface Waits {
  /** What is in the way now; where several streams wait, of the one that does for longest. */
  blocked(): Blocked | undefined
  /**
   * Makes the waiting for one cause, which ends by the signal, and with a `GapBlockedError` when it takes too long. `describe`
   * is asked about who is in the way for 1 s or more.
   */
  start(signal: AbortSignal | undefined, describe: (holder: Holder) => Promise<HolderDetails>): Wait
}

const MIN_PAUSE_MS = 1
const MAX_PAUSE_MS = 50
const REPORT_AFTER_MS = 1000

/** Makes the waiting for one table, of the log `name`. */
export function createWaits(name: string, { clock, gapTimeoutMs, onBlocked }: WaitsOptions): Waits {
  if (gapTimeoutMs !== undefined && !(gapTimeoutMs > 0)) {
    throw new OptionError(`gapTimeoutMs must be more than 0 ms, or undefined to wait for ever, but is ${gapTimeoutMs}`)
  }
  const waiting = new Set<() => Blocked>()

  return {
    blocked: () => {
      const all = [...waiting].map((each) => each())
      return all.sort((a, b) => b.blockedMs - a.blockedMs)[0]
    },
    start: (signal, describe) => {
      const since = clock.now()
      let reportAt = since + Math.min(REPORT_AFTER_MS, gapTimeoutMs ?? REPORT_AFTER_MS)
      return async (ask, { minPauseMs = MIN_PAUSE_MS, maxPauseMs = MAX_PAUSE_MS } = {}) => {
        let holder = ''
        let details: HolderDetails = {}
        const blocked = (): Blocked => ({
          name,
          holder: inWords(holder, details),
          blockedMs: clock.now() - since,
          ...details,
        })
        try {
          for (let pause = minPauseMs; ; pause = Math.min(maxPauseMs, pause * 2)) {
            signal?.throwIfAborted()
            const found = await ask()
            if (found === undefined) return
            const inTheWay = typeof found === 'string' ? { text: found } : found
            if (inTheWay.text !== holder) details = {}
            holder = inTheWay.text
            waiting.add(blocked)
            if (clock.now() >= reportAt) {
              details = await describe(inTheWay)
              const now = blocked()
              reportAt = since + 2 * now.blockedMs
              onBlocked?.(now)
              if (gapTimeoutMs !== undefined) {
                if (now.blockedMs >= gapTimeoutMs) throw new GapBlockedError(name, now, gapTimeoutMs)
                reportAt = Math.min(reportAt, since + gapTimeoutMs)
              }
            }
            await clock.sleep(pause, signal)
          }
        } finally {
          waiting.delete(blocked)
        }
      }
    },
  }
}

function inWords(holder: string, { connectionId, user, transactionStartedAt }: HolderDetails): string {
  const known = [
    connectionId === undefined ? '' : `connection ${connectionId}`,
    user === undefined ? '' : `of ${user}`,
    transactionStartedAt === undefined
      ? ''
      : `whose transaction began at ${new Date(transactionStartedAt).toISOString()}`,
  ].filter(Boolean)
  return known.length === 0 ? holder : `${holder} (${known.join(' ')})`
}

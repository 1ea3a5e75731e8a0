import { type Clock, systemClock } from '../core/clock.ts'
import type { Consumer } from '../core/consumer.ts'
import { codeOf, messageOf } from '../core/errors.ts'
import type { Observer } from '../core/observer.ts'
import { forwardConsumer } from './forward-consumer.ts'
import { afterRecover, handleAgain, nextDelay } from './handle-again.ts'
import { refuseBackground } from './refuse-members.ts'
import { noRetry, type RetryPolicy } from './retry-policy.ts'

/** Options of `bestEffort`. */
export interface BestEffortOptions {
  /** When an event is tried again, and when it is given up. Default: `noRetry`, given up at its first failure. */
  readonly policy?: RetryPolicy | undefined
  /** Its `passed` is told of each event that is skipped. Default: nobody. */
  readonly observer?: Pick<Observer, 'passed'> | undefined
  /** Default: the machine's clock. */
  readonly clock?: Clock | undefined
  /** From 0 to below 1. Default: `Math.random`. */
  readonly random?: (() => number) | undefined
}

/** A consumer that skips what it cannot handle. */
export interface BestEffortConsumer extends Consumer {
  /** How many events were skipped since it was made. */
  skipped(): number
}

/**
 * Skips an event that its filter or handler fails at, once `policy` stops: it then counts as done. Only for what may be lost; see
 * `deadLetter` for what may not. The consumer's own `recover` is asked first. Never skipped: an event that failed after the abort, or
 * with an error of the kind `fenced`, and one whose handler is still at work (`HANDLER_STUCK`); these fail the run.
 *
 * Throws an `OptionError` for a consumer with `settled`: what fails in its background is not seen here.
 *
 * @example bestEffort(thumbnails, { policy: stopAfterAttempts(constant(50), 3), observer: { passed: ({ reason }) => log.warn(reason) } })
 */
export function bestEffort(
  consumer: Consumer,
  { policy = noRetry, observer, clock = systemClock, random = Math.random }: BestEffortOptions = {},
): BestEffortConsumer {
  refuseBackground('bestEffort', consumer)
  let skipped = 0
  return {
    ...forwardConsumer(consumer),
    ...handleAgain(consumer, {
      clock,
      failed: async (failure) => {
        const { error, event, attempt, elapsedMs } = failure
        if (codeOf(error) === 'HANDLER_STUCK') throw error
        const delay = nextDelay(policy, { error, attempt, elapsedMs, random: random() })
        if (delay !== 'stop') return delay
        const given = await afterRecover(consumer, failure)
        if (given !== undefined) {
          skipped++
          observer?.passed?.({ eventId: event.id, as: 'skipped', reason: messageOf(given.error) })
        }
        return 'pass'
      },
    }),
    skipped: () => skipped,
  }
}

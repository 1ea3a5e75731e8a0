import { type Clock, systemClock } from '../core/clock.ts'
import type { Consumer } from '../core/consumer.ts'
import { codeOf } from '../core/errors.ts'
import type { BatchConsumer } from './batch.ts'
import { forwardConsumer } from './forward-consumer.ts'
import { handleAgain, nextDelay } from './handle-again.ts'
import { refuseBackground } from './refuse-members.ts'
import type { RetryPolicy } from './retry-policy.ts'

/** Options of `retry`. */
export interface RetryOptions {
  /** Default: the machine's clock. */
  readonly clock?: Clock | undefined
  /** From 0 to below 1. Default: `Math.random`. */
  readonly random?: (() => number) | undefined
}

/**
 * Calls the handler again for an event that failed, in place, as `policy` says; when it stops, the last error goes to the
 * consumer's `recover`, or else fails the run. An abort ends the waiting at once. Not tried again: what is thrown after the abort,
 * what is of the kind `fenced`, and a handler that is still at work (`HANDLER_STUCK`). The attempts are not stored: after a
 * restart they are counted anew.
 *
 * Of a `BatchConsumer` it is the batch, all of it, that is tried again. Throws an `OptionError` for a consumer with `settled`, as
 * `batch`, `concurrent` and `ack` make: what fails in its background is not seen here. Inside of them it is.
 *
 * @example run({ stream, cursors, consumer: retry(mailer, stopAfterAttempts(withJitter(exponential(100)), 5)) })
 */
export function retry(consumer: Consumer, policy: RetryPolicy, options?: RetryOptions): Consumer
/** The same for batches. */
export function retry(consumer: BatchConsumer, policy: RetryPolicy, options?: RetryOptions): BatchConsumer
export function retry(
  given: Consumer | BatchConsumer,
  policy: RetryPolicy,
  { clock = systemClock, random = Math.random }: RetryOptions = {},
): Consumer | BatchConsumer {
  const consumer = given as Consumer // what it is given, it hands on
  refuseBackground('retry', consumer, ['batch', 'concurrent', 'ack'])
  const { handle } = handleAgain(consumer, {
    clock,
    failed: async ({ error, attempt, elapsedMs }) => {
      if (codeOf(error) === 'HANDLER_STUCK') throw error
      const delay = nextDelay(policy, { error, attempt, elapsedMs, random: random() })
      if (delay === 'stop') throw error
      return delay
    },
  })
  return { ...forwardConsumer(consumer), handle }
}

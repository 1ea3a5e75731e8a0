import type { Clock } from '../core/clock.ts'
import type { Consumer } from '../core/consumer.ts'
import { errorKind, OptionError } from '../core/errors.ts'
import type { Event } from '../core/event.ts'
import type { Failure, RetryPolicy } from './retry-policy.ts'

/** What a handler is given beside the event. */
export type Context = Parameters<Consumer['handle']>[1]

/** An attempt at an event that has failed, for whoever decides what follows. */
export interface FailedAttempt extends Omit<Failure, 'random'> {
  readonly event: Event
  readonly context: Context
}

/** Options of `handleAgain`. */
export interface HandleAgainOptions {
  readonly clock: Clock
  /** Resolves with the ms to wait until the next attempt, or with `pass`; what it rejects with fails the event. Not asked about an expected error. */
  failed(attempt: FailedAttempt): Promise<number | 'pass'>
  /** The event was handled. Default: nothing is done. */
  handled?(event: Event, context: Context): Promise<void> | undefined
}

/**
 * The handler of `consumer`, which is called again for an event that failed as often as `failed` says. A handler that succeeds
 * at once costs no await. `recover` takes errors of the filter through the same.
 */
export function handleAgain(
  consumer: Consumer,
  { clock, failed, handled = () => undefined }: HandleAgainOptions,
): Required<Pick<Consumer, 'handle' | 'recover'>> {
  /** What was thrown in the end, by event. */
  const thrown = new WeakMap<Event, unknown>()

  async function again(first: unknown, event: Event, context: Context, filters: boolean): Promise<void> {
    const since = clock.now()
    for (let attempt = 1, error = first; ; attempt++) {
      if (isExpected(error, context)) throw error
      const elapsedMs = Math.max(0, clock.now() - since)
      const next = await failed({ error, event, attempt, elapsedMs, context })
      if (next === 'pass') return
      await clock.sleep(next, context.signal)
      try {
        if (!filters || (consumer.filter?.(event) ?? true)) await consumer.handle(event, context)
      } catch (failure) {
        error = failure
        continue
      }
      return handled(event, context)
    }
  }
  /** Notes what is thrown in the end, so that `recover` is not asked about it again. */
  const noted = async (event: Event, work: Promise<void>): Promise<void> => {
    try {
      await work
    } catch (last) {
      thrown.set(event, last)
      throw last
    }
  }
  const whenHandled = (event: Event, context: Context): Promise<void> | undefined => {
    const work = handled(event, context)
    return work && noted(event, work)
  }

  return {
    handle: (event, context) => {
      let work: void | Promise<void>
      try {
        work = consumer.handle(event, context)
      } catch (error) {
        return noted(event, again(error, event, context, false))
      }
      if (!isThenable(work)) return whenHandled(event, context)
      return work.then(
        () => whenHandled(event, context),
        (error) => noted(event, again(error, event, context, false)),
      )
    },
    recover: (error, event, context) => {
      const isLast = thrown.has(event) && thrown.get(event) === error
      thrown.delete(event)
      if (isLast) throw error
      return again(error, event, context, true)
    },
  }
}

/** The delay until the next attempt, or `stop`. Throws `OPTION_INVALID` where the policy says neither. */
export function nextDelay(policy: RetryPolicy, failure: Failure): number | 'stop' {
  const delay = policy(failure)
  if (delay === 'stop' || (delay >= 0 && Number.isFinite(delay))) return delay
  throw new OptionError(
    `a retry policy must return the delay in ms, 0 or more, or 'stop', but after attempt ${failure.attempt} it returned ${delay}`,
    failure.error,
  )
}

/** What `recover` of a consumer makes of an error in the end: undefined if it swallows it. */
export async function afterRecover(
  consumer: Consumer,
  { error, event, context }: Pick<FailedAttempt, 'error' | 'event' | 'context'>,
): Promise<{ readonly error: unknown } | undefined> {
  if (consumer.recover === undefined) return { error }
  try {
    await consumer.recover(error, event, context)
    return undefined
  } catch (thrown) {
    if (isExpected(thrown, context)) throw thrown
    return { error: thrown }
  }
}

/** Whether it says nothing about the event: the run has ended, or another runner has taken over. */
export function isExpected(error: unknown, { signal }: Context): boolean {
  return signal.aborted || errorKind(error) === 'fenced'
}

/** Whether a handler is asynchronous this time. */
export function isThenable(work: void | Promise<void>): work is Promise<void> {
  return typeof (work as PromiseLike<void> | undefined)?.then === 'function'
}

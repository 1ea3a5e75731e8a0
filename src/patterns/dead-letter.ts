import { type Clock, systemClock } from '../core/clock.ts'
import type { Consumer } from '../core/consumer.ts'
import { codeOf, errorKind, isRetriable, messageOf, ReflexError } from '../core/errors.ts'
import type { Event } from '../core/event.ts'
import type { Observer } from '../core/observer.ts'
import { forwardConsumer } from './forward-consumer.ts'
import { afterRecover, type Context, handleAgain, nextDelay } from './handle-again.ts'
import { oneRun } from './one-run.ts'
import { refuseBackground } from './refuse-members.ts'
import type { RetryPolicy } from './retry-policy.ts'

/** An event that a consumer has failed at, and has not gone past. */
export interface FailingLetter {
  readonly id: string
  readonly eventId: string
  /** How often it has failed. */
  readonly attempts: number
  /** When it failed first: epoch in ms, by the store's clock. */
  readonly createdAt: number
}

/**
 * Where a consumer's failed events are kept: `mysqlDeadLetters` and `sqliteDeadLetters` are such, `memoryLetters` for tests.
 *
 * An implementer promises: what has resolved is durable; there is one letter of a consumer and an event's id.
 */
export interface Letters {
  /**
   * Counts a failed attempt at an event that will be tried again. Its letter is `failing`, unless it is open already; one that was
   * resolved begins anew.
   */
  attempt(
    consumer: string,
    error: unknown,
    event: Event,
    options?: { readonly signal?: AbortSignal },
  ): Promise<FailingLetter>
  /** Keeps the event as a dead letter: opens its letter. */
  record(consumer: string, error: unknown, event: Event, options?: { readonly signal?: AbortSignal }): Promise<void>
  /** A page of the letters of a consumer that are failing, in order; those after the letter `after`. */
  list(options: {
    readonly consumer: string
    readonly status: 'failing'
    readonly after?: string | undefined
    readonly limit?: number | undefined
    readonly signal?: AbortSignal | undefined
  }): Promise<readonly FailingLetter[]>
  /** Closes a letter. */
  resolve(id: string): Promise<void>
}

/** Options of `deadLetter`. */
export interface DeadLetterOptions {
  readonly letters: Letters
  /** When an event is tried again, in place, and when it is given up. Its attempts and its time count on over restarts. */
  readonly policy: RetryPolicy
  /** Its `passed` is told of each event that becomes a dead letter. Default: nobody. */
  readonly observer?: Pick<Observer, 'passed'> | undefined
  /** Default: the machine's clock. */
  readonly clock?: Clock | undefined
  /** From 0 to below 1. Default: `Math.random`. */
  readonly random?: (() => number) | undefined
}

const PAGE = 100

/**
 * Goes past an event that its filter or handler keeps failing at, once `policy` stops, and keeps it as a dead letter. Each failed
 * attempt is stored before the next one, so a restart does not begin anew. If it, or the letter, cannot be stored, the run fails with
 * `DEAD_LETTER_UNRECORDED`, and the cursor does not pass the event. The consumer's own `recover` is asked first. Neither counted
 * nor recorded: what is thrown after the abort, and errors of the kind `fenced`.
 *
 * A handler that is stuck (see `withTimeout`) fails the run for good, at each attempt; the last one is recorded, and passed, before.
 *
 * It is for one run at a time; another one is refused with `CONSUMER_IN_USE`. Throws an `OptionError` for a consumer with `settled`:
 * what fails in its background is not seen here.
 *
 * @example deadLetter(mailer, { letters: mysqlDeadLetters(pool), policy: stopAfterAttempts(withJitter(exponential(100)), 5) })
 */
export function deadLetter(
  consumer: Consumer,
  { letters, policy, observer, clock = systemClock, random = Math.random }: DeadLetterOptions,
): Consumer {
  const { name } = consumer
  refuseBackground('deadLetter', consumer)
  const guard = oneRun(`deadLetter of consumer ${JSON.stringify(name)}`)
  /** The letters, by event, of those that are to be closed when the event is handled. */
  const failing = new Map<string, string>()
  let failRun: (error: unknown) => void = () => {}

  async function stored<T>(write: () => Promise<T>, error: unknown, event: Event, { signal }: Context): Promise<T> {
    try {
      return await write()
    } catch (cause) {
      if (signal.aborted) throw cause
      throw new ReflexError(
        'DEAD_LETTER_UNRECORDED',
        `consumer ${JSON.stringify(name)}: event ${event.id} has failed (${messageOf(error)}), which could not be recorded: ${messageOf(cause)}. The cursor does not pass it: see to the dead letters`,
        { cause, kind: errorKind(cause), retriable: isRetriable(cause), eventId: event.id },
      )
    }
  }
  async function close(eventId: string): Promise<void> {
    const id = failing.get(eventId)
    if (id === undefined) return
    await letters.resolve(id)
    failing.delete(eventId)
  }

  const { handle, recover } = handleAgain(consumer, {
    clock,
    failed: async ({ error, event, context }) => {
      const { signal } = context
      const stuck = codeOf(error) === 'HANDLER_STUCK'
      const letter = await stored(() => letters.attempt(name, error, event, { signal }), error, event, context)
      failing.set(event.id, letter.id)
      const elapsedMs = Math.max(0, clock.now() - letter.createdAt)
      const delay = nextDelay(policy, { error, attempt: letter.attempts, elapsedMs, random: random() })
      if (delay !== 'stop') {
        if (stuck) throw error
        return delay
      }
      const given = stuck ? { error } : await afterRecover(consumer, { error, event, context })
      if (given === undefined) {
        await close(event.id)
        return 'pass'
      }
      await stored(() => letters.record(name, given.error, event, { signal }), given.error, event, context)
      failing.delete(event.id)
      observer?.passed?.({ eventId: event.id, as: 'dead letter', reason: messageOf(given.error) })
      if (stuck) failRun(error) // what is at work must not go on unnoticed, but need not be met again
      return 'pass'
    },
    handled: ({ id }) => (failing.has(id) ? close(id) : undefined),
  })
  async function findFailing(signal: AbortSignal): Promise<void> {
    failing.clear()
    for (let after: string | undefined; ; ) {
      const page = await letters.list({ consumer: name, status: 'failing', after, limit: PAGE, signal })
      for (const { eventId, id } of page) failing.set(eventId, id)
      if (page.length < PAGE) return
      after = page.at(-1)?.id
    }
  }

  return {
    ...forwardConsumer(consumer),
    start: async (context) => {
      guard.enter(context)
      try {
        failRun = context.fail
        await findFailing(context.signal)
        await consumer.start?.(context)
      } catch (error) {
        guard.leave()
        throw error
      }
      guard.entered()
    },
    handle: (event, context) => {
      guard.check()
      return handle(event, context)
    },
    recover,
    stop: async (context) => {
      try {
        await consumer.stop?.(context)
      } finally {
        guard.leave()
      }
    },
  }
}

import { type Clock, systemClock } from '../core/clock.ts'
import type { Consumer } from '../core/consumer.ts'
import { OptionError, ReflexError } from '../core/errors.ts'
import type { Event } from '../core/event.ts'
import type { BatchConsumer } from './batch.ts'
import { forwardConsumer } from './forward-consumer.ts'
import { type Context, isThenable } from './handle-again.ts'
import { refuseBackground } from './refuse-members.ts'

/** Options of `withTimeout`. */
export interface TimeoutOptions {
  /** How long an event may take, in ms. */
  readonly timeoutMs: number
  /** How long its handler then has to end, in ms, before it counts as stuck. Default: 10,000. */
  readonly graceMs?: number | undefined
  /** Default: the machine's clock. */
  readonly clock?: Clock | undefined
}

/**
 * Aborts the signal of a handler that takes longer than `timeoutMs`, waits until it has ended, and throws `HANDLER_TIMEOUT`, whether
 * it has succeeded in the meantime or not: a handler that returns when it is aborted has not handled its event. One that does not
 * heed its signal within `graceMs` is `HANDLER_STUCK`, which is not retriable: it is still at work, so that nothing may handle
 * the event beside it, and only the end of the process ends it. A handler that is synchronous cannot be interrupted.
 *
 * Of a `BatchConsumer` it is the batch that is timed. Throws an `OptionError` on a time that is none, and for a consumer with `settled`,
 * as `batch`, `concurrent` and `ack` make: how long its work in the background takes is not seen here. Inside of them it is.
 *
 * @example deadLetter(withTimeout(mailer, { timeoutMs: 5_000 }), { letters, policy })
 */
export function withTimeout(consumer: Consumer, options: TimeoutOptions): Consumer
/** The same for batches. */
export function withTimeout(consumer: BatchConsumer, options: TimeoutOptions): BatchConsumer
export function withTimeout(
  given: Consumer | BatchConsumer,
  { timeoutMs, graceMs = 10_000, clock = systemClock }: TimeoutOptions,
): Consumer | BatchConsumer {
  const consumer = given as Consumer
  refuseBackground('withTimeout', consumer, ['batch', 'concurrent', 'ack'])
  for (const [name, value] of Object.entries({ timeoutMs, graceMs })) {
    if (!(value >= 0 && Number.isFinite(value)))
      throw new OptionError(
        `${name} of consumer ${JSON.stringify(consumer.name)} must be 0 or more ms, but is ${value}`,
      )
  }
  const at = (what: string): string => `consumer ${JSON.stringify(consumer.name)}: ${what}`

  async function inTime(
    work: Promise<void>,
    { what, eventId }: { readonly what: string; readonly eventId: string },
    own: AbortController,
    { signal }: Context,
  ): Promise<void> {
    if ((await within(work, timeoutMs)) || signal.aborted) return work
    const timeout = new ReflexError('HANDLER_TIMEOUT', `${at(what)} was not handled within ${timeoutMs} ms`, {
      eventId,
    })
    own.abort(timeout)
    if (await within(work, graceMs)) throw timeout
    throw new ReflexError(
      'HANDLER_STUCK',
      `${at(what)} was not handled within ${timeoutMs} ms, and ${graceMs} ms later its handler is still at work: let it heed the signal that it is given, and start the process again`,
      { eventId, retriable: false, cause: timeout },
    )
  }
  /** Whether it has settled by then. */
  async function within(work: Promise<void>, ms: number): Promise<boolean> {
    const settled = new AbortController()
    const late = clock.sleep(ms, settled.signal).then(
      () => false,
      () => true,
    )
    const end = (): true => {
      settled.abort('settled') // a reason without a stack: nobody sees it
      return true
    }
    return Promise.race([work.then(end, end), late])
  }

  const timed: Consumer = {
    ...forwardConsumer(consumer),
    handle: (event, context) => {
      const own = new AbortController()
      // What an `ack` consumer has taken on is told of the end of the run after its handler has returned, too.
      const signal = AbortSignal.any([context.signal, own.signal])
      const work = consumer.handle(event, { ...context, signal })
      if (isThenable(work)) return inTime(Promise.resolve(work), described(event), own, context)
    },
  }
  return timed
}

/** What a handler was given: one event, or those of a batch. */
function described(given: Event | readonly Event[]): { readonly what: string; readonly eventId: string } {
  if (!Array.isArray(given)) return { what: `event ${(given as Event).id}`, eventId: (given as Event).id }
  const [first, last] = [given[0] as Event, given.at(-1) as Event]
  return { what: `batch of ${given.length} events, from ${first.id} to ${last.id}`, eventId: first.id }
}

import { untilAborted } from '../core/abort.ts'
import type { Consumer } from '../core/consumer.ts'
import { ReflexError } from '../core/errors.ts'
import type { Event } from '../core/event.ts'
import { checkLimit } from './check-limit.ts'
import { eventWindow } from './event-window.ts'
import { handlerError } from './handler-error.ts'
import { perRun, type RunOf, type RunState } from './per-run.ts'
import { refuseMembers } from './refuse-members.ts'

/** What a handler is given with each event. The first word on it counts; further ones do nothing. */
export interface AckContext {
  /** Aborts when the run ends. What is at work then has 10 s to say a last word. */
  readonly signal: AbortSignal
  /** The event is done. Throws `ACK_TOO_LATE` if the run has ended: it was not counted, and the event comes again. */
  ack(): void
  /** Ends the run with this error. After an abort, `fail(signal.reason)` gives the event up. */
  fail(error: unknown): void
}

/** What handles events and says later, in any order, that they are done. The rest is as in `Consumer`. */
export interface AckConsumer extends Pick<Consumer, 'name' | 'types' | 'filter' | 'start' | 'stop'> {
  /** Takes an event on. What it throws ends the run. */
  handle(event: Event, context: AckContext): void | Promise<void>
}

/** Options of `ack`. */
export interface AckOptions {
  /** The most events from the first on which nothing was said yet. When there are as many, the next one waits. Default: 1,000. */
  readonly maxUnacked?: number | undefined
}

/**
 * Makes a consumer whose events are done when that is said, by `ack`, not when the handler returns. The cursor moves only over what is
 * acknowledged without a gap. When a run ends it waits until there was a word on every event, for as long as `run` lets it, 10 s.
 *
 * It is for one run at a time; another one is refused with `CONSUMER_IN_USE`. Under `withLease` its handler is given the token.
 *
 * Throws an `OptionError` if `maxUnacked` is not a whole number from 1 on, and for a consumer with `recover` or `settled`.
 *
 * @example await run({ stream, cursors, consumer: ack({ name: 'print', handle: (event, { ack, fail }) => queue.push(event, (error) => (error ? fail(error) : ack())) }) })
 */
export function ack(consumer: AckConsumer, { maxUnacked = 1000 }: AckOptions = {}): Consumer {
  const { name, types, filter } = consumer
  const what = `ack consumer ${JSON.stringify(name)}`
  checkLimit(what, 'maxUnacked', maxUnacked)
  refuseMembers(what, consumer, 'settled', 'recover')

  return {
    name,
    ...(types === undefined ? {} : { types }),
    ...(filter === undefined ? {} : { filter: (event: Event) => filter.call(consumer, event) }),
    ...perRun(what, consumer, (of) => openEvents(consumer, maxUnacked, of)),
  }
}

/** The events of one run on which nothing was said yet. */
function openEvents(
  consumer: AckConsumer,
  maxUnacked: number,
  { signal, fail, contextOf, isTakenOver }: RunOf,
): RunState {
  const window = eventWindow(maxUnacked)
  const own = new AbortController()
  /** The run has ended early: by an abort, an error, or because its time to stop is over. */
  const ending = AbortSignal.any([signal, own.signal])
  let unsaid = 0
  let hasEnded = false
  let failure: { readonly error: unknown } | undefined
  let silence: PromiseWithResolvers<void> | undefined

  function offer(event: Event): void | Promise<void> {
    const place = window.add(event.id)
    const about = { what: `event ${event.id}`, eventId: event.id, signal: ending }
    let isSaid = false
    unsaid++
    const say = (): boolean => {
      if (isSaid) return false
      isSaid = true
      if (--unsaid === 0) silence?.resolve()
      return true
    }
    const failed = (error: unknown): unknown => {
      say()
      failure ??= { error: handlerError(error, about) }
      own.abort(failure.error)
      return failure.error
    }
    /** Ends the run whatever a decorator of this consumer makes of the error: no further event is taken on. */
    const thrown = (error: unknown): unknown => {
      const told = failed(error)
      if (!signal.aborted) fail(told)
      return told
    }
    const ack = (): void => {
      if (isSaid) return
      if (hasEnded)
        throw new ReflexError(
          'ACK_TOO_LATE',
          `event ${event.id} was acknowledged after the run of consumer ${JSON.stringify(consumer.name)} had ended: it is handled again. ` +
            'Heed the signal that comes with the event, and acknowledge within 10 s after it.',
          { retriable: false, eventId: event.id },
        )
      say()
      window.settle(place)
    }
    const giveUp = (error: unknown): void => {
      if (!isSaid && !hasEnded) fail(failed(error))
    }
    let work: void | Promise<void>
    try {
      work = consumer.handle(event, contextOf({ signal: ending, ack, fail: giveUp }))
    } catch (error) {
      throw thrown(error)
    }
    if (work === undefined) return
    return Promise.resolve(work).catch((error: unknown) => {
      throw thrown(error)
    })
  }

  return {
    take: (event) => {
      if (failure !== undefined) throw failure.error
      if (window.size < maxUnacked) return offer(event)
      return untilAborted(window.room(), ending).then(() => {
        if (isTakenOver() || ending.aborted) throw ending.reason // while it waited
        return offer(event)
      })
    },
    finish: async (limit) => {
      try {
        if (unsaid === 0) return
        silence = Promise.withResolvers()
        await untilAborted(silence.promise, limit)
      } finally {
        hasEnded = true
        own.abort(limit.reason)
      }
    },
    settled: () => window.settled(),
  }
}

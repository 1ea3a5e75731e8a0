import { untilAborted } from '../core/abort.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import type { Consumer } from '../core/consumer.ts'
import { OptionError } from '../core/errors.ts'
import type { Cursor, Event } from '../core/event.ts'
import { checkLimit } from './check-limit.ts'
import { handlerError } from './handler-error.ts'
import { perRun, type RunOf, type RunState } from './per-run.ts'
import { refuseMembers } from './refuse-members.ts'

/** What handles events in batches. Only `name` and `handle` are needed; the rest is as in `Consumer`. */
export interface BatchConsumer extends Pick<Consumer, 'name' | 'types' | 'filter' | 'start' | 'stop'> {
  /** Handles at least one event, in the order of the log; never called again before it has returned. What it throws ends the run. */
  handle(events: readonly Event[], context: { readonly signal: AbortSignal }): void | Promise<void>
}

/** Options of `batch`. At least one of the limits is needed; the one that is reached first counts. */
export interface BatchOptions {
  /** The most events in a batch. Default: no limit. */
  readonly maxEvents?: number | undefined
  /** The most bytes in a batch, of payloads, foreign ids and headers; a single event that is larger is a batch of its own. Default: no limit. */
  readonly maxBytes?: number | undefined
  /** How long an event waits for others, in ms. Default: no limit. */
  readonly maxAgeMs?: number | undefined
  /** Default: the machine's clock. */
  readonly clock?: Clock | undefined
}

/**
 * Makes a consumer that gathers events and handles them in batches, by count, size and age. The cursor moves only over what was
 * handled. An error ends the run at once, also one of a batch that is due by its age while no events come; the batch is made again
 * from its first event by the next run. When a run ends otherwise, what was gathered is handled as a smaller batch, unless another runner
 * has taken over. With `maxAgeMs` alone memory is not bounded but by what comes in that time.
 *
 * It is for one run at a time; another one is refused with `CONSUMER_IN_USE`. Under `withLease` its handler is given the token.
 *
 * Throws an `OptionError` if there is no limit, or one that is not a whole number from 1 on, and for a consumer with `recover` or `settled`.
 *
 * @example await run({ stream, cursors, consumer: batch({ name: 'report', handle: (events) => insertAll(events) }, { maxEvents: 500, maxAgeMs: 1000 }) })
 */
export function batch(consumer: BatchConsumer, options: BatchOptions): Consumer {
  const { name, types, filter } = consumer
  const { clock = systemClock, ...limits } = options
  const what = `batch of consumer ${JSON.stringify(name)}`
  const given = Object.entries(limits).filter(([, limit]) => limit !== undefined)
  if (given.length === 0) throw new OptionError(`${what}: at least one of maxEvents, maxBytes and maxAgeMs is needed`)
  for (const [option, limit] of given) checkLimit(what, option, limit as number)
  refuseMembers(what, consumer, 'settled', 'recover')
  const { maxEvents = Number.POSITIVE_INFINITY, maxBytes = Number.POSITIVE_INFINITY, maxAgeMs } = limits

  return {
    name,
    ...(types === undefined ? {} : { types }),
    ...(filter === undefined ? {} : { filter: (event: Event) => filter.call(consumer, event) }),
    ...perRun(what, consumer, (of) => gather(consumer, { maxEvents, maxBytes, maxAgeMs, clock }, of)),
  }
}

/** What one run gathers. */
function gather(
  consumer: BatchConsumer,
  {
    maxEvents,
    maxBytes,
    maxAgeMs,
    clock,
  }: {
    readonly maxEvents: number
    readonly maxBytes: number
    readonly maxAgeMs: number | undefined
    readonly clock: Clock
  },
  { signal, fail, contextOf, isTakenOver }: RunOf,
): RunState {
  let events: Event[] = []
  let bytes = 0
  let flushed: Cursor = ''
  let flushing: Promise<void> | undefined
  let failure: { readonly error: unknown } | undefined
  let timer: AbortController | undefined

  function flush(given: AbortSignal): void | Promise<void> {
    const ready = events
    const first = ready[0] as Event
    const last = ready[ready.length - 1] as Event
    events = []
    bytes = 0
    timer?.abort()
    timer = undefined
    const failed = (error: unknown): never => {
      const what = `batch of ${ready.length} events, from ${first.id} to ${last.id}`
      failure = { error: handlerError(error, { what, eventId: first.id, signal: given }) }
      // Whoever decorates this consumer knows of the last event alone, and must not go past that.
      if (!signal.aborted) fail(failure.error)
      throw failure.error
    }
    const done = (): void => {
      flushed = last.id
    }
    let work: void | Promise<void>
    try {
      work = consumer.handle(ready, contextOf({ signal: given }))
    } catch (error) {
      return failed(error)
    }
    if (work === undefined) return done()
    const result = Promise.resolve(work)
      .then(done, failed)
      .finally(() => {
        flushing = undefined
      })
    flushing = result.catch(() => {}) // whoever called gets the error
    return result
  }

  /** Nobody waits for this one. */
  async function flushByAge(): Promise<void> {
    timer = undefined
    if (isTakenOver() || signal.aborted) return // what is left is for the end
    try {
      await flush(signal)
    } catch (error) {
      fail(error)
    }
  }

  function add(event: Event, size: number): void | Promise<void> {
    events.push(event)
    bytes += size
    if (events.length >= maxEvents || bytes >= maxBytes) return flush(signal)
    if (events.length > 1 || maxAgeMs === undefined) return
    const mine = new AbortController()
    timer = mine
    // A clock may tell some turns late that this batch is due, when another one is gathered.
    const due = (): void | Promise<void> => (timer === mine ? flushByAge() : undefined)
    clock.sleep(maxAgeMs, mine.signal).then(due, () => {})
  }

  function take(event: Event): void | Promise<void> {
    if (flushing !== undefined) return flushing.then(() => takeLate(event))
    if (failure !== undefined) throw failure.error
    const size = maxBytes === Number.POSITIVE_INFINITY ? 0 : sizeOf(event)
    const work = events.length > 0 && bytes + size > maxBytes ? flush(signal) : undefined
    return work === undefined ? add(event, size) : work.then(() => takeLate(event))
  }

  /** It has waited for a batch, and the run may have ended by now. */
  function takeLate(event: Event): void | Promise<void> {
    if (isTakenOver() || signal.aborted) throw signal.reason
    return take(event)
  }

  return {
    take,
    finish: async (limit, drain) => {
      timer?.abort()
      if (flushing !== undefined) await untilAborted(flushing, limit)
      if (failure !== undefined || events.length === 0 || isTakenOver()) return
      await untilAborted(Promise.resolve(flush(drain)), limit)
    },
    settled: () => (events.length > 0 || flushing !== undefined || failure !== undefined ? flushed : undefined),
    atWork: () => flushing,
  }
}

function sizeOf({ metadata, foreignId, headers }: Event): number {
  let size = (metadata?.length ?? 0) + Buffer.byteLength(foreignId)
  for (const name in headers) for (const value of [name, headers[name] ?? ''].flat()) size += Buffer.byteLength(value)
  return size
}

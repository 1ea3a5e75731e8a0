import { untilAborted } from '../core/abort.ts'
import type { Consumer } from '../core/consumer.ts'
import type { Event } from '../core/event.ts'
import { checkLimit } from './check-limit.ts'
import { eventWindow, type Place } from './event-window.ts'
import { handlerError } from './handler-error.ts'
import { perRun, type RunOf, type RunState } from './per-run.ts'
import { refuseMembers } from './refuse-members.ts'

/** Options of `concurrent`. */
export interface ConcurrentOptions {
  /** The most events that are handled at the same time. */
  readonly maxInFlight: number
  /**
   * The most events from the first that is not done on: those that are handled, those that wait for one of the same key, and those
   * that are done already. When there are as many, no further one is taken on. Default: 10 times `maxInFlight`.
   */
  readonly maxWindow?: number | undefined
  /** Events of the same key are handled one after the other, in order. Default: the foreignId. */
  readonly key?: ((event: Event) => string) | undefined
}

/**
 * Makes a consumer whose handler is called for several events at the same time, in order per key. The cursor moves only over what is
 * done without a gap. The first error ends the run, and nothing further is begun; what is at work is told by its signal, and waited for.
 * A handler, its `filter`, `recover`, `start` and `stop` are those of the consumer that is given.
 *
 * When the run ends well, everything that was taken on is done. After an abort only as much is begun as stands before something that
 * was begun: so nothing that is done is handled again. Where another runner has taken over, nothing is.
 *
 * It is for one run at a time; another one is refused with `CONSUMER_IN_USE`. Under `withLease` its handler is given the token.
 *
 * Throws an `OptionError` on a limit that is not a whole number from 1 on, and for a consumer that holds its cursor back itself.
 *
 * @example await run({ stream, cursors, consumer: concurrent({ name: 'mailer', handle: (event) => send(event) }, { maxInFlight: 20 }) })
 */
export function concurrent(consumer: Consumer, options: ConcurrentOptions): Consumer {
  const { name, types, filter, recover } = consumer
  const { maxInFlight, maxWindow = 10 * maxInFlight, key = ({ foreignId }) => foreignId } = options
  const what = `concurrent consumer ${JSON.stringify(name)}`
  checkLimit(what, 'maxInFlight', maxInFlight)
  checkLimit(what, 'maxWindow', maxWindow)
  refuseMembers(what, consumer, 'settled')
  let work: Work | undefined

  return {
    name,
    ...(types === undefined ? {} : { types }),
    ...(filter === undefined ? {} : { filter: (event: Event) => filter.call(consumer, event) }),
    // `run` asks it about errors of the filter alone: after one of a handler the run has ended. What is made of one stands in line, since
    // the event may be handled after all, as by `deadLetter`.
    ...(recover === undefined ? {} : { recover: (error: unknown, event: Event) => work?.take(event, { error }) }),
    ...perRun(what, consumer, (of) => {
      work = begin(consumer, { maxInFlight, maxWindow, key }, of)
      return work
    }),
  }
}

interface Work extends RunState {
  /** With what the filter threw, it is `recover` that is asked. */
  take(event: Event, filtered?: { readonly error: unknown }): void | Promise<void>
}

interface Task {
  readonly filtered: { readonly error: unknown } | undefined
  readonly event: Event
  readonly key: string
  readonly place: Place
  /** Counts what was taken on. */
  readonly number: number
}

/** What one run has at work. */
function begin(
  consumer: Consumer,
  {
    maxInFlight,
    maxWindow,
    key,
  }: { readonly maxInFlight: number; readonly maxWindow: number; key(event: Event): string },
  { signal, fail, contextOf, isTakenOver }: RunOf,
): Work {
  const window = eventWindow(maxWindow)
  /** What waits for one of the same key; a key that is here is at work, or about to be. */
  const queues = new Map<string, Task[]>()
  const ready: Task[] = []
  let taken = 0
  let newest = 0 // the number of the last task that was begun
  let running = 0
  let idle: PromiseWithResolvers<void> | undefined
  let failure: { readonly error: unknown } | undefined
  let pumping = false
  const own = new AbortController()
  /** The run has ended early: by an abort, an error, or because its time to stop is over. */
  const ending = AbortSignal.any([signal, own.signal])
  let draining: { readonly limit: AbortSignal; readonly signal: AbortSignal } | undefined // the time to stop

  /** Once the run has ended early, only what stands before something that was begun. */
  function mayBegin({ number }: Task): boolean {
    if (failure !== undefined) return false
    if (ending.aborted && !(draining?.limit.aborted === false && number <= newest)) return false
    return !isTakenOver()
  }

  function pump(): void {
    if (pumping) return // a handler that is done at once goes on in the loop that called it
    pumping = true
    while (running < maxInFlight) {
      const index = ready.findIndex(mayBegin)
      if (index < 0) break
      handle(ready.splice(index, 1)[0] as Task)
    }
    pumping = false
    if (running === 0) idle?.resolve()
  }

  function handle(task: Task): void {
    running++
    newest = Math.max(newest, task.number)
    const context = contextOf({ signal: ending.aborted && draining !== undefined ? draining.signal : ending })
    const about = { what: `event ${task.event.id}`, eventId: task.event.id, signal: context.signal }
    const { filtered } = task
    const isFinal = (): boolean => consumer.recover === undefined || filtered !== undefined || context.signal.aborted
    let result: void | Promise<void>
    try {
      result = filtered ? consumer.recover?.(filtered.error, task.event, context) : consumer.handle(task.event, context)
    } catch (error) {
      if (isFinal()) {
        failed(handlerError(error, about)) // before the next event is taken on
        return
      }
      result = Promise.reject(error)
    }
    if (result === undefined) {
      done(task)
      return
    }
    Promise.resolve(result)
      .catch((error: unknown) => {
        if (isFinal()) throw error
        return consumer.recover?.(error, task.event, context)
      })
      .then(
        () => done(task),
        (error: unknown) => failed(handlerError(error, about)),
      )
  }

  function done(task: Task): void {
    window.settle(task.place)
    const next = queues.get(task.key)?.shift()
    if (next === undefined) queues.delete(task.key)
    else ready.push(next)
    leave()
  }

  function failed(error: unknown): void {
    if (failure === undefined) {
      failure = { error }
      fail(error)
      own.abort(error)
    }
    leave()
  }

  function leave(): void {
    running--
    pump()
  }

  /** An error of it fails the run: `recover` is asked about those of the filter and the handler alone. */
  function keyOf(event: Event): string {
    try {
      return key(event)
    } catch (error) {
      failure ??= {
        error: handlerError(error, { what: `key of event ${event.id}`, eventId: event.id, signal: ending }),
      }
      fail(failure.error)
      own.abort(failure.error)
      throw failure.error
    }
  }

  function takeOn(event: Event, filtered: Task['filtered']): void {
    const task: Task = { event, filtered, key: keyOf(event), place: window.add(event.id), number: ++taken }
    const queue = queues.get(task.key)
    if (queue !== undefined) return void queue.push(task)
    queues.set(task.key, [])
    ready.push(task)
    pump()
  }

  const whenIdle = (): Promise<void> | undefined => {
    if (running === 0) return undefined
    idle ??= Promise.withResolvers()
    return idle.promise
  }

  return {
    take: (event, filtered) => {
      if (failure !== undefined) throw failure.error
      if (window.size < maxWindow) return takeOn(event, filtered)
      return untilAborted(window.room(), ending).then(() => takeOn(event, filtered))
    },
    finish: async (limit, drain) => {
      draining = { limit, signal: drain }
      const onLimit = (): void => own.abort(limit.reason)
      limit.addEventListener('abort', onLimit, { once: true })
      pump()
      try {
        await untilAborted(whenIdle() ?? Promise.resolve(), limit)
      } finally {
        limit.removeEventListener('abort', onLimit)
      }
    },
    settled: () => window.settled(),
    atWork: whenIdle,
  }
}

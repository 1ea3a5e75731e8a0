import { untilAborted } from './abort.ts'
import { OptionError } from './errors.ts'
import type { Batch, Cursor, Event } from './event.ts'

/** Options of a `StreamFunc`. A source refuses what it cannot honour with an `OptionError` (rule 12). */
export interface StreamOptions {
  /** Ends the stream: a pending read rejects at once with the signal's reason. */
  readonly signal?: AbortSignal | undefined
  /** End at the position that is the head when the stream is opened. */
  readonly toHead?: boolean | undefined
  /** Only events after the head at open; refused unless `after` is `""`. The first batch is then empty and carries the pinned position. */
  readonly fromHead?: boolean | undefined
  /** Only events of these types; the others move the position on. */
  readonly types?: readonly number[] | undefined
}

/** An open stream of batches: iterated once, and disposed of whether it was read or not. */
export interface EventStream extends AsyncIterable<Batch>, AsyncDisposable {
  /** Tells this log from an earlier one of the same name (Kafka topic id, JetStream creation time), where the log can. */
  readonly incarnation?: string
}

/**
 * Opens a stream of what follows `after`. Resolves once the cursor is proven and the head is pinned.
 *
 * An implementer promises: log order, no skip, the same id for the same event always; a cursor that cannot be honoured
 * is a `CursorTrimmedError`, `CursorAheadError` or `CursorInvalidError`, at open *and while streaming*, never a jump; no
 * retry and no reconnect, a dead or frozen peer is an error within 5 s; nothing is read that was not asked for.
 * Make the stream with `eventStream`.
 */
export type StreamFunc = (after: Cursor, options: StreamOptions) => Promise<EventStream>

/** What an adapter's factory returns. */
export interface Source {
  /** Names the log in errors, metrics and dedupe keys (`<source name>/<event id>`). */
  readonly name: string
  readonly stream: StreamFunc
  /** The position of the newest entry now. */
  head?(options?: { signal?: AbortSignal | undefined }): Promise<Cursor>
  /** How much follows `after`: events where the log can tell, else positions. */
  backlog?(after: Cursor, options?: { signal?: AbortSignal | undefined }): Promise<Backlog>
  /** The cursor after which events of `timestamp` (epoch ms) and later follow. */
  at?(timestamp: number, options?: { signal?: AbortSignal | undefined }): Promise<Cursor>
  /**
   * What keeps the streams of this source from going on although there is more in the log: not to be taken for the head.
   * Undefined if nothing does. Only of sources that may have to wait.
   */
  blocked?(): Blocked | undefined
  /** Negative, zero or positive as `a` stands before, at or after `b`. */
  compare?(a: Cursor, b: Cursor): number
}

/** What a source waits for before it can go on. */
export interface Blocked {
  /** Who or what is in the way, in words for an operator. */
  readonly holder: string
  /** For how long it has been waited for, in ms. */
  readonly blockedMs: number
  /** The id of the holder's connection to the server; where the server tells, like what follows. */
  readonly connectionId?: string
  readonly user?: string
  /** When its transaction began, epoch in ms, by the server's clock. */
  readonly transactionStartedAt?: number
}

/** What is not yet consumed. */
export interface Backlog {
  readonly count: bigint
  readonly unit: 'events' | 'positions'
}

/**
 * Makes an `EventStream` of what produces batches and what closes it. `close` is called exactly once, also when the stream
 * was never read, and by itself when the stream ends, fails or is aborted; it frees every resource (a generator's `finally`
 * does not run if it was never started). A second iteration throws; a read that is pending ends when the stream is closed,
 * and rejects with the reason when `signal` aborts.
 *
 * @example eventStream(poll(connection), () => connection.end(), { signal })
 */
export function eventStream(
  batches: AsyncIterable<Batch>,
  close: () => void | PromiseLike<void>,
  { signal, incarnation }: { signal?: AbortSignal | undefined; incarnation?: string | undefined } = {},
): EventStream {
  let iterator: AsyncIterator<Batch> | undefined
  let pending: PromiseWithResolvers<IteratorResult<Batch>> | undefined
  let closing: Promise<void> | undefined

  const closeOnce = (): Promise<void> => {
    closing ??= (async () => {
      signal?.removeEventListener('abort', onAbort)
      pending?.resolve({ done: true, value: undefined })
      const reading = pending !== undefined
      try {
        await close()
      } finally {
        const returned = iterator?.return?.()
        // A generator that is suspended in a read returns only when that read ends.
        if (reading) returned?.catch(() => {})
        else await returned
      }
    })()
    return closing
  }
  const closeItself = (): void => {
    closeOnce().catch(() => {}) // whoever disposes of the stream gets this error
  }
  const onAbort = (): void => {
    pending?.reject(signal?.reason)
    closeItself()
  }
  signal?.addEventListener('abort', onAbort, { once: true })
  if (signal?.aborted) onAbort()

  const next = (): Promise<IteratorResult<Batch>> => {
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (closing) return Promise.resolve({ done: true, value: undefined })
    if (pending)
      return Promise.reject(new TypeError('a stream is read by one reader: the read before this one is still pending'))
    iterator ??= batches[Symbol.asyncIterator]()
    const read = Promise.withResolvers<IteratorResult<Batch>>()
    pending = read
    iterator.next().then(
      (result) => {
        pending = undefined
        if (result.done) closeItself()
        read.resolve(result)
      },
      (error) => {
        pending = undefined
        closeItself()
        read.reject(error)
      },
    )
    return read.promise
  }

  let iterated = false
  return {
    ...(incarnation === undefined ? {} : { incarnation }),
    [Symbol.asyncIterator]() {
      if (iterated) throw new TypeError('a stream is iterated once: open another one')
      iterated = true
      return {
        next,
        return: async () => {
          await closeOnce()
          return { done: true, value: undefined }
        },
      }
    },
    [Symbol.asyncDispose]: closeOnce,
  }
}

/** Opens a stream, but waits no longer than until the signal aborts: a stream that opens later is closed. */
export async function openStream(stream: StreamFunc, after: Cursor, options: StreamOptions): Promise<EventStream> {
  const opening = stream(after, options)
  try {
    return await untilAborted(opening, options.signal)
  } catch (error) {
    opening.then((late) => late[Symbol.asyncDispose]()).catch(() => {}) // nobody is left to be told
    throw error
  }
}

/** Refuses `fromHead` together with a cursor (rule 5) and options that are not of the right kind. Every source calls it first. */
export function checkStreamOptions(source: string, after: Cursor, { fromHead, types }: StreamOptions): void {
  if (fromHead && after !== '') {
    throw new OptionError(
      `${source}: fromHead needs the cursor "", but ${JSON.stringify(after)} was given: resume from it, or start from the head`,
    )
  }
  checkTypes(source, types)
}

/** Refuses event types that are not 32-bit integers: nothing would ever match them. */
export function checkTypes(what: string, types: readonly number[] | undefined): void {
  const wrong = types?.find((type) => type !== (type | 0))
  if (wrong !== undefined)
    throw new OptionError(`${what}: types must be 32-bit integers, but found ${JSON.stringify(wrong)}`)
}

/** A stream's events one by one, for loops that need no batches. Closes the stream at the end. */
export async function* eventsOf(stream: EventStream): AsyncGenerator<Event> {
  try {
    for await (const { events } of stream) yield* events
  } finally {
    await stream[Symbol.asyncDispose]()
  }
}

/**
 * A StreamFunc from a generator of events after a cursor, for a log that is simple enough: one batch an event.
 * `toHead`, `fromHead` and `types` are refused unless `read` is declared to honour them. `read` begins with the first read, so a
 * cursor that it refuses is an error only then: where it has to be proven at open, write a StreamFunc with `eventStream`.
 *
 * @example const stream = streamOf('prices', async function* (after, { signal }) { for await (const row of poll(after, signal)) yield toEvent(row) })
 */
export function streamOf(
  name: string,
  read: (after: Cursor, options: StreamOptions) => AsyncIterable<Event>,
  { honours = [] }: { honours?: readonly ('toHead' | 'fromHead' | 'types')[] } = {},
): StreamFunc {
  return async (after, options) => {
    checkStreamOptions(name, after, options)
    for (const option of ['toHead', 'fromHead', 'types'] as const) {
      if (options[option] && !honours.includes(option))
        throw new OptionError(`${name}: the option ${option} is not supported by this stream`)
    }
    const controller = new AbortController()
    const signal = options.signal ? AbortSignal.any([options.signal, controller.signal]) : controller.signal
    async function* batches(): AsyncGenerator<Batch> {
      for await (const event of read(after, { ...options, signal })) yield { events: [event], cursor: event.id }
    }
    return eventStream(batches(), () => controller.abort(), { signal: options.signal })
  }
}

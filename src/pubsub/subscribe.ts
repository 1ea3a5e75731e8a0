import { untilAborted } from '../core/abort.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import type { Consumer } from '../core/consumer.ts'
import type { CursorStore } from '../core/cursor.ts'
import { OptionError } from '../core/errors.ts'
import type { Event } from '../core/event.ts'
import { memoryCursors } from '../core/memory-cursors.ts'
import { combineObservers, type Observer } from '../core/observer.ts'
import { type Ended, type RunOptions, run } from '../core/run.ts'
import type { Source } from '../core/stream.ts'
import { type SuperviseOptions, supervise } from '../core/supervise.ts'
import { concurrent } from '../patterns/concurrent.ts'
import { withTimeout } from '../patterns/with-timeout.ts'
import { codecFinder, type DataCodec } from './data-codec.ts'
import { type Message, toMessage } from './message.ts'

/** Options of `subscribe`. They are read, and never changed. */
export interface SubscribeOptions {
  /** The log: that of any adapter. */
  readonly source: Pick<Source, 'stream' | 'name'>
  /** Names the subscription; under this name its cursor is kept. */
  readonly name: string
  /** Handles one message; what it throws ends the subscription, and the message comes again. */
  handle(message: Message, context: { readonly signal: AbortSignal }): void | Promise<void>
  /** Keeps the place from one subscription to the next of the same name. Default: none, each begins anew. */
  readonly durable?: CursorStore | undefined
  /** Where to begin without a place: true at the first event of the log, false with those that come from now on. Default: false. */
  readonly backfill?: boolean | undefined
  /** Forget the place that is kept, and begin anew as `backfill` says. Default: false. */
  readonly reset?: boolean | undefined
  /** One at a time, in the order of the log. False: up to `inFlight` at once, in order for each foreignId. Default: true. */
  readonly serial?: boolean | undefined
  /** How many are handled at once if not serial. Default: 16. */
  readonly inFlight?: number | undefined
  /**
   * So long `handle` may take, in ms: then its signal aborts, and the subscription ends with `HANDLER_TIMEOUT` whatever the handler
   * returns, or with `HANDLER_STUCK` if it goes on. Default: no limit.
   */
  readonly timeoutMs?: number | undefined
  /** Codecs beside bytes, string, JSON and nil: those of Protobuf types, and your own. */
  readonly codecs?: readonly DataCodec<never, unknown>[] | undefined
  /**
   * What to do with an event whose data cannot be decoded: end with the error, or record it; when that is done, the event is passed.
   * Default: `fail`.
   */
  readonly undecodable?: 'fail' | UndecodableHandler | undefined
  /** Only events of these types. */
  readonly types?: readonly number[] | undefined
  /** Start again after what may pass, as `supervise` does. Default: no, the first failure ends the subscription. */
  readonly restart?: Omit<SuperviseOptions, 'signal' | 'clock' | 'observer'> | undefined
  /** Closes the subscription. */
  readonly signal?: AbortSignal | undefined
  /** Default: the machine's clock. */
  readonly clock?: Clock | undefined
  /** Is told what happens. Default: nobody. */
  readonly observer?: Observer | undefined
}

/** Records an event that cannot be decoded, in a dead letter table for example. What it throws ends the subscription. */
export type UndecodableHandler = (
  event: Event,
  error: unknown,
  context: { readonly signal: AbortSignal },
) => void | Promise<void>

/** A subscription at work. */
export interface Subscription extends AsyncDisposable {
  /**
   * Resolves when it was closed, rejects with why it failed. If nobody listens, that is an unhandled rejection: a subscription never ends
   * unnoticed.
   */
  readonly closed: Promise<Ended>
  /** Ends it when the handler has returned. A durable one keeps its place. Resolves or rejects as `closed`. */
  close(): Promise<Ended>
  /** Ends it, and forgets its place: the next one of this name begins anew. */
  unsubscribe(): Promise<Ended>
}

/** A handler has so long to end after it was told that its time is up. */
const HEED_WITHIN_MS = 1000

/**
 * Subscribes to a log. Resolves once the place is kept from which on nothing is missed; rejects if it does not come to that. At least once:
 * after a failure, what was handled since the last save of the place comes again.
 *
 * @example
 * const mails = await subscribe({ source, name: 'mails', durable: cursors, backfill: true, timeoutMs: 30_000, handle: ({ data }) => send(data) })
 * await mails.closed
 */
export async function subscribe(options: SubscribeOptions): Promise<Subscription> {
  checkOptions(options)
  const {
    source,
    name,
    durable,
    backfill = false,
    reset = false,
    serial = true,
    types,
    restart,
    signal,
    observer,
  } = options
  const { clock = systemClock, timeoutMs } = options
  const cursors = durable ?? memoryCursors()
  signal?.throwIfAborted()
  const plain: Consumer = { name, handle: handler(options), ...(types === undefined ? {} : { types }) }
  const timed = timeoutMs === undefined ? plain : withTimeout(plain, { timeoutMs, graceMs: HEED_WITHIN_MS, clock })
  const consumer = serial ? timed : concurrent(timed, { maxInFlight: options.inFlight ?? 16 })
  if (reset) await untilAborted(cursors.reset(name, ''), signal)

  const ending = new AbortController()
  const ready = Promise.withResolvers<void>()
  const watch: Observer = {
    // Without a place, those that come from now on begin where the first save says.
    opened: ({ cursor }) => (cursor !== '' || backfill ? ready.resolve() : undefined),
    saved: () => ready.resolve(),
  }
  const told = {
    signal: signal === undefined ? ending.signal : AbortSignal.any([signal, ending.signal]),
    clock,
    observer: combineObservers(observer, watch),
  }
  const attempt = (o: RunOptions): Promise<Ended> =>
    run({ stream: (after, opening) => source.stream(after, opening), cursors, consumer }, { ...o, fromHead: !backfill })
  const running = restart === undefined ? attempt(told) : supervise(attempt, { ...restart, ...told })
  if ((await Promise.race([ready.promise, running])) !== undefined) signal?.throwIfAborted() // without a place that is kept

  const closed = running.then((ended) => ended)
  const close = (): Promise<Ended> => {
    ending.abort(new Error(`the subscription ${JSON.stringify(name)} was closed`))
    return closed
  }
  return {
    closed,
    close,
    unsubscribe: async () => {
      try {
        return await close()
      } finally {
        await cursors.reset(name, '')
      }
    },
    [Symbol.asyncDispose]: async () => void (await close()),
  }
}

function handler(options: SubscribeOptions): Consumer['handle'] {
  const { codecs = [], undecodable = 'fail' } = options
  const finder = codecFinder(codecs)
  return async (event, { signal }) => {
    let message: Message
    try {
      message = await toMessage(event, finder)
    } catch (error) {
      if (undecodable === 'fail') throw error
      return await undecodable(event, error, { signal })
    }
    await options.handle(message, { signal })
  }
}

function checkOptions({
  name,
  handle,
  timeoutMs,
  serial = true,
  inFlight: limit,
  undecodable = 'fail',
}: SubscribeOptions): void {
  const wrong = (text: string): never => {
    throw new OptionError(`subscription ${JSON.stringify(name)}: ${text}`)
  }
  if (typeof name !== 'string' || name === '') wrong('name must be a string that is not empty')
  if (typeof handle !== 'function') wrong(`handle must be a function, but is ${typeof handle}`)
  if (timeoutMs !== undefined && !(timeoutMs > 0))
    wrong(`timeoutMs must be more than 0 milliseconds, but is ${timeoutMs}`)
  if (limit !== undefined && serial) wrong('inFlight goes with serial: false')
  if (limit !== undefined && !(Number.isSafeInteger(limit) && limit > 0))
    wrong(`inFlight must be a positive integer, but is ${limit}`)
  if (undecodable !== 'fail' && typeof undecodable !== 'function')
    wrong(`undecodable must be 'fail' or a function, but is ${JSON.stringify(undecodable)}`)
}

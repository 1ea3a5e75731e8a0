import { untilAborted } from '../core/abort.ts'
import { type Appended, type Appender, type AppendWish, OutcomeUnknownError } from '../core/appender.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import { codeOf, isRetriable, OptionError } from '../core/errors.ts'
import type { Event } from '../core/event.ts'
import { type Publication, publicationEvent } from './publication-event.ts'
import { publishGate } from './publish-gate.ts'

/** Options of `publisher`. */
export interface PublisherOptions {
  /** Where to: `kafkaPublisher`, `jetstreamPublisher`, `redisPublisher`, or an `Appender` of your own. */
  readonly to: Appender
  /** Who publishes: the name of this program, or of this instance of it. */
  readonly client: string
  /** Try again what may succeed then. Default: no. */
  readonly retry?: PublishRetry | undefined
  /** Default: the machine's clock. */
  readonly clock?: Clock | undefined
}

/**
 * How often, and after what time, to try again. What certainly was not appended is tried again if its error is one that may pass; what may
 * have been, only where the log honours idempotency keys: without one in the options, a publish then has a random one.
 */
export interface PublishRetry {
  /** In all, from 2 to 100. */
  readonly attempts: number
  /** Before each but the first, in ms; the function is told how many have failed, from 1 on. Default: 100, 200, 400, … up to 5,000. */
  readonly delayMs?: number | ((failed: number) => number) | undefined
}

/** Options of `publish`. Those that the log cannot honour are refused. */
export interface PublishOptions {
  /** Published once under this key, for as long as the log remembers it. JetStream, Redis. */
  readonly idempotencyKey?: string | undefined
  /** Only if this is the id of the newest event in the log. JetStream, Redis. */
  readonly expectedLastId?: string | undefined
  /** Only if this is the id of the newest event with the same subject. JetStream. */
  readonly expectedLastIdOfSubject?: string | undefined
  /** Ends the wait. What has been sent by then has an unknown outcome. */
  readonly signal?: AbortSignal | undefined
}

/** Publishes events to one log. */
export interface Publisher {
  /**
   * Publishes one event and resolves with its id in the log. Rejects with `WRONG_LAST_ID` if the newest one is another than was expected,
   * with `OUTCOME_UNKNOWN` if it may have been appended or not, as after an abort, and else with why it was not.
   */
  publish<T>(publication: Publication<T>, options?: PublishOptions): Promise<Appended>
}

/** So many publishes are under way at once, and bytes; further ones wait their turn. */
const MOST_AT_ONCE = 5000
const MOST_BYTES_AT_ONCE = 8 * 1024 * 1024

const wishes: readonly AppendWish[] = ['idempotencyKey', 'expectedLastId', 'expectedLastIdOfSubject']

/**
 * Makes a publisher. Events may be published at the same time: they are sent in the order of the calls, those of one foreignId at
 * least, several together where the log can; 5,000 and 8 MiB are under way at once, and further ones wait their turn. What goes with
 * the data (who published it, its cause, its key) travels in headers, docs/pubsub.md.
 *
 * @example
 * const orders = publisher({ to: jetstreamPublisher({ connect, stream: 'SHOP', subject: 'shop.orders' }), client: 'web-1' })
 * const { id } = await orders.publish({ type: 1, foreignId: '7', codec: jsonCodec(), data: { total: 12 } }, { idempotencyKey: 'order-7' })
 */
export function publisher({ to, client, retry, clock = systemClock }: PublisherOptions): Publisher {
  if (typeof client !== 'string' || client === '')
    throw new OptionError(`publisher: client must say who publishes, but is ${JSON.stringify(client)}`)
  const attempts = retry?.attempts ?? 1
  if (retry !== undefined && !(Number.isInteger(attempts) && attempts >= 2 && attempts <= 100))
    throw new OptionError(`publisher: retry.attempts must be an integer from 2 to 100, but is ${attempts}`)
  if (typeof retry?.delayMs === 'number') delayOf(retry.delayMs, 1)
  const keyed = to.honours.includes('idempotencyKey')
  const gate = publishGate({ most: MOST_AT_ONCE, mostBytes: MOST_BYTES_AT_ONCE })
  const turns = turnsByKey()

  return {
    publish: async (publication, options = {}) => {
      for (const wish of wishes) checkWish(to, wish, options[wish])
      const { signal, expectedLastId, expectedLastIdOfSubject } = options
      signal?.throwIfAborted()
      const idempotencyKey = options.idempotencyKey ?? (attempts > 1 && keyed ? crypto.randomUUID() : undefined)
      const turn = turns.take(publication.foreignId ?? '')
      let event: Event
      let bytes: number
      let entered: Promise<void>
      try {
        const made = publicationEvent(publication, { client, idempotencyKey })
        const id = idempotencyKey ?? crypto.randomUUID()
        event = { timestamp: clock.now(), metadata: null, headers: {}, ...(await untilAborted(made, signal)), id }
        if (turn.before !== undefined) await untilAborted(turn.before, signal)
        bytes = bytesOf(event)
        entered = gate.enter(bytes, signal)
      } finally {
        turn.end()
      }
      const append = async (): Promise<Appended> => {
        await entered
        try {
          return await to.append(event, {
            source: client,
            idempotencyKey,
            expectedLastId,
            expectedLastIdOfSubject,
            signal,
          })
        } finally {
          gate.leave(bytes)
        }
      }
      let unknown: unknown // of an earlier attempt, which stands whatever the later ones are refused for
      for (let failed = 1; ; failed++) {
        let error: unknown
        try {
          return await append()
        } catch (thrown) {
          error = thrown
        }
        const isUnknown = codeOf(error) === 'OUTCOME_UNKNOWN'
        if (isUnknown) unknown = error
        const again = isUnknown ? idempotencyKey !== undefined : isRetriable(error)
        if (failed >= attempts || !again || signal?.aborted) throw outcome(to, unknown, error)
        try {
          await clock.sleep(delayOf(retry?.delayMs, failed), signal)
        } catch (reason) {
          throw outcome(to, unknown, reason)
        }
        entered = gate.enter(bytes, signal)
      }
    },
  }
}

/** Codecs may take time: what is published of one entity enters the gate in the order of the calls all the same. */
function turnsByKey(): { take(key: string): { readonly before: Promise<void> | undefined; end(): void } } {
  const last = new Map<string, Promise<void>>()
  return {
    take: (key) => {
      const before = last.get(key)
      const { promise, resolve } = Promise.withResolvers<void>()
      last.set(key, promise)
      void promise.then(() => {
        if (last.get(key) === promise) last.delete(key)
      })
      return { before, end: () => resolve(before) } // one that was given up hands on whom it waited for
    },
  }
}

/** About as many as it has on the way. */
function bytesOf({ metadata, foreignId, headers }: Event): number {
  let bytes = (metadata?.length ?? 0) + foreignId.length
  for (const name in headers) {
    const value = headers[name] ?? ''
    if (typeof value === 'string') bytes += name.length + value.length
    else for (const each of value) bytes += name.length + each.length
  }
  return bytes
}

function checkWish(to: Appender, wish: AppendWish, value: unknown): void {
  if (value === undefined) return
  if (!to.honours.includes(wish))
    throw new OptionError(
      `${to.name}: ${wish} is not something that this log can honour: leave it out, or publish to one that can`,
    )
  if (typeof value !== 'string' || value === '')
    throw new OptionError(`${to.name}: ${wish} must be a string that is not empty, but is ${JSON.stringify(value)}`)
}

function outcome(to: Appender, unknown: unknown, error: unknown): unknown {
  if (unknown === undefined || codeOf(error) === 'OUTCOME_UNKNOWN') return error
  return new OutcomeUnknownError(to.name, error)
}

const MAX_DELAY_MS = 5000

/** Never negative and never no number: a wait that is none would be a loop without a pause. */
function delayOf(delayMs: PublishRetry['delayMs'], failed: number): number {
  const wanted =
    typeof delayMs === 'function' ? delayMs(failed) : (delayMs ?? Math.min(100 * 2 ** (failed - 1), MAX_DELAY_MS))
  if (Number.isFinite(wanted) && wanted >= 0) return wanted
  throw new OptionError(`publisher: retry.delayMs must be 0 or more milliseconds, but is ${wanted}`)
}

import { type Clock, systemClock } from '../core/clock.ts'
import type { Consumer } from '../core/consumer.ts'
import type { CursorStore } from '../core/cursor.ts'
import { decorateSource } from '../core/decorate.ts'
import { OptionError, ReflexError } from '../core/errors.ts'
import type { Batch } from '../core/event.ts'
import type { Sink } from '../core/sink.ts'
import { eventStream, type Source, type StreamFunc } from '../core/stream.ts'
import { forwardConsumer } from './forward-consumer.ts'
import { isThenable } from './handle-again.ts'

/**
 * Where faults are made: opening of a stream, read of a batch, read and save of a cursor, handling of an event, opening of a
 * destination, append to it.
 */
export type ChaosPlace = (typeof places)[number]

const places = ['open', 'read', 'get', 'set', 'handle', 'openSink', 'append'] as const

/** Options of `chaos`. */
export interface ChaosOptions {
  /** The same seed makes the same faults at the same calls: of each place of each part, counted by itself. */
  readonly seed: number
  /** How likely a call fails, from 0 to 1: at all places, or at those named. */
  readonly probability: number | Partial<Readonly<Record<ChaosPlace, number>>>
  /** Each call is held up for a random time up to this, in ms. Default: 0. */
  readonly maxDelayMs?: number | undefined
  /** Default: the machine's clock. */
  readonly clock?: Clock | undefined
}

/** Makes faults in what it decorates. */
export interface Chaos {
  source(source: Source): Source
  cursors(cursors: CursorStore): CursorStore
  consumer(consumer: Consumer): Consumer
  sink(sink: Sink): Sink
  /** Whether faults and delays are made; may be set at any time. True at first. */
  enabled: boolean
  /** How many faults were made, by place. */
  injected(): Readonly<Record<ChaosPlace, number>>
}

/**
 * Decorates the parts of a consumer or a bridge, so that in tests and in staging they fail now and then as real ones do: half of
 * the faults come before the call, half after it, when its effect is there but its caller does not know. Each is a `ReflexError` of
 * the code `CHAOS`, which is retriable: under `supervise` nothing may be lost. Decorate with the same `Chaos` in each
 * attempt, so that it goes on where it was. Where no place can fail and nothing is held up, parts are returned as they are.
 *
 * @example
 * const faults = chaos({ seed: 1, probability: Number(process.env.CHAOS ?? 0) })
 * await supervise((o) => run({ stream: faults.source(source).stream, cursors: faults.cursors(cursors), consumer: faults.consumer(mailer) }, o))
 */
export function chaos({ seed, probability, maxDelayMs = 0, clock = systemClock }: ChaosOptions): Chaos {
  const likelihood = new Map(
    places.map((place) => [place, typeof probability === 'number' ? probability : (probability[place] ?? 0)]),
  )
  for (const [place, value] of likelihood)
    if (!(value >= 0 && value <= 1))
      throw new OptionError(`chaos: the probability of ${place} must be from 0 to 1, but is ${value}`)
  if (!(maxDelayMs >= 0 && Number.isFinite(maxDelayMs)))
    throw new OptionError(`chaos: maxDelayMs must be 0 or more ms, but is ${maxDelayMs}`)
  const counts = Object.fromEntries(places.map((place) => [place, 0])) as Record<ChaosPlace, number>
  const calls = new Map<string, { count: number; readonly random: () => number }>()
  const isIdle = maxDelayMs === 0 && [...likelihood.values()].every((value) => value === 0)

  /** What happens at the next call. */
  function draw(place: ChaosPlace, of: string): { delayMs: number; before(): void; after(): void } {
    if (!control.enabled) return calm
    const key = `${place} of ${of}`
    const call = calls.get(key) ?? { count: 0, random: generator(`${seed} ${key}`) }
    calls.set(key, call)
    const nth = ++call.count
    const [fault, when, delay] = [call.random(), call.random(), call.random()]
    const make = (effect: string): void => {
      counts[place]++
      throw new ReflexError('CHAOS', `chaos of seed ${seed}: ${key}, call ${nth}, fails ${effect}`)
    }
    const fails = fault < (likelihood.get(place) as number)
    return {
      delayMs: delay * maxDelayMs,
      before: () => fails && when < 0.5 && make('before it is made'),
      after: () => fails && when >= 0.5 && make('after it was made'),
    }
  }
  /** Makes a call. What it resolved with is given to `undo` where its caller does not learn of it. */
  async function call<T>(
    place: ChaosPlace,
    of: string,
    make: () => Promise<T>,
    { signal, undo }: { signal?: AbortSignal | undefined; undo?: (made: T) => Promise<void> } = {},
  ): Promise<T> {
    const { delayMs, before, after } = draw(place, of)
    if (delayMs > 0) await clock.sleep(delayMs, signal)
    before()
    const made = await make()
    try {
      after()
    } catch (error) {
      await undo?.(made)
      throw error
    }
    return made
  }

  const streamOf = (source: Source): StreamFunc => {
    const { name } = source
    const opened: StreamFunc = async (after, options) => {
      const inner = await source.stream(after, options)
      const closed = new AbortController()
      const signal = options.signal ? AbortSignal.any([options.signal, closed.signal]) : closed.signal
      async function* batches(): AsyncGenerator<Batch> {
        for (;;) {
          const { done, value } = await call('read', name, next, { signal })
          if (done) return
          yield value
        }
      }
      const iterator = inner[Symbol.asyncIterator]()
      const next = () => iterator.next()
      const close = (): Promise<void> => {
        closed.abort('closed')
        return Promise.resolve(inner[Symbol.asyncDispose]())
      }
      return eventStream(batches(), close, { signal: options.signal, incarnation: inner.incarnation })
    }
    return (after, options) =>
      call('open', name, () => opened(after, options), {
        signal: options.signal,
        undo: (made) => Promise.resolve(made[Symbol.asyncDispose]()),
      })
  }

  const control: Chaos = {
    enabled: true,
    injected: () => ({ ...counts }),
    source: (source) => (isIdle ? source : decorateSource(source, streamOf(source))),
    cursors: (cursors) =>
      isIdle
        ? cursors
        : {
            get: (consumer, options) => call('get', consumer, () => cursors.get(consumer, options), options),
            set: (consumer, ...rest) => call('set', consumer, () => cursors.set(consumer, ...rest)),
            reset: (consumer, cursor) => cursors.reset(consumer, cursor),
            ...(cursors.list && { list: async () => (await cursors.list?.()) ?? new Map() }),
          },
    consumer: (consumer) =>
      isIdle
        ? consumer
        : {
            ...forwardConsumer(consumer),
            handle: (event, context) => {
              const { delayMs, before, after } = draw('handle', consumer.name)
              const handle = (): void | Promise<void> => {
                before()
                const work = consumer.handle(event, context)
                if (isThenable(work)) return work.then(after)
                after()
              }
              return delayMs > 0 ? clock.sleep(delayMs, context.signal).then(handle) : handle()
            },
          },
    sink: (sink) =>
      isIdle
        ? sink
        : {
            name: sink.name,
            ...(sink.audit && { audit: async (options) => (await sink.audit?.(options)) ?? [] }),
            open: async (options) => {
              const writer = await call('openSink', sink.name, () => sink.open(options), {
                signal: options.signal,
                undo: (made) => Promise.resolve(made[Symbol.asyncDispose]()),
              })
              return {
                resumeFrom: writer.resumeFrom,
                ...(writer.repair === undefined ? {} : { repair: writer.repair }),
                append: (events, cursor) => call('append', sink.name, () => writer.append(events, cursor), options),
                [Symbol.asyncDispose]: () => Promise.resolve(writer[Symbol.asyncDispose]()),
              }
            },
          },
  }
  return control
}

const calm = { delayMs: 0, before: () => {}, after: () => {} }

/** Numbers from 0 to below 1, the same for the same key: mulberry32, of the key's FNV-1a. */
function generator(key: string): () => number {
  let state = 0x811c9dc5
  for (const byte of Buffer.from(key)) state = Math.imul(state ^ byte, 0x01000193)
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

import { untilAborted } from '../core/abort.ts'
import { disposeStack } from '../core/dispose-stack.ts'
import {
  codeOf,
  errorKind,
  isRetriable,
  messageOf,
  OptionError,
  ReflexError,
  StreamEndedError,
} from '../core/errors.ts'
import type { Batch, Cursor } from '../core/event.ts'
import {
  checkStreamOptions,
  type EventStream,
  eventStream,
  openStream,
  type Source,
  type StreamFunc,
} from '../core/stream.ts'
import { aroundPart, formatVector, parseVector, vectorPart } from './cursor-vector.ts'

/**
 * Makes one source of several, in the order in which their batches come: that of each source is kept, and each of them has its turn,
 * however much the others have. Its cursor holds the position of every source, as `orders=17&payments=4`, sorted by name; with `toHead` it ends
 * when all are at their heads.
 *
 * An event's id says of which source it is and where the others were, as `orders:orders=17&payments=4`: it is a cursor, like every id,
 * and unique; but the others may stand elsewhere when the event is read again, so `originOf` gives what stays the same. A source that is
 * added begins at its earliest event. One that is taken away is a `CURSOR_INVALID`, which tells the cursor without it. Errors name the
 * source. There is no `compare`: two positions need not be one before the other.
 *
 * Not for a bridge, whose destination finds events again by their ids: give each source a route of its own.
 *
 * Throws an `OptionError` if there is no source, or two of one name.
 *
 * @example await run({ stream: merge('shop', [orders, payments]).stream, cursors, consumer })
 */
export function merge(name: string, sources: readonly Source[]): Source {
  const parts = sources.toSorted((a, b) => (a.name < b.name ? -1 : 1))
  const names = parts.map((part) => part.name)
  if (parts.length === 0) throw new OptionError(`${name}: expected at least one source to merge, but found none`)
  const twice = names.find((each, i) => each === names[i + 1])
  if (twice !== undefined)
    throw new OptionError(`${name}: expected sources of different names, but found two of ${JSON.stringify(twice)}`)

  /** Asks every source. The first error, which is told with the name of its source, aborts the signal of the others: each is to end by it. */
  async function each<T>(
    ask: (part: Source, i: number, signal: AbortSignal) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T[]> {
    const failed = new AbortController()
    const ending = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal])
    const asked = parts.map(async (part, i) => {
      try {
        return await ask(part, i, ending)
      } catch (error) {
        if (!ending.aborted) failed.abort(errorOf(name, names[i] as string, error))
        throw error
      }
    })
    const answers = await Promise.allSettled(asked)
    ending.throwIfAborted()
    return answers.map((answer) => (answer as PromiseFulfilledResult<T>).value)
  }

  const stream: StreamFunc = async (after, options) => {
    checkStreamOptions(name, after, options)
    const { signal, toHead, fromHead } = options
    signal?.throwIfAborted()
    const from = parseVector(name, names, after)
    const opened = disposeStack()
    let streams: EventStream[]
    try {
      streams = await each(
        async (part, i, ending) =>
          opened.use(await openStream(part.stream, from[i] as Cursor, { ...options, signal: ending })),
        signal,
      )
    } catch (error) {
      await Promise.allSettled([opened[Symbol.asyncDispose]()]) // the first error is the one to tell
      throw error
    }
    let isClosed = false
    let news = Promise.withResolvers<void>()

    async function* batches(): AsyncGenerator<Batch> {
      const at = streams.map(({ incarnation }, i) => vectorPart(from[i] as Cursor, incarnation))
      const readers = streams.map((opened) => opened[Symbol.asyncIterator]())
      /** What has come and was not given yet: one batch of a source at most. */
      const come: { readonly i: number; readonly result: PromiseSettledResult<IteratorResult<Batch>> }[] = []
      const read = (i: number): void => {
        void Promise.allSettled([(readers[i] as AsyncIterator<Batch>).next()]).then(([result]) => {
          come.push({ i, result })
          news.resolve()
        })
      }
      for (const i of readers.keys()) read(i)
      let unpinned = fromHead ? readers.length : 0
      for (let left = readers.length; left > 0; ) {
        const next = come.shift()
        if (next === undefined) {
          await news.promise
          if (isClosed) return
          news = Promise.withResolvers()
          continue
        }
        const { i, result } = next
        const source = names[i] as string
        if (result.status === 'rejected') throw signal?.aborted ? signal.reason : errorOf(name, source, result.reason)
        if (result.value.done) {
          if (!toHead) throw errorOf(name, source, new StreamEndedError())
          left--
          continue
        }
        const { events, cursor } = result.value.value
        const incarnation = streams[i]?.incarnation
        const [before, behind] = aroundPart(names, at, i)
        const own = `${encodeURIComponent(source)}:${before}`
        at[i] = vectorPart(cursor, incarnation)
        if (unpinned > 0) {
          if (events.length > 0) throw errorOf(name, source, notPinned(events.length))
          if (--unpinned > 0) continue
          yield { events: [], cursor: formatVector(names, at) }
          for (const each of readers.keys()) read(each)
          continue
        }
        yield {
          events: events.map((event) => ({ ...event, id: own + vectorPart(event.id, incarnation) + behind })),
          cursor: before + at[i] + behind,
        }
        read(i)
      }
    }
    return eventStream(
      batches(),
      async () => {
        isClosed = true
        news.resolve()
        await opened[Symbol.asyncDispose]()
      },
      { signal },
    )
  }

  const has = (member: 'head' | 'at' | 'backlog' | 'blocked'): boolean =>
    parts.every((part) => part[member] !== undefined)
  const vectorOf = async (
    ask: (part: Source, signal: AbortSignal) => Promise<Cursor> | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Cursor> => {
    const positions = await each(async (part, _, ending) => {
      const asking = ask(part, ending)
      return asking === undefined ? '' : await untilAborted(asking, ending)
    }, signal)
    return formatVector(
      names,
      positions.map((position) => vectorPart(position, undefined)),
    )
  }
  return {
    name,
    stream,
    ...(has('head') ? { head: (o = {}) => vectorOf((part, signal) => part.head?.({ signal }), o.signal) } : {}),
    ...(has('at')
      ? { at: (time: number, o = {}) => vectorOf((part, signal) => part.at?.(time, { signal }), o.signal) }
      : {}),
    ...(has('backlog')
      ? {
          backlog: async (after: Cursor, o = {}) => {
            const from = parseVector(name, names, after)
            const all = await each(
              async (part, i, signal) =>
                untilAborted((async () => part.backlog?.(from[i] as Cursor, { signal }))(), signal),
              o.signal,
            )
            return {
              count: all.reduce((sum, one) => sum + (one?.count ?? 0n), 0n),
              unit: all.every((one) => one?.unit === 'events') ? 'events' : 'positions',
            }
          },
        }
      : {}),
    ...(parts.some(({ blocked }) => blocked)
      ? { blocked: () => parts.map((part) => part.blocked?.()).find((blocked) => blocked !== undefined) }
      : {}),
  }
}

/** An error of a source, with the name of that source in front, and else as it was: its cursor is that of the source. */
function errorOf(log: string, source: string, error: unknown): unknown {
  const code = codeOf(error)
  const told = new ReflexError(
    code ?? 'RECEIVE_FAILED',
    `${log}, source ${JSON.stringify(source)}: ${messageOf(error)}`,
    {
      cause: error,
      retriable: isRetriable(error),
      kind: errorKind(error),
    },
  )
  return code === undefined ? told : Object.assign(told, error) // the fields of its class, as the reason why a cursor is ahead
}

function notPinned(count: number): ReflexError {
  return new ReflexError(
    'SOURCE_CONTRACT',
    `a stream that is opened with fromHead must begin with an empty batch that carries the pinned position, but it began with ${count} events`,
    { retriable: false },
  )
}

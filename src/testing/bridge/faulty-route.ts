import type { BridgeSpec } from '../../bridge/bridge.ts'
import { parseCheckpoint } from '../../bridge/checkpoint.ts'
import { savedCursor } from '../../core/cursor.ts'
import { codeOf, isRetriable } from '../../core/errors.ts'
import type { Batch, Cursor, Event } from '../../core/event.ts'
import type { Checkpoint, Mark, Sink, SinkWriter } from '../../core/sink.ts'
import { type EventStream, eventStream, type Source } from '../../core/stream.ts'
import type { FaultyOperations } from './faulty-operations.ts'
import { ROUTE } from './route-model.ts'
import type { RoutePlay } from './route-play.ts'

/** The parts of a route as one process sees them. */
export interface FaultyRoute {
  readonly parts: Pick<BridgeSpec, 'source' | 'sink' | 'checkpoints'>
  /** What the bridge was given to be closed. */
  readonly opened: readonly { readonly what: string; readonly closed: number }[]
  /** What the writer found. */
  repair(): string | undefined
  lastRead(): Cursor | undefined
}

/** Wraps the parts of the subject: each operation may be the one that is hit, and is held against the model. */
export function faultyRoute(play: RoutePlay, operations: FaultyOperations): FaultyRoute {
  const { subject, model } = play
  const { source, checkpoints } = subject
  const opened: { readonly what: string; closed: number }[] = []
  let known: string | undefined // the checkpoint as this process read it first, or saved it last
  let incarnation: string | undefined
  let repair: string | undefined
  let lastRead: Cursor | undefined

  async function save(name: string, checkpoint: string, expected: string): Promise<void> {
    const there = await checkpoints.get(name)
    await checkpoints.set(name, checkpoint, expected)
    if (there !== (known ?? '') && there !== checkpoint)
      model.violate(
        'B8',
        `the checkpoint was ${JSON.stringify(there)}, which this process had neither read nor saved, but it overwrote it`,
      )
    model.checkSaved(checkpoint)
    play.starting.delete(operations)
  }

  /** What the writer says of the destination is what it is. */
  async function openWriter(inner: Sink, options: Parameters<Sink['open']>[0]): Promise<SinkWriter> {
    if (options.route !== ROUTE || options.source !== source.name)
      model.violate(
        'B15',
        `the sink should be opened for ${ROUTE} and ${source.name}, but was for ${options.route} and ${options.source}`,
      )
    if (!isSame(options.saved, known ?? ''))
      model.violate(
        'B9',
        `the sink should be told of the checkpoint ${JSON.stringify(known)}, but was told ${JSON.stringify(options.saved)}`,
      )
    const end = await model.checkContents()
    const writer = await inner.open(options)
    const place = model.placeOf(writer.resumeFrom)
    if (place === undefined)
      model.violate(
        'B1',
        `the sink resumes from ${JSON.stringify(writer.resumeFrom)}, which is no position of the source`,
      )
    else if (writer.resumeFrom !== '' && options.saved === undefined) model.adopt(place)
    else if (writer.resumeFrom !== '') model.pin(place)
    const claimed = model.placeOf(options.saved?.cursor ?? '') ?? 0
    if (
      play.alive === 1 &&
      model.isPinned() &&
      claimed > end &&
      end < model.source.length &&
      writer.repair === undefined
    )
      model.violate(
        'B9',
        `the destination has lost events that the checkpoint ${options.saved?.cursor} says it has, but the sink tells of no repair`,
      )
    return writer
  }

  function wrapWriter(writer: SinkWriter): SinkWriter {
    const entry = { what: 'sink', closed: 0 }
    opened.push(entry)
    repair = writer.repair
    const append = async (events: readonly Event[], cursor: Cursor): Promise<Mark> => {
      const before = play.disturbances
      const mark = await writer.append(events, cursor)
      await model.checkContents()
      // A real destination may have lost it again before it could be looked at.
      if (!play.subject.simulated || play.disturbances !== before) model.trust(cursor)
      model.appended(cursor, mark)
      return mark
    }
    return {
      resumeFrom: writer.resumeFrom,
      ...(writer.repair === undefined ? {} : { repair: writer.repair }),
      append: async (events, cursor) => {
        const middle = events.length >> 1
        const last = events[middle - 1]
        const half = last && (() => append(events.slice(0, middle), savedCursor(last.id, incarnation)))
        const excuses = (error: unknown): boolean =>
          codeOf(error) !== undefined && !isRetriable(error) && events.some(isUnacceptable)
        const mark = await operations.run('append', () => append(events, cursor), { half, excuses, events })
        if (events.length > 0) operations.unsaved++
        return mark
      },
      [Symbol.asyncDispose]: async () => {
        entry.closed++
        // What is on its way to a server is not stopped by the end of a connection.
        if (play.late.size === 0) return writer[Symbol.asyncDispose]()
        void Promise.allSettled(play.late)
          .then(() => writer[Symbol.asyncDispose]())
          .catch(() => {})
      },
    }
  }
  const isUnacceptable = ({ id }: Event): boolean =>
    subject.unacceptable?.includes(model.source.find((each) => each.id === id)?.event as never) === true

  function* parts({ events, cursor }: Batch): Generator<Batch> {
    let i = 0
    for (; events.length - i > play.batch; i += play.batch) {
      const part = events.slice(i, i + play.batch)
      yield { events: part, cursor: (part.at(-1) as Event).id }
    }
    yield { events: i === 0 ? events : events.slice(i), cursor }
  }

  function wrapStream(inner: EventStream, from: number, signal: AbortSignal | undefined): EventStream {
    const entry = { what: 'source', closed: 0 }
    opened.push(entry)
    incarnation = inner.incarnation
    let place = from
    const excuses = (error: unknown): boolean => codeOf(error) === 'CURSOR_TRIMMED' && place < play.trimmed
    async function* batches(): AsyncGenerator<Batch> {
      const iterator = inner[Symbol.asyncIterator]()
      for (;;) {
        const read = await iterator.next().then(
          (result) => ({ result, error: undefined }),
          (error: unknown) => ({ result: undefined, error }),
        )
        if (read.result === undefined) {
          if (!signal?.aborted) await operations.run('read', () => Promise.reject(read.error), { excuses })
          throw read.error
        }
        if (read.result.done) return
        for (const part of parts(read.result.value)) {
          yield await operations.run('read', async () => {
            await play.appending
            place = model.learnBatch(part, place, incarnation)
            lastRead = savedCursor(part.cursor, incarnation)
            return part
          })
        }
      }
    }
    const close = async (): Promise<void> => {
      entry.closed++
      await inner[Symbol.asyncDispose]()
    }
    return eventStream(batches(), close, { signal, incarnation })
  }

  async function openSource(
    after: Cursor,
    options: Parameters<Source['stream']>[1],
  ): Promise<{ stream: EventStream; from: number }> {
    await play.appending
    const opening = source.stream(after, options)
    play.opening.add(opening)
    const stream = await opening.finally(() => play.opening.delete(opening))
    return { stream, from: options.fromHead ? model.source.length : (model.placeOf(after) ?? 0) }
  }

  return {
    opened,
    repair: () => repair,
    lastRead: () => lastRead,
    parts: {
      source: {
        ...source,
        stream: async (after, options) => {
          const { stream, from } = await operations.run('open source', () => openSource(after, options), {
            drop: (late) => late.stream[Symbol.asyncDispose](),
            mayRepeat: true,
            excuses: (error) => codeOf(error) === 'CURSOR_TRIMMED' && (model.placeOf(after) ?? 0) < play.trimmed,
          })
          return wrapStream(stream, from, options.signal)
        },
      },
      sink: {
        name: 'faulty',
        open: async (options) => {
          const inner = subject.sink()
          const writer = await operations.run('open sink', () => openWriter(inner, options), {
            drop: (late) => late[Symbol.asyncDispose](),
            mayRepeat: true,
          })
          return wrapWriter(writer)
        },
      },
      checkpoints: {
        get: (name, options) =>
          operations.run(
            'get',
            async () => {
              const stored = await checkpoints.get(name, options)
              known ??= stored
              if (stored === '') play.starting.add(operations)
              return stored
            },
            { mayRepeat: true },
          ),
        set: async (name, checkpoint, expected) => {
          await operations.run('save', () => save(name, checkpoint, expected), { mayRepeat: true })
          known = checkpoint
          operations.unsaved = 0
        },
        reset: (name, checkpoint) => checkpoints.reset(name, checkpoint),
      },
    },
  }
}

function isSame(saved: Checkpoint | undefined, stored: string): boolean {
  let parsed: Checkpoint | undefined
  try {
    parsed = parseCheckpoint(ROUTE, stored)
  } catch {
    return true // of another bridge, which has a form of its own
  }
  return saved?.cursor === parsed?.cursor && saved?.mark === parsed?.mark
}

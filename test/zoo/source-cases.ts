import {
  type Batch,
  type Cursor,
  CursorInvalidError,
  checkStreamOptions,
  DecodeError,
  type Event,
  type EventStream,
  eventStream,
  type MemoryLogOptions,
  memoryLog,
  OptionError,
  type StreamFunc,
  type StreamOptions,
} from '../../src/core/index.ts'
import type { SourceSubject } from '../../src/testing/source/source-subject.ts'
import { flawedLog, rightWays as right, type Slot, type Ways } from './flawed-log.ts'

/** A source that is right, or wrong in one way. */
export interface SourceCase {
  readonly name: string
  readonly of: 'source'
  create(): SourceSubject
  /** Where it is known from. */
  readonly cites?: string
}

function correct(name: string, create: () => SourceSubject): SourceCase {
  return { name, of: 'source', create }
}

/** A log that is kept or read in another way. */
function broken(name: string, cites: string, different: Partial<Ways>): SourceCase {
  return { name, of: 'source', create: () => flawedLog(different), cites }
}

/** A stream that is given on in another way. */
function wrapped(
  name: string,
  cites: string,
  wrap: (stream: StreamFunc) => StreamFunc,
  different: Partial<Ways> = {},
): SourceCase {
  return { name, of: 'source', create: () => flawedLog(different, wrap), cites }
}

/** Batches that are given on in another way. */
function rebatched(
  name: string,
  cites: string,
  change: (batches: EventStream, after: Cursor, options: StreamOptions) => AsyncIterable<Batch>,
  different: Partial<Ways> = {},
): SourceCase {
  const wrap =
    (stream: StreamFunc): StreamFunc =>
    async (after, options) => {
      const inner = await stream(after, options)
      const { incarnation } = inner
      return eventStream(change(inner, after, options), () => inner[Symbol.asyncDispose](), {
        signal: options.signal,
        incarnation,
      })
    }
  return wrapped(name, cites, wrap, different)
}

/** Events that are not what was appended. */
function changed(name: string, cites: string, change: (event: Event) => Partial<Event>): SourceCase {
  return rebatched(name, cites, async function* (batches) {
    for await (const { events, cursor } of batches)
      yield { events: events.map((event) => ({ ...event, ...change(event) })), cursor }
  })
}

/** The members of an open stream, some of them others. */
function restreamed(
  name: string,
  cites: string,
  change: (stream: EventStream, options: StreamOptions) => Partial<EventStream>,
  different: Partial<Ways> = {},
): SourceCase {
  const wrap =
    (stream: StreamFunc): StreamFunc =>
    async (after, options) => {
      const inner = await stream(after, options)
      return { ...inner, ...change(inner, options) }
    }
  return wrapped(name, cites, wrap, different)
}

/** The reads of an open stream. */
function reread(
  name: string,
  cites: string,
  change: (next: () => Promise<IteratorResult<Batch>>, options: StreamOptions) => () => Promise<IteratorResult<Batch>>,
  different: Partial<Ways> = {},
): SourceCase {
  return restreamed(
    name,
    cites,
    (stream, options) => ({
      [Symbol.asyncIterator]: () => {
        const iterator = stream[Symbol.asyncIterator]()
        return {
          next: change(() => iterator.next(), options),
          return: async () => (await iterator.return?.()) as never,
        }
      },
    }),
    different,
  )
}

const memory = (options: MemoryLogOptions): SourceSubject => {
  const log = memoryLog(options)
  return {
    source: log.source,
    append: async (events) => log.append(...events).map(({ id }) => id),
    trim: async (id) => log.trim(id),
    remove: async (id) => log.remove(id),
    rewind: async (id) => log.rewind(id),
    recreate: async () => log.recreate(),
    malformed: ['x', '-1', '1.5'],
  }
}

const end: IteratorResult<Batch> = { done: true, value: undefined }
const never = new Promise<never>(() => {})
const utf8 = new TextDecoder()
const event = (slot: Slot): boolean => slot.is === 'event'

/** As `right.take`, over slots of which some are taken for others. */
const taking =
  (change: (slot: Slot) => Slot): Ways['take'] =>
  (slots, types, from) =>
    right.take(slots.map(change), types, from)

/** Sources that are right: no property is broken. */
export const sourceCorrect: readonly SourceCase[] = [
  ...[1, 3, 1000].map((batchSize) => correct(`memoryLog in batches of ${batchSize}`, () => memory({ batchSize }))),
  correct('a log on a server', () => flawedLog()),
  correct('a log without an incarnation, in large batches', () => flawedLog({ incarnated: false, batchSize: 1000 })),
  correct('a log with control records and transactions that were rolled back, as Kafka', () => {
    const { rewind: _, ...log } = flawedLog({ writes: ['aborted', 'markers'], batchSize: 2 })
    return log
  }),
  correct('a log whose events are committed out of order, as a table', () => flawedLog({ writes: ['late'] })),
  correct('a log with ids that are no doubles', () => flawedLog({ first: 2n ** 53n - 2n })),
  correct('a writer that is not told the ids', () => {
    const log = flawedLog()
    return { ...log, append: async (events) => void (await log.append(events)) as undefined }
  }),
  correct('a source that has no option and tells nothing', () => {
    const { source, ...log } = flawedLog()
    const stream: StreamFunc = async (after, options) => {
      const { toHead, fromHead, types } = options
      if (toHead || fromHead || types) throw new OptionError('log: no option is supported')
      return source.stream(after, options)
    }
    return { ...log, source: { name: source.name, stream } }
  }),
  correct('a batch is read ahead', () =>
    flawedLog({}, (stream) => async (after, options) => {
      const inner = await stream(after, options)
      async function* ahead(): AsyncGenerator<Batch> {
        const iterator = inner[Symbol.asyncIterator]()
        let next = iterator.next()
        for (;;) {
          const { done, value } = await next
          if (done) return
          next = iterator.next()
          next.catch(() => {})
          yield value
        }
      }
      const { incarnation } = inner
      return eventStream(ahead(), () => inner[Symbol.asyncDispose](), { signal: options.signal, incarnation })
    }),
  ),
]

/** Sources that are broken, each in one way. */
export const sourceCases: readonly SourceCase[] = [
  // where a stream begins
  broken('resumes at its cursor, not after it', '"0" means after offset 0', {
    start: (position, after) => (after === '' ? position : position - 1n),
  }),
  broken('resumes one after the next', 'kafkajs: last batch + 1, taken twice', {
    start: (position, after) => (after === '' ? position : position + 1n),
  }),
  broken('"" is the head', 'XREAD from $; kafkajs fromBeginning: false', {
    prove: (position, { base, head }) => (position === base ? head : position),
  }),
  broken('a trimmed cursor is moved to the earliest', 'docs/traps.md, kafkajs 4: auto.offset.reset earliest', {
    prove: (position, now, when) =>
      position < now.base && when === 'open' ? now.base : right.prove(position, now, when),
  }),
  broken('a trimmed cursor is moved to the head', 'docs/traps.md, kafkajs 4: auto.offset.reset latest', {
    prove: (position, now, when) =>
      position < now.base && when === 'open' ? now.head : right.prove(position, now, when),
  }),
  broken('trimmed under a reader, it goes on at the earliest', 'docs/traps.md, nats 2 and ioredis 1', {
    prove: (position, now, when) =>
      position < now.base && when === 'streaming' ? now.base : right.prove(position, now, when),
  }),
  broken('trimmed under a reader, it goes on at the head', '@platformatic/kafka: fallbackMode latest', {
    prove: (position, now, when) =>
      position < now.base && when === 'streaming' ? now.head : right.prove(position, now, when),
  }),
  broken('"" is trimmed when the log is, before the first read', 'docs/rules.md, rule 4: "" is never trimmed', {
    earliest: 'at open',
  }),
  broken('a cursor beyond the end waits until the log is that long', 'docs/traps.md, nats 2 and ioredis 1', {
    prove: (position, now, when) =>
      position > now.head && when === 'open' ? position : right.prove(position, now, when),
    take: (slots, types, from) => right.take(slots, types, from),
  }),
  broken(
    'a cursor beyond the end is moved to the head',
    'docs/traps.md, kafkajs 5: out of range is taken for trimmed',
    {
      prove: (position, now, when) =>
        position > now.head && when === 'open' ? now.head : right.prove(position, now, when),
    },
  ),
  broken('a malformed cursor is taken for ""', 'parseInt(cursor) || 0', {
    position: (cursor, now, parse) => {
      try {
        return right.position(cursor, now, parse)
      } catch (error) {
        if (error instanceof CursorInvalidError) return now.base
        throw error
      }
    },
  }),
  broken('the number at the front of a cursor is taken', 'parseInt("1-0") is 1', {
    parse: (text) => (Number.isNaN(Number.parseInt(text, 10)) ? right.parse(text) : BigInt(Number.parseInt(text, 10))),
  }),
  broken('a malformed cursor is a SyntaxError', 'BigInt("abc") throws', {
    position: (cursor) => BigInt(cursor.split('@')[0] ?? ''),
  }),
  broken('the incarnation in a cursor is not looked at', 'position@incarnation; Kafka topic id', {
    position: (cursor, now, parse) => right.position(cursor.replace(/(?<=^\d+)@g\d+$/, ''), now, parse),
  }),
  broken('a log that was recreated under a reader is read on', 'docs/rules.md, rule 4: checked while streaming', {
    recreated: (position) => position,
  }),
  broken(
    'a log that was recreated under a reader is read from its beginning',
    'JetStream ordered consumers are made anew',
    {
      recreated: (_, { base }) => base,
      prove: (position, now, when) =>
        position > now.head && when === 'streaming' ? now.base : right.prove(position, now, when),
    },
  ),
  broken(
    'what was lost under a reader is waited for',
    'docs/rules.md, rule 4: a server that was restored from an older copy',
    {
      prove: (position, now, when) =>
        position > now.head && when === 'streaming' ? position : right.prove(position, now, when),
    },
  ),
  broken(
    'a reader goes on at the head of a log that lost its tail',
    'Kafka clients that truncate to the leader epoch',
    {
      prove: (position, now, when) =>
        position > now.head && when === 'streaming' ? now.head : right.prove(position, now, when),
    },
  ),
  wrapped(
    'an open proves nothing: the error comes with the first read',
    'resolves once the cursor is proven',
    (stream) => async (after, options) => {
      options.signal?.throwIfAborted()
      const opening = stream(after, options)
      opening.catch(() => {})
      async function* batches(): AsyncGenerator<Batch> {
        yield* await opening
      }
      return eventStream(batches(), async () => (await opening)[Symbol.asyncDispose](), { signal: options.signal })
    },
  ),

  // toHead and fromHead
  broken('toHead ends with the last event asked for, not at the position', 'docs/traps.md, kafkajs 3', {
    isAtEnd: (_, end, lastId) => lastId >= end,
  }),
  broken(
    'toHead waits for the id after a control record',
    'docs/traps.md, kafkajs 3: the last event is 6, the head 8',
    {
      writes: ['markers'],
      isAtEnd: (_, end, lastId) => lastId >= end,
    },
  ),
  broken('toHead ends at a head that moves', 'docs/verify.md S7', { pinned: 'always' }),
  broken('toHead pins the head at the first read', 'resolves once the head is pinned', {
    pinned: 'at the first read',
  }),
  broken('toHead ends one before the head', 'listOffsets is the next offset, last_seq the last', {
    end: ({ head }) => head - 1n,
  }),
  broken('toHead waits for a first event in an empty log', 'nats: at once if num_pending is 0 on open', {
    isAtEnd: (position, end) => position >= end && end > right.first,
  }),
  broken('toHead is ignored', 'docs/rules.md, rule 12', { end: ({ head }) => head, isAtEnd: () => false }),
  rebatched('fromHead has no first batch', 'docs/rules.md, rule 5', async function* (batches, _, { fromHead }) {
    let isFirst = true
    for await (const batch of batches) {
      if (!isFirst || !fromHead) yield batch
      isFirst = false
    }
  }),
  broken('fromHead in an empty log begins with the cursor ""', 'docs/rules.md, rule 5: "0", "-1" or "0-0"', {
    firstBatch: (position) => ({ events: [], cursor: position === right.first ? '' : String(position) }),
  }),
  broken('fromHead gives the last event there is', 'windshift: AtStreamEnd maps to DeliverLast', {
    start: (position, _, { fromHead }) => (fromHead && position > right.first ? position - 1n : position),
  }),
  wrapped(
    'fromHead with a cursor is ignored',
    'docs/rules.md, rule 5: refused',
    (stream) => (after, options) => stream(after, after === '' ? options : { ...options, fromHead: undefined }),
  ),
  wrapped(
    'fromHead is ignored',
    'eda: Backfill',
    (stream) => (after, options) => stream(after, { ...options, fromHead: undefined }),
  ),

  // types
  wrapped(
    'types are ignored',
    'docs/rules.md, rule 12',
    (stream) => (after, options) => stream(after, { ...options, types: undefined }),
  ),
  broken('types that are no integers match nothing', 'docs/rules.md, rule 12', {
    check: (after, options) => checkStreamOptions('log', after, { ...options, types: undefined }),
  }),
  broken(
    'the position does not move over events of other types',
    'luno/reflex: a filtered consumer falls off the log',
    {
      emptyBatches: false,
    },
  ),
  broken('the cursor is the last event that was asked for', 'an empty batch moves the position', {
    cursor: (_, { events, from }) => BigInt(events.at(-1)?.id ?? from),
  }),
  broken('only the first type is asked for', 'filter_subject for filter_subjects', {
    take: (slots, types, from) => right.take(slots, types?.slice(0, 1), from),
  }),

  // abort and close
  broken('a signal is not heeded', 'mysql2 has no AbortSignal', { heedsSignal: false }),
  reread(
    'a pending read does not end with the abort',
    'XREAD BLOCK; kafkajs maxWaitTime',
    (next, { signal }) =>
      async () => {
        signal?.throwIfAborted()
        const read = next()
        const aborted = new Promise<never>((_, reject) =>
          signal?.addEventListener('abort', () => setTimeout(() => reject(signal.reason), 1000)),
        )
        aborted.catch(() => {})
        return read.catch((error: unknown) => (error === signal?.reason ? never : Promise.reject(error)))
      },
  ),
  reread(
    'an abort is an AbortError of its own',
    'new DOMException("aborted"); the reason is lost',
    (next, { signal }) =>
      () =>
        next().catch((error: unknown) => {
          throw signal?.aborted ? new Error('This operation was aborted') : error
        }),
  ),
  reread(
    'an abort ends the stream as if it were at its end',
    'docs/traps.md, nats 1: the iterator ends without an error',
    (next, { signal }) =>
      () =>
        next().catch((error: unknown) => {
          if (signal?.aborted) return end
          throw error
        }),
  ),
  wrapped(
    'an abort is seen after the next batch',
    'a flag that is looked at once in each round',
    (stream) => async (after, options) => {
      const inner = await stream(after, { ...options, signal: undefined })
      async function* batches(): AsyncGenerator<Batch> {
        for await (const batch of inner) {
          yield batch
          options.signal?.throwIfAborted()
        }
      }
      return eventStream(batches(), () => inner[Symbol.asyncDispose](), { incarnation: inner.incarnation })
    },
  ),
  wrapped('an open does not look at its signal', 'docs/rules.md, rule 6', (stream) => async (after, options) => {
    const { signal } = options
    if (!signal?.aborted) return stream(after, options)
    return stream(after, { ...options, signal: undefined })
  }),
  wrapped(
    'an open that is aborted never ends',
    'mysql2: destroy() leaves the promise pending',
    (stream) => (after, options) =>
      stream(after, options).catch((error: unknown) => (options.signal?.aborted ? never : Promise.reject(error))),
  ),
  restreamed('a close does not end a pending read', 'Node: return() hangs during a pending next()', (stream) => {
    let closed = false
    return {
      [Symbol.asyncIterator]: () => {
        const iterator = stream[Symbol.asyncIterator]()
        return { next: () => iterator.next().then((result) => (closed ? never : result)) }
      },
      [Symbol.asyncDispose]: () => {
        closed = true
        return stream[Symbol.asyncDispose]()
      },
    }
  }),
  restreamed(
    'a close waits for the read that is pending',
    'kafkajs: disconnect waits for the fetch in flight',
    (stream) => {
      let reading: Promise<unknown> = Promise.resolve()
      return {
        [Symbol.asyncIterator]: () => {
          const iterator = stream[Symbol.asyncIterator]()
          return {
            next: () => {
              const read = iterator.next()
              reading = read.catch(() => {})
              return read
            },
          }
        },
        [Symbol.asyncDispose]: async () => {
          await reading
          await stream[Symbol.asyncDispose]()
        },
      }
    },
  ),
  restreamed('a second close throws', 'docs/rules.md, rule 6: close is idempotent', (stream) => {
    let closed = false
    return {
      [Symbol.asyncDispose]: async () => {
        if (closed) throw new Error('the stream is closed already')
        closed = true
        await stream[Symbol.asyncDispose]()
      },
    }
  }),
  wrapped(
    'a second iteration starts over',
    'async iterables that make a generator each time',
    (stream) => async (after, options) => {
      const first = await stream(after, options)
      let iterated = false
      return {
        ...first,
        [Symbol.asyncIterator]: () => {
          if (!iterated) {
            iterated = true
            return first[Symbol.asyncIterator]()
          }
          async function* again(): AsyncGenerator<Batch> {
            yield* await stream(after, options)
          }
          return again()
        },
      }
    },
  ),
  restreamed('a stream that was never read is not closed', 'Node: return() before next() skips finally', (stream) => {
    let isRead = false
    return {
      [Symbol.asyncIterator]: () => {
        isRead = true
        return stream[Symbol.asyncIterator]()
      },
      [Symbol.asyncDispose]: async () => {
        if (isRead) await stream[Symbol.asyncDispose]()
      },
    }
  }),
  broken('a close leaves its connection open', 'docs/traps.md, nats 3: ordered consumers pile up', { leaks: 'always' }),
  broken('an open that is refused leaves its connection open', 'connect, then check, without a finally', {
    leaks: 'when it is refused',
  }),
  broken('an open that is aborted leaves its connection open', 'docs/rules.md, rule 6', {
    leaks: 'when it is aborted',
  }),

  // waiting
  broken('a stream ends at the head', 'docs/rules.md, rule 3: StreamEndedError', { atHead: 'ends' }),
  broken('what comes between the look and the wait is missed', 'subscribe to wake-ups before querying', {
    waits: 'without looking again',
  }),
  broken('an idle stream never wakes', 'docs/traps.md, kafkajs 1: stuck for ever', { waits: 'for ever' }),

  // order, ids and what is passed over
  broken('events are sorted by their ids as strings', 'docs/traps.md, ioredis 6', {
    batchSize: 10,
    take: (slots, types, from) => {
      const { events, passed } = right.take(slots, types, from)
      return { events: events.sort((a, b) => (a.id < b.id ? -1 : 1)), passed }
    },
  }),
  broken('events are sorted by their time', 'order by created_at', {
    batchSize: 10,
    take: (slots, types, from) => {
      const { events, passed } = right.take(slots, types, from)
      return { events: events.sort((a, b) => a.timestamp - b.timestamp), passed }
    },
  }),
  broken('a batch is given newest first', 'XREVRANGE', {
    take: (slots, types, from) => {
      const { events, passed } = right.take(slots, types, from)
      return { events: events.reverse(), passed }
    },
  }),
  broken('ids are doubles', 'mysql2: 9007199254740993 becomes …992', {
    first: 2n ** 53n - 2n,
    parse: (text) => BigInt(Number(right.parse(text))),
  }),
  (() => {
    let read = 0
    return changed('each read gives new ids', 'a counter of the consumer, or a delivery sequence', () => ({
      id: String(8 + read++),
    }))
  })(),
  wrapped('streams share what they have read', 'consumer groups, work queues', (stream) => {
    const streams = new Set<object>()
    const given = new Set<string>()
    return async (after, options) => {
      const inner = await stream(after, options)
      if (streams.size === 0) given.clear()
      streams.add(inner)
      async function* batches(): AsyncGenerator<Batch> {
        const own = new Set<string>()
        for await (const { events, cursor } of inner) {
          const left = events.filter(({ id }) => own.has(id) || !given.has(id))
          for (const { id } of left) given.add(id)
          yield { events: left, cursor }
        }
      }
      const close = (): Promise<void> => {
        streams.delete(inner)
        return Promise.resolve(inner[Symbol.asyncDispose]())
      }
      return eventStream(batches(), close, { signal: options.signal, incarnation: inner.incarnation })
    }
  }),
  wrapped('the close of a stream ends the others', 'one connection for all streams', (stream) => {
    const closes = new Set<() => PromiseLike<void>>()
    return async (after, options) => {
      const inner = await stream(after, options)
      const close = (): PromiseLike<void> => inner[Symbol.asyncDispose]()
      closes.add(close)
      return {
        ...inner,
        [Symbol.asyncDispose]: async () => {
          await Promise.all([...closes].map((each) => each()))
          closes.clear()
        },
      }
    }
  }),
  broken('what was taken out of the middle ends the batches', 'a page that is short is taken for the last', {
    take: (slots, types, from) => {
      const at = slots.findIndex(({ is }) => is === 'removed')
      return at < 0 ? right.take(slots, types, from) : right.take(slots.slice(0, at), types, from)
    },
  }),
  broken('what was taken out of the middle is an empty event', 'a left join, a row of nulls', {
    take: taking((slot) =>
      slot.is === 'removed'
        ? { is: 'event', event: { id: slot.id, type: 0, foreignId: '', timestamp: 0, metadata: null, headers: {} } }
        : slot,
    ),
  }),
  broken(
    'what was taken out of the middle takes the next event with it',
    'JetStream ordered consumers after deletes; off by one',
    {
      take: (slots, types, from) =>
        right.take(
          slots.map((slot, i) => (slots[i - 1]?.is === 'removed' ? { is: 'marker' } : slot)),
          types,
          from,
        ),
    },
  ),
  broken('events that are committed late are passed over', 'mysql2: where id > ? missed 160 of 394', {
    writes: ['late'],
    take: taking((slot) => (slot.is === 'late' ? { is: 'marker' } : slot)),
  }),
  broken('a control record ends the reading', 'docs/traps.md, kafkajs 1: kafkajs#1072', {
    writes: ['markers'],
    take: (slots, types, from) => {
      const at = slots.findIndex(({ is }) => is === 'marker')
      return at < 0 ? right.take(slots, types, from) : right.take(slots.slice(0, at), types, from)
    },
  }),
  broken('a control record takes the next event with it', 'skipping by count, not by offset', {
    writes: ['markers'],
    batchSize: 10,
    take: (slots, types, from) =>
      right.take(
        slots.map((slot, i) => (slots[i - 1]?.is === 'marker' ? { is: 'marker' } : slot)),
        types,
        from,
      ),
  }),
  broken('what was rolled back is given', 'docs/traps.md, kafkajs 2: aborted messages leak', {
    writes: ['aborted', 'markers'],
    take: taking((slot) => (slot.is === 'aborted' ? { ...slot, is: 'event' } : slot)),
  }),
  broken('what is no event is skipped', 'docs/rules.md, rule 9; windshift: Term is a silent drop', {
    take: taking((slot) => (slot.is === 'garbage' ? { is: 'marker' } : slot)),
  }),
  broken('what is no event is an error without a code', 'JSON.parse throws through', {
    take: (slots, types, from) => {
      try {
        return right.take(slots, types, from)
      } catch (error) {
        throw (error as DecodeError).cause
      }
    },
  }),
  rebatched('what is no event ends the stream', 'catch and return', async function* (batches) {
    try {
      yield* batches
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error
    }
  }),
  broken('what is no event takes what is before it in its batch along', 'a batch is decoded as a whole', {
    take: (slots, types, from) => {
      if (!slots.some(({ is }) => is === 'garbage')) return right.take(slots, types, from)
      throw new DecodeError('log', { position: String(from + 1n), cause: new Error('it is no event') })
    },
  }),

  // batches and their cursors
  broken('the cursor of a batch is the end of what was asked for', 'position = offset + count, not what came', {
    cursor: (position, { head }) => (position + 1n > head ? head : position + 1n),
  }),
  broken('the cursor of a batch is the head', 'high watermark for position', { cursor: (_, { head }) => head }),
  broken('the cursor of a batch is where it began', 'committed before it was moved', { cursor: (_, { from }) => from }),
  broken('the cursor of a batch is its last event but one', 'Kafka commits the next offset, not the last', {
    cursor: (position) => position - 1n,
  }),
  rebatched('the cursor of a batch is a number', 'docs/rules.md, rule 11: never number', async function* (batches) {
    for await (const { events, cursor } of batches) yield { events, cursor: Number(cursor) as unknown as string }
  }),
  rebatched(
    'the last event of a full batch is lost',
    'limit + 1 rows are read, and one is dropped',
    async function* (batches) {
      for await (const { events, cursor } of batches) yield { events: events.slice(0, 2), cursor }
    },
  ),
  rebatched(
    'the last batch before the end is lost',
    'done: true with a value',
    async function* (batches, _, { toHead }) {
      let held: Batch | undefined
      for await (const batch of batches) {
        if (!toHead) yield batch
        else if (held !== undefined) yield held
        held = batch
      }
    },
  ),
  rebatched('one array serves for all batches', 'buffers that are used again', async function* (batches) {
    const all: Event[] = []
    for await (const { events, cursor } of batches) {
      all.splice(0, all.length, ...events)
      yield { events: all, cursor }
    }
  }),
  rebatched(
    'payloads are views of a buffer that is used again',
    'Buffer.subarray of a network buffer',
    async function* (batches) {
      const buffer = new Uint8Array(1024)
      for await (const { events, cursor } of batches) {
        let at = 0
        const copied = events.map((each) => {
          if (each.metadata === null || each.metadata.length > 100 || at > 900) return each
          buffer.set(each.metadata, at)
          at += each.metadata.length
          return { ...each, metadata: buffer.subarray(at - each.metadata.length, at) }
        })
        yield { events: copied, cursor }
      }
    },
  ),

  // what an event says
  changed('a null payload becomes empty', 'bridges: tombstones; docs/rules.md, rule 11', ({ metadata }) => ({
    metadata: metadata ?? new Uint8Array(),
  })),
  changed('an empty payload becomes null', 'if (!payload.length)', ({ metadata }) => ({
    metadata: metadata?.length ? metadata : null,
  })),
  changed('payloads are read as UTF-8', 'toString() and Buffer.from', ({ metadata }) => ({
    metadata: metadata && Buffer.from(utf8.decode(metadata)),
  })),
  changed('payloads are cut at 64 kB', 'blob columns of MySQL', ({ metadata }) => ({
    metadata: metadata?.subarray(0, 65_535) ?? null,
  })),
  changed(
    'of several headers of a name the last is kept',
    'Object.fromEntries; docs/traps.md, kafkajs 12',
    ({ headers }) => ({
      headers: Object.fromEntries(
        Object.entries(headers).map(([key, value]) => [key, typeof value === 'string' ? value : (value.at(-1) ?? '')]),
      ),
    }),
  ),
  changed('names of headers are in lower case', 'HTTP and gRPC metadata', ({ headers }) => ({
    headers: Object.fromEntries(Object.entries(headers).map(([key, value]) => [key.toLowerCase(), value])),
  })),
  changed('values of headers are trimmed', 'NATS trims " lead"', ({ headers }) => ({
    headers: Object.fromEntries(
      Object.entries(headers).map(([key, value]) => [key, typeof value === 'string' ? value.trim() : value]),
    ),
  })),
  changed('headers are lost', 'bridges: the record key is dropped', () => ({ headers: {} })),
  changed('timestamps are cut to ms', 'mysql2: Date drops microseconds', ({ timestamp }) => ({
    timestamp: Math.trunc(timestamp),
  })),
  changed('timestamps are those of the log', 'LogAppendTime', () => ({ timestamp: 1_767_225_600_000 })),
  changed('a foreignId is trimmed', 'char columns of MySQL', ({ foreignId }) => ({ foreignId: foreignId.trim() })),
  changed('a foreignId is in lower case', 'collations that end in _ci', ({ foreignId }) => ({
    foreignId: foreignId.toLowerCase(),
  })),
  changed('a foreignId is normalised', 'String.normalize', ({ foreignId }) => ({
    foreignId: foreignId.normalize('NFKC'),
  })),
  changed('a foreignId is percent-decoded once too often', 'docs/rules.md, rule 11: one codec', ({ foreignId }) => {
    try {
      return { foreignId: decodeURIComponent(foreignId) }
    } catch {
      return {}
    }
  }),
  changed('a foreignId ends at a zero', 'C strings', ({ foreignId }) => ({
    foreignId: foreignId.split('\u0000')[0] ?? '',
  })),
  changed('types are unsigned', 'readUInt32BE', ({ type }) => ({ type: type >>> 0 })),
  changed('types have 16 bits', 'smallint columns', ({ type }) => ({ type: (type << 16) >> 16 })),

  // servers and connections
  broken('after a lost connection it goes on from the head', 'rule 3: no adapter reconnects', {
    lost: (_, __, { head }) => head,
  }),
  broken(
    'after a lost connection it goes on from the earliest',
    'docs/traps.md, kafkajs 4: seek is forgotten after a rebalance',
    {
      lost: (_, __, { base }) => base,
    },
  ),
  broken('after a lost connection it goes on one too late', 'ioredis sends XREAD again after it was answered', {
    lost: (_, position) => position + 1n,
  }),
  broken('after a lost connection it repeats one', 'docs/rules.md, rule 2: no backward jump', {
    lost: (_, position) => position - 1n,
  }),
  reread(
    'a lost connection ends the stream without an error',
    'docs/traps.md, nats 1',
    (next) => () =>
      next().catch((error: unknown) => {
        if ((error as Error).message.includes('connection was lost')) return end
        throw error
      }),
  ),
  reread(
    'a read hangs when its connection is lost',
    'mysql2: destroy() leaves the promise pending',
    (next) => () =>
      next().catch((error: unknown) =>
        (error as Error).message.includes('connection was lost') ? never : Promise.reject(error),
      ),
  ),
  broken('a frozen server is waited for', 'docs/traps.md, nats 4: pings every 2 minutes', { timesOut: false }),
  broken('a question to a frozen server is never answered', 'docs/traps.md, ioredis 4', { questionsTimeOut: false }),
  reread(
    'a read at a frozen server is an empty batch',
    'docs/traps.md, ioredis 4: blockingTimeout resolves null',
    (next) => {
      let cursor: Cursor | undefined
      let isFrozen = false
      return async () => {
        try {
          if (!isFrozen) {
            const result = await next()
            cursor = result.value?.cursor
            return result
          }
        } catch (error) {
          if (!(error as Error).message.includes('not answered')) throw error
          isFrozen = true
        }
        return { done: false, value: { events: [], cursor: cursor ?? '8' } }
      }
    },
  ),

  // what it tells
  broken('the head is one before', 'last_seq and the next offset', { head: ({ head }) => head - 1n }),
  broken('the head is one after', 'listOffsets is the next offset', { head: ({ head }) => head + 1n }),
  broken('the backlog counts what was taken out', 'head - position', { backlog: (slots) => slots.length }),
  broken('the backlog counts the event of the cursor', 'count(*) where id >= ?', {
    backlog: (slots) => slots.filter(event).length + 1,
  }),
  broken('at gives the event of the time itself', 'offsetsForTimes is inclusive, a cursor is not', {
    at: (index) => index + 1,
  }),
  broken('cursors are compared as strings', 'docs/traps.md, ioredis 6', {
    compare: (a, b) => (String(a) < String(b) ? -1 : a === b ? 0 : 1),
  }),
]

import { untilAborted } from './abort.ts'
import { positionIn } from './cursor.ts'
import { CursorAheadError, CursorInvalidError, CursorTrimmedError, OptionError } from './errors.ts'
import type { Batch, Cursor, Event, NewEvent } from './event.ts'
import { checkStreamOptions, eventStream, type Source, type StreamOptions } from './stream.ts'

/** A log in memory that can do to its readers what real logs do. Ids are `1`, `2`, … */
export interface MemoryLog {
  readonly source: Source
  /** Appends in order and wakes every reader. Returns the events as they stand in the log. */
  append(...events: readonly NewEvent[]): Event[]
  /** Takes `count` positions that will never hold an event (control records, rollbacks). Default: 1. */
  skip(count?: number): void
  /** Takes one event out of the middle; readers pass over it. */
  remove(id: string): void
  /** Retention: removes everything before `id`. A reader that still needed it gets `CursorTrimmedError`. */
  trim(id: string): void
  /** Deletes the log and makes a new empty one of the same name. */
  recreate(): void
  /** Loses everything after `id`, as a server does that was restored from an older copy. */
  rewind(id: string): void
}

/** Options of `memoryLog`. */
export interface MemoryLogOptions {
  /** Default: `memory`. */
  readonly name?: string
  /** The most events in a batch. Default: 1,000. */
  readonly batchSize?: number
}

/** Nobody sees it; an abort without a reason would make an error, with a stack, each time. */
const CLOSED = 'closed'

/**
 * Makes an in-memory log for tests of consumers and bridges: its source honours every option and throws every cursor error.
 *
 * @example
 * const log = memoryLog()
 * log.append({ type: 1, foreignId: 'order-7' })
 * await run({ stream: log.source.stream, cursors: memoryCursors(), consumer }, { toHead: true })
 */
export function memoryLog({ name = 'memory', batchSize = 1000 }: MemoryLogOptions = {}): MemoryLog {
  if (!Number.isInteger(batchSize) || batchSize < 1)
    throw new OptionError(`${name}: batchSize must be a positive integer, but is ${batchSize}`)
  let generation = 1
  let base = 0 // the position before the first that is kept
  let entries: (Event | undefined)[] = []
  let gaps = 0 // how many of the entries are not events
  let grown = Promise.withResolvers<void>()

  const head = (): number => base + entries.length
  const wake = (): void => {
    grown.resolve()
    grown = Promise.withResolvers()
  }
  const parse = (cursor: Cursor): number => {
    if (cursor === '') return base
    const position = positionIn(name, cursor, String(generation))
    if (!/^\d{1,15}$/.test(position)) throw new CursorInvalidError(name, { cursor, expected: 'a decimal position' })
    return Number(position)
  }
  const checkId = (id: string): void => {
    if (!/^\d{1,15}$/.test(id))
      throw new OptionError(`${name}: expected the id of an event, but found ${JSON.stringify(id)}`)
  }
  /** Proves that everything after `position` can still be read. */
  const prove = (position: number, opened: number): void => {
    const cursor = String(position)
    if (opened !== generation) {
      throw new CursorAheadError(name, {
        cursor: `${cursor}@${opened}`,
        reason: 'recreated',
        found: `incarnation ${generation}`,
      })
    }
    if (position > head()) throw new CursorAheadError(name, { cursor, reason: 'beyond', found: String(head()) })
    if (position < base) throw new CursorTrimmedError(name, { cursor, earliest: String(base + 1) })
  }

  async function stream(after: Cursor, options: StreamOptions): Promise<ReturnType<typeof eventStream>> {
    checkStreamOptions(name, after, options)
    const { signal, toHead, fromHead, types } = options
    signal?.throwIfAborted()
    const opened = generation
    const end = toHead ? head() : Number.POSITIVE_INFINITY
    let position = fromHead ? head() : parse(after)
    let anywhere = after === '' && !fromHead // "" is never trimmed: it is the earliest at the first read
    prove(position, opened)
    const closed = new AbortController()

    async function* batches(): AsyncGenerator<Batch> {
      if (fromHead) yield { events: [], cursor: String(position) }
      for (;;) {
        if (anywhere) position = Math.max(position, base)
        if (position >= end) return
        prove(position, opened)
        if (toHead) prove(end, opened) // a head that was lost is never reached
        if (position === head()) {
          await untilAborted(grown.promise, closed.signal)
          continue
        }
        const from = position - base
        const slice = entries.slice(from, Math.min(from + batchSize, end - base))
        position += slice.length
        anywhere = false
        const whole = gaps === 0 && types === undefined
        const events = whole
          ? slice
          : slice.filter((event) => event && (types === undefined || types.includes(event.type)))
        yield { events: events as Event[], cursor: String(position) }
      }
    }
    return eventStream(batches(), () => closed.abort(CLOSED), { signal, incarnation: String(generation) })
  }

  return {
    source: {
      name,
      stream,
      head: async ({ signal } = {}) => {
        signal?.throwIfAborted()
        return String(head())
      },
      backlog: async (after, { signal } = {}) => {
        signal?.throwIfAborted()
        const position = parse(after)
        prove(position, generation)
        return { count: BigInt(entries.slice(position - base).filter(Boolean).length), unit: 'events' }
      },
      at: async (timestamp, { signal } = {}) => {
        signal?.throwIfAborted()
        const index = entries.findIndex((event) => event !== undefined && event.timestamp >= timestamp)
        return String(base + (index < 0 ? entries.length : index))
      },
      compare: (a, b) => parse(a) - parse(b),
    },
    append: (...events) => {
      const appended = events.map((event, i) =>
        Object.freeze({ timestamp: Date.now(), metadata: null, headers: {}, ...event, id: String(head() + i + 1) }),
      )
      for (const event of appended) entries.push(event) // not spread: that overflows the stack with many
      wake()
      return appended
    },
    skip: (count = 1) => {
      for (let i = 0; i < count; i++) entries.push(undefined)
      gaps += count
      wake()
    },
    remove: (id) => {
      const index = Number(id) - base - 1
      if (entries[index] === undefined) throw new OptionError(`${name}: there is no event ${id}`)
      entries[index] = undefined
      gaps++
    },
    trim: (id) => {
      checkId(id)
      const count = Math.min(Math.max(Number(id) - base - 1, 0), entries.length)
      base += count
      for (const event of entries.splice(0, count)) if (event === undefined) gaps--
      wake()
    },
    recreate: () => {
      generation++
      base = 0
      entries = []
      gaps = 0
      wake()
    },
    rewind: (id) => {
      checkId(id)
      for (const event of entries.splice(Math.max(Number(id) - base, 0))) if (event === undefined) gaps--
      wake()
    },
  }
}

import { setImmediate as turn } from 'node:timers/promises'
import {
  type Backlog,
  type Batch,
  CursorAheadError,
  CursorInvalidError,
  CursorTrimmedError,
  checkStreamOptions,
  DecodeError,
  type Event,
  type EventStream,
  eventStream,
  type NewEvent,
  type StreamFunc,
  type StreamOptions,
} from '../../src/core/index.ts'
import type { SourceSubject } from '../../src/testing/source/source-subject.ts'

/** What stands at a position of the log. */
export type Slot =
  | { readonly is: 'event' | 'aborted' | 'late'; readonly event: Event }
  | { readonly is: 'removed'; readonly id: string }
  | { readonly is: 'marker' }
  | { readonly is: 'garbage' }

/** Where the log begins and ends, and which one it is. */
export interface State {
  /** The position before the earliest that is left. */
  readonly base: bigint
  readonly head: bigint
  readonly generation: number
}

/** How a log is kept and read; a broken source does one thing otherwise. */
export interface Ways {
  /** The position before the first event: some things go wrong at 10, others at 2 ** 53. */
  readonly first: bigint
  readonly batchSize: number
  /** What the writer writes. `aborted`: an event that was rolled back stands before each append; `late`: the last event of an append is seen first. */
  readonly writes: readonly ('markers' | 'aborted' | 'late')[]
  readonly incarnated: boolean
  readonly heedsSignal: boolean
  check(after: string, options: StreamOptions): void
  parse(text: string): bigint
  /** Whether a saved cursor is of this log, and its position. */
  position(cursor: string, state: State, parse: (text: string) => bigint): bigint
  /** Where is read on from: proves that nothing is missing. */
  prove(position: bigint, state: State, when: 'open' | 'streaming'): bigint
  recreated(position: bigint, state: State): bigint
  start(position: bigint, after: string, options: StreamOptions): bigint
  end(state: State): bigint
  /** When a stream at "" has to know where the log begins. */
  readonly earliest: 'at the first read' | 'at open'
  /** When the head is looked at, that of a stream that ends there and that of one that starts there. */
  readonly pinned: 'at open' | 'at the first read' | 'always'
  /** `lastId`: that of the last event that was given. */
  isAtEnd(position: bigint, end: bigint, lastId: bigint): boolean
  /** What of some slots is given, and how many are passed. */
  take(slots: readonly Slot[], types: readonly number[] | undefined, from: bigint): { events: Event[]; passed: number }
  cursor(
    position: bigint,
    at: { readonly events: readonly Event[]; readonly from: bigint; readonly head: bigint },
  ): bigint
  readonly emptyBatches: boolean
  firstBatch(position: bigint): Batch | undefined
  /** What becomes of a stream whose connection was lost: the position to go on from. */
  lost(error: unknown, position: bigint, state: State): bigint
  readonly timesOut: boolean
  /** Whether a question that is not answered is an error. */
  readonly questionsTimeOut: boolean
  readonly waits: 'for what is new' | 'without looking again' | 'for ever'
  readonly atHead: 'waits' | 'ends'
  readonly leaks: 'nothing' | 'when it is refused' | 'when it is aborted' | 'always'
  head(state: State): bigint
  backlog(slots: readonly Slot[]): number
  at(index: number): number
  compare(a: bigint, b: bigint): number
}

const name = 'log'

/** One that is right. */
export const rightWays: Ways = {
  first: 7n,
  batchSize: 3,
  writes: [],
  incarnated: true,
  heedsSignal: true,
  check: (after, options) => checkStreamOptions(name, after, options),
  parse: (text) => {
    if (!/^(0|[1-9]\d{0,17})$/.test(text))
      throw new CursorInvalidError(name, { cursor: text, expected: 'a decimal position' })
    return BigInt(text)
  },
  position: (cursor, { generation }, parse) => {
    const [text = '', of] = cursor.split('@', 2)
    let position: bigint
    try {
      if (of === '' || cursor.split('@').length > 2) throw new Error('an empty incarnation')
      position = parse(text)
    } catch (cause) {
      throw new CursorInvalidError(name, { cursor, expected: 'a position, or position@incarnation', cause })
    }
    if (of === undefined || of === `g${generation}`) return position
    throw new CursorAheadError(name, { cursor, reason: 'recreated', found: `g${generation}` })
  },
  prove: (position, { base, head }) => {
    const cursor = String(position)
    if (position > head) throw new CursorAheadError(name, { cursor, reason: 'beyond', found: String(head) })
    if (position < base) throw new CursorTrimmedError(name, { cursor, earliest: String(base + 1n) })
    return position
  },
  recreated: (position, { generation }) => {
    throw new CursorAheadError(name, { cursor: String(position), reason: 'recreated', found: `g${generation}` })
  },
  start: (position) => position,
  end: ({ head }) => head,
  earliest: 'at the first read',
  pinned: 'at open',
  isAtEnd: (position, end) => position >= end,
  take: (slots, types, from) => {
    const events: Event[] = []
    for (const [passed, slot] of slots.entries()) {
      if (slot.is === 'late') return { events, passed }
      if (slot.is === 'garbage') {
        if (passed > 0) return { events, passed }
        throw new DecodeError(name, { position: String(from + 1n), cause: new Error('it is no event') })
      }
      if (slot.is === 'event' && (types === undefined || types.includes(slot.event.type))) events.push(slot.event)
    }
    return { events, passed: slots.length }
  },
  cursor: (position) => position,
  emptyBatches: true,
  firstBatch: (position) => ({ events: [], cursor: String(position) }),
  lost: (error) => {
    throw error
  },
  timesOut: true,
  questionsTimeOut: true,
  waits: 'for what is new',
  atHead: 'waits',
  leaks: 'nothing',
  head: ({ head }) => head,
  backlog: (slots) => slots.filter(({ is }) => is === 'event').length,
  at: (index) => index,
  compare: (a, b) => Number(a - b),
}

interface Connection {
  isAlive: boolean
}

/** How often a reader looks for writers that are not done. */
const LOOKS = 50

/** A log on a server in memory, and a source over it that can do to it whatever can be staged. */
export function flawedLog(
  different: Partial<Ways> = {},
  wrap: (stream: StreamFunc) => StreamFunc = (stream) => stream,
): SourceSubject {
  const ways: Ways = { ...rightWays, ...different }
  let base = ways.first
  let slots: Slot[] = []
  let generation = 1
  let frozen: PromiseWithResolvers<void> | undefined
  let changed = Promise.withResolvers<void>()
  const connections = new Set<Connection>()

  const state = (): State => ({ base, head: base + BigInt(slots.length), generation })
  const wake = (): void => {
    changed.resolve()
    changed = Promise.withResolvers()
  }
  const connect = (): Connection => {
    const connection = { isAlive: true }
    connections.add(connection)
    return connection
  }
  const cut = (): void => {
    for (const connection of connections) connection.isAlive = false
    connections.clear()
    wake()
  }
  const between = (from: bigint, to: bigint): Slot[] => slots.slice(Number(from - base), Number(to - base))
  const indexOf = (id: string): number => Number(BigInt(id) - base) - 1

  /** One request and its answer. */
  async function ask<T>(connection: Connection, answer: () => T): Promise<T> {
    if (frozen !== undefined) {
      if (!ways.timesOut) await frozen.promise
      await turn()
      throw new Error('the server has not answered')
    }
    await Promise.resolve()
    if (!connection.isAlive) throw new Error('the connection was lost')
    return answer()
  }

  /** A question is asked over a connection of its own. */
  async function question(): Promise<void> {
    if (frozen === undefined) return
    if (!ways.questionsTimeOut) await frozen.promise
    await turn()
    throw new Error('the server has not answered')
  }

  async function stream(after: string, options: StreamOptions): Promise<EventStream> {
    ways.check(after, options)
    const { signal, toHead, fromHead, types } = options
    if (ways.heedsSignal) signal?.throwIfAborted()
    let connection = connect()
    const opened = generation
    let position: bigint
    let end: bigint | undefined
    let anywhere = after === '' && !fromHead && ways.earliest === 'at the first read'
    try {
      const now = await ask(connection, state)
      const given = fromHead ? now.head : after === '' ? now.base : ways.position(after, now, ways.parse)
      position = ways.start(ways.prove(given, now, 'open'), after, options)
      if (toHead) end = ways.end(now)
    } catch (error) {
      if (ways.leaks !== 'when it is refused') connections.delete(connection)
      throw error
    }
    if (signal?.aborted) {
      if (ways.leaks !== 'when it is aborted') connections.delete(connection)
      throw signal.reason
    }

    async function* batches(): AsyncGenerator<Batch> {
      let lastId = position
      if (fromHead) {
        if (ways.pinned === 'at the first read') position = state().head
        const first = ways.firstBatch(position)
        if (first !== undefined) yield first
      }
      if (toHead && ways.pinned === 'at the first read') end = state().head
      for (let looks = 0; ; ) {
        const news = changed.promise
        let now: State
        try {
          now = await ask(connection, state)
        } catch (error) {
          position = ways.lost(error, position, state())
          connection = connect()
          continue
        }
        if (now.generation !== opened) position = ways.recreated(position, now)
        if (anywhere && position < now.base) position = now.base
        position = ways.prove(position, now, 'streaming')
        if (end !== undefined) {
          if (ways.pinned === 'always') end = now.head
          if (ways.isAtEnd(position, end, lastId)) return
          end = ways.prove(end, now, 'streaming') // a head that was lost is never reached
        }
        const from = position
        const to = [from + BigInt(ways.batchSize), end ?? now.head, now.head].reduce((a, b) => (b < a ? b : a))
        const { events, passed } = ways.take(between(from, to), types, from)
        if (passed > 0) {
          position += BigInt(passed)
          anywhere = false
          lastId = BigInt(events.at(-1)?.id ?? lastId)
          const cursor = String(ways.cursor(position, { events, from, head: now.head }))
          if (events.length > 0 || ways.emptyBatches) yield { events, cursor }
          continue
        }
        if (position < to && looks++ < LOOKS) {
          await turn() // a writer is not done
          continue
        }
        if (ways.atHead === 'ends') return
        if (ways.waits === 'without looking again') await turn()
        await (ways.waits === 'for what is new' ? news : changed.promise)
        if (ways.waits === 'for ever') await new Promise(() => {})
        looks = 0
      }
    }
    return eventStream(batches(), () => void (ways.leaks !== 'always' && connections.delete(connection)), {
      signal: ways.heedsSignal ? signal : undefined,
      incarnation: ways.incarnated ? `g${opened}` : undefined,
    })
  }

  const append = (slot: (id: string) => Slot): number => {
    slots.push(slot(String(base + BigInt(slots.length) + 1n)))
    return slots.length - 1
  }
  const eventAt = (event: NewEvent, id: string): Event => ({
    timestamp: Date.now(),
    metadata: null,
    headers: {},
    ...event,
    id,
  })
  return {
    source: {
      name,
      stream: wrap(stream),
      head: async ({ signal } = {}) => {
        if (ways.heedsSignal) signal?.throwIfAborted()
        await question()
        return String(ways.head(state()))
      },
      backlog: async (after): Promise<Backlog> => {
        await question()
        const now = state()
        const from = after === '' ? now.base : ways.prove(ways.position(after, now, ways.parse), now, 'open')
        return { count: BigInt(ways.backlog(between(from, now.head))), unit: 'events' }
      },
      at: async (timestamp) => {
        await question()
        const index = slots.findIndex((slot) => slot.is === 'event' && slot.event.timestamp >= timestamp)
        return String(base + BigInt(index < 0 ? slots.length : ways.at(index)))
      },
      compare: (a, b) => {
        const [x, y] = [a, b].map((cursor) => (cursor === '' ? -1n : ways.position(cursor, state(), ways.parse)))
        return ways.compare(x as bigint, y as bigint)
      },
    },
    append: async (events) => {
      if (ways.writes.includes('aborted'))
        append((id) => ({ is: 'aborted', event: eventAt({ type: 1, foreignId: 'rolled back' }, id) }))
      const late = ways.writes.includes('late')
      const at = events.map((event, i) =>
        append((id) => ({ is: late && i < events.length - 1 ? 'late' : 'event', event: eventAt(event, id) })),
      )
      if (ways.writes.includes('markers')) append(() => ({ is: 'marker' }))
      wake()
      if (late) {
        await turn()
        for (const i of at) slots[i] = { ...(slots[i] as Slot & { event: Event }), is: 'event' }
        wake()
      }
      return at.map((i) => (slots[i] as Slot & { event: Event }).event.id)
    },
    malformed: ['x', '-1', '01', '1.5', ' 1', '9'.repeat(30), '@g1', '8@'],
    trim: async (id) => {
      const gone = Math.max(0, indexOf(id))
      slots = slots.slice(gone)
      base += BigInt(gone)
      wake()
    },
    remove: async (id) => {
      slots[indexOf(id)] = { is: 'removed', id }
      wake()
    },
    rewind: async (id) => {
      slots = slots.slice(0, indexOf(id) + 1)
      wake()
    },
    recreate: async () => {
      generation++
      base = ways.first
      slots = []
      wake()
    },
    corrupt: async () => {
      append(() => ({ is: 'garbage' }))
      wake()
    },
    restart: async () => cut(),
    cut: async () => cut(),
    freeze: async () => {
      frozen = Promise.withResolvers()
      wake()
      return () => {
        frozen?.resolve()
        frozen = undefined
        wake()
      }
    },
    connections: async () => connections.size,
  }
}

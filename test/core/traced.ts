import type { Consumer, Cursor, CursorStore, Event, EventStream, MemoryLog, StreamFunc } from '../../src/core/index.ts'
import { memoryCursors, memoryLog } from '../../src/core/index.ts'

/** A log, a cursor store and a consumer of which every call is written down, in the order in which it was made. */
export interface Traced {
  readonly log: MemoryLog
  readonly stream: StreamFunc
  readonly cursors: CursorStore
  /** `start`, `get`, `open <after>`, `handle <id>`, `set <cursor>`, `stop`, `close`, … */
  readonly trace: string[]
  /** The consumer `c`, which traces and then does as `members` says. */
  consumer(members?: Partial<Consumer>): Consumer
  /** The ids that were given to the handler. */
  handled(): string[]
  /** The cursors that were given to `set`. */
  saves(): Cursor[]
  /** What is stored now. */
  stored(): Promise<Cursor>
}

/** Makes it with `count` events of type 1, whose ids are `1` to `count`. */
export function traced(count: number, { batchSize = 1000 }: { batchSize?: number } = {}): Traced {
  const log = memoryLog({ batchSize })
  for (let i = 1; i <= count; i++) log.append({ type: 1, foreignId: `e${i}`, timestamp: 0 })
  const store = memoryCursors()
  const trace: string[] = []
  const only = (verb: string): string[] =>
    trace.filter((each) => each.startsWith(`${verb} `)).map((each) => each.slice(verb.length + 1))
  return {
    log,
    trace,
    stream: async (after, options) => {
      trace.push(`open ${after}${options.fromHead ? ' fromHead' : ''}${options.toHead ? ' toHead' : ''}`)
      const opened = await log.source.stream(after, options)
      const close = opened[Symbol.asyncDispose].bind(opened)
      return Object.assign(opened, {
        [Symbol.asyncDispose]: async () => {
          trace.push('close')
          await close()
        },
      }) satisfies EventStream
    },
    cursors: {
      ...store,
      get: async (consumer) => {
        trace.push('get')
        return store.get(consumer)
      },
      set: async (consumer, cursor, expected) => {
        trace.push(`set ${cursor}`)
        await store.set(consumer, cursor, expected)
      },
    },
    consumer: (members = {}) => ({
      name: 'c',
      ...members,
      handle: (event: Event, context) => {
        trace.push(`handle ${event.id}`)
        return members.handle?.(event, context)
      },
    }),
    handled: () => only('handle'),
    saves: () => only('set'),
    stored: () => store.get('c'),
  }
}

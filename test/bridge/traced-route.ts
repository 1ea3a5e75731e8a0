import type { BridgeSpec } from '../../src/bridge/bridge.ts'
import { parseCheckpoint, type RouteCheckpoint } from '../../src/bridge/checkpoint.ts'
import {
  type Batch,
  type CursorStore,
  eventStream,
  type MemoryLog,
  memoryCursors,
  memoryLog,
  wireNames,
} from '../../src/core/index.ts'
import {
  type SimulatedDestination,
  type SimulatedDestinationOptions,
  simulatedDestination,
} from '../../src/testing/simulation/simulated-destination.ts'

/** The steps of a bridge at which a hook may wait or throw. */
export type Step = 'get' | 'open sink' | 'open source' | 'read' | 'append' | 'save' | 'close source' | 'close sink'

/** A route in memory of which every call is written down, in the order in which it was made. */
export interface TracedRoute {
  readonly log: MemoryLog
  readonly destination: SimulatedDestination
  readonly store: CursorStore
  readonly spec: BridgeSpec
  /** `get`, `open sink <saved cursor>`, `open source <after>`, `read <ids>`, `append <ids> <cursor>`, `save <cursor>`, `close source`, `close sink`. */
  readonly trace: string[]
  /** What was opened, and what was closed: `sink` and `source`. */
  readonly opened: string[]
  readonly closed: string[]
  /** Calls of these are awaited before the step is done. */
  readonly hooks: Partial<Record<Step, (() => unknown) | undefined>>
  /** The source ids in the destination. */
  forwarded(): string[]
  saved(): Promise<RouteCheckpoint | undefined>
}

/** Makes one whose source has the events `1` to `count`. */
export function tracedRoute(
  count: number,
  { batchSize = 2, ...options }: { batchSize?: number } & SimulatedDestinationOptions = {},
): TracedRoute {
  const log = memoryLog({ batchSize })
  for (let i = 1; i <= count; i++) log.append({ type: 1, foreignId: `e${i}`, timestamp: 0 })
  const destination = simulatedDestination(options)
  const store = memoryCursors()
  const trace: string[] = []
  const opened: string[] = []
  const closed: string[] = []
  const hooks: TracedRoute['hooks'] = {}
  const ids = (events: Batch['events']): string => events.map(({ id }) => id).join()
  const inner = destination.sink()
  return {
    log,
    destination,
    store,
    trace,
    opened,
    closed,
    hooks,
    forwarded: () => destination.events.map(({ headers }) => headers[wireNames.sourceId] as string),
    saved: async () => parseCheckpoint('r', await store.get('r')),
    spec: {
      name: 'r',
      checkpoints: {
        ...store,
        get: async (name) => {
          trace.push('get')
          await hooks.get?.()
          return store.get(name)
        },
        set: async (name, checkpoint, expected) => {
          trace.push(`save ${parseCheckpoint(name, checkpoint)?.cursor}`)
          await hooks.save?.()
          await store.set(name, checkpoint, expected)
        },
      },
      sink: {
        name: inner.name,
        open: async (to) => {
          trace.push(`open sink ${to.saved?.cursor ?? ''}`)
          await hooks['open sink']?.()
          const writer = await inner.open({ ...to, signal: undefined })
          opened.push('sink')
          return {
            ...writer,
            append: async (events, cursor) => {
              trace.push(`append ${ids(events)} ${cursor}`)
              await hooks.append?.()
              return writer.append(events, cursor)
            },
            [Symbol.asyncDispose]: async () => {
              trace.push('close sink')
              closed.push('sink')
              await hooks['close sink']?.()
              await writer[Symbol.asyncDispose]()
            },
          }
        },
      },
      source: {
        ...log.source,
        stream: async (after, options) => {
          const { signal, toHead, fromHead } = options
          trace.push(`open source ${after}${fromHead ? ' fromHead' : ''}${toHead ? ' toHead' : ''}`)
          await hooks['open source']?.()
          const stream = await log.source.stream(after, { ...options, signal: undefined })
          opened.push('source')
          async function* batches(): AsyncGenerator<Batch> {
            for await (const batch of stream) {
              trace.push(`read ${ids(batch.events)}`)
              await hooks.read?.()
              yield batch
            }
          }
          const close = async (): Promise<void> => {
            trace.push('close source')
            closed.push('source')
            await stream[Symbol.asyncDispose]()
            await hooks['close source']?.()
          }
          return eventStream(batches(), close, { signal, incarnation: stream.incarnation })
        },
      },
    },
  }
}

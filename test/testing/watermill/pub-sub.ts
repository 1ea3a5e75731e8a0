import { bridge as ownBridge } from '../../../src/bridge/bridge.ts'
import {
  type CursorStore,
  type Event,
  memoryCursors,
  memoryLog,
  type NewEvent,
  run as ownRun,
  type Source,
} from '../../../src/core/index.ts'
import type { Subjects } from '../../../src/testing/conformance/suites.ts'
import type { ZooCase } from '../../zoo/zoo-case.ts'

/** What Watermill's tests need: a topic that is published to and subscribed to. */
export interface Topic {
  publish(events: readonly NewEvent[]): Promise<void>
  /** Handles every event in the name of `group`; an event whose handler throws (nack) comes again. */
  subscribe(group: string, handle: (event: Event, signal: AbortSignal) => void | Promise<void>): Subscription
  /** Kills the server, where there is one. */
  restart?(): Promise<void>
  close(): Promise<void>
}

/** A subscriber at work. */
export interface Subscription {
  /** Why it gave up, if it has. */
  readonly failure: unknown
  close(): Promise<void>
}

/** A topic over what is under test: as the log, the loop or the store of its subscribers, or as the way to them. */
export async function topicOf({ of, create }: ZooCase): Promise<Topic> {
  const subject = await create()
  const close = async (): Promise<void> => subject[Symbol.asyncDispose]?.()
  if (of === 'source') {
    const { source, append, restart } = subject as Subjects['source']
    return {
      publish: async (events) => void (await append(events)),
      subscribe: subscriber(source, memoryCursors()),
      ...(restart === undefined ? {} : { restart: () => restart() }),
      close,
    }
  }
  const log = memoryLog()
  const publish = async (events: readonly NewEvent[]): Promise<void> => void log.append(...events)
  if (of === 'run') {
    const { run } = subject as Subjects['run']
    return { publish, subscribe: subscriber(log.source, memoryCursors(), run), close }
  }
  if (of === 'cursors') {
    const { cursors } = subject as Subjects['cursors']
    return { publish, subscribe: subscriber(log.source, cursors), close }
  }
  const { sink, read } = subject as Subjects['sink']
  const route = of === 'bridge' ? (subject as Subjects['bridge']) : undefined
  const checkpoints = route?.checkpoints ?? memoryCursors()
  const bridge = route?.bridge ?? ownBridge
  const source = route?.source ?? log.source
  const delivered = memoryLog()
  const copied = new Set<string>()
  return {
    publish: async (events) => {
      if (route === undefined) await publish(events)
      else await route.append(events)
      await bridge({ name: 'route', source, sink: sink(), checkpoints }, { toHead: true })
      for (const { id, ...event } of await read()) {
        if (!copied.has(id)) delivered.append(event)
        copied.add(id)
      }
    },
    subscribe: subscriber(delivered.source, memoryCursors()),
    close,
  }
}

/** Subscribers that run again after each failure, as Watermill's do after a nack. */
function subscriber(source: Source, cursors: CursorStore, run: typeof ownRun = ownRun): Topic['subscribe'] {
  return (name, handle) => {
    const closing = new AbortController()
    let failure: unknown
    const loop = async (): Promise<void> => {
      for (let failures = 0; !closing.signal.aborted; ) {
        try {
          const consumer = { name, handle: (event: Event) => handle(event, closing.signal) }
          await run({ stream: source.stream, cursors, consumer }, { signal: closing.signal })
        } catch (error) {
          if (closing.signal.aborted) return
          failure = error
          if (++failures > 20) return
          await new Promise((resolve) => setImmediate(resolve))
        }
      }
    }
    const running = loop()
    return {
      get failure() {
        return failure
      },
      close: async () => {
        closing.abort()
        await running
      },
    }
  }
}

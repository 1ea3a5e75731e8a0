import { type CursorStore, run, supervise, wireNames } from '../../core/index.ts'
import type { Target } from './stage.ts'

/** One event in so many fails its handler at first. */
const FAILS_ONE_IN = 5000

/** A consumer at work. */
export interface RunningConsumer {
  readonly name: string
  /** The source ids of what it has handled. */
  readonly handled: ReadonlySet<string>
  /** How often its handler has failed. */
  failures(): number
  /** What ended it for good. */
  failed(): unknown
  stop(): Promise<void>
}

/** A consumer of one target that fails at random and is started again each time. */
export function consumeForEver({ name, source }: Target, cursors: CursorStore): RunningConsumer {
  const handled = new Set<string>()
  const stopping = new AbortController()
  let failures = 0
  let failure: unknown
  const consumer = {
    name: `demo-${name}`,
    handle: ({ id, headers }: { id: string; headers: Readonly<Record<string, unknown>> }): void => {
      if (Math.random() < 1 / FAILS_ONE_IN) {
        failures++
        throw new Error(`this handler fails at random, now at event ${id}`)
      }
      handled.add(String(headers[wireNames.sourceId]))
    },
  }
  const running = supervise((o) => run({ stream: source.stream, cursors, consumer }, o), {
    signal: stopping.signal,
    minDelayMs: 20,
    maxDelayMs: 1000,
  }).catch((error) => {
    failure = error
  })
  return {
    name,
    handled,
    failures: () => failures,
    failed: () => failure,
    stop: async () => {
      stopping.abort()
      await running
    },
  }
}

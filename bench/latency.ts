import { setTimeout as sleep } from 'node:timers/promises'
import type { EventStream } from 'reflex-bridge'
import { compare, quantile, type Result } from './measure.ts'

/** What a latency case needs of an adapter and of the bare client beside it. */
export interface LatencyCase {
  readonly referenceName: string
  /** Writes and commits one event. */
  readonly write: (log: string) => Promise<void>
  /** Opens our stream of the log. */
  readonly open: (log: string) => Promise<EventStream>
  /** Reads the log with the bare client until the signal aborts. */
  readonly bare: (log: string, onEvent: () => void, signal: AbortSignal) => Promise<void>
}

const SAMPLES = 100

/** Times from the start of a write, its commit included, to its handler, one event at a time: p50 and p99 in ms. */
export async function latency(name: string, { referenceName, write, open, bare }: LatencyCase): Promise<Result[]> {
  let log = 0
  const measure = async (side: 'ours' | 'bare', share: number): Promise<number> => {
    const key = `bench_${side}_${process.pid}_${++log}`
    const ending = new AbortController()
    let seen = Promise.withResolvers<void>()
    const onEvent = (): void => seen.resolve()
    await write(key) // so that the log is there
    const reading =
      side === 'bare'
        ? bare(key, onEvent, ending.signal)
        : (async () => {
            await using stream = await open(key)
            ending.signal.addEventListener('abort', () => void stream[Symbol.asyncDispose]())
            for await (const { events } of stream) for (const _ of events) onEvent()
          })()
    await seen.promise
    const times: number[] = []
    for (let i = 0; i < SAMPLES; i++) {
      await sleep(5)
      seen = Promise.withResolvers()
      const started = performance.now()
      await write(key)
      await seen.promise
      times.push(performance.now() - started)
    }
    ending.abort()
    await reading
    return quantile(times, share)
  }
  const results: Result[] = []
  for (const [label, share] of [
    ['p50', 0.5],
    ['p99', 0.99],
  ] as const) {
    const both = { ours: () => measure('ours', share), reference: () => measure('bare', share) }
    results.push(await compare({ case: `${name}, ${label}`, unit: 'ms', referenceName, ...both }))
  }
  return results
}

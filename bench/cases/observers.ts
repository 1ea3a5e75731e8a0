import { type Consumer, memoryCursors, memoryLog, type Observer, run, statusObserver } from 'reflex-bridge'
import { diagnosticsObserver, prometheusMetrics } from 'reflex-bridge/observers'
import { otelMetrics, withTracing } from 'reflex-bridge/otel'
import { compare, type Result } from '../measure.ts'

const COUNT = 1_000_000
const BATCH = 1000
/** The log is read so often for one figure: once takes a few hundredths of a second, as long as one collection of garbage. */
const PASSES = 5

/**
 * The run loop with each observer against the run loop without: events by the CPU time that they take, of which at least 0.9 is to be
 * left. There is no OpenTelemetry SDK: what one costs is its own affair.
 */
export async function observerCases(): Promise<Result[]> {
  const log = memoryLog({ batchSize: BATCH })
  const some = Array.from({ length: BATCH }, () => ({ type: 1, foreignId: 'a', timestamp: 1 }))
  for (let i = 0; i < COUNT / BATCH; i++) log.append(...some)
  const { source } = log

  let handled = 0
  const handlers: Readonly<Record<string, Consumer['handle']>> = {
    synchronous: () => {
      handled++
    },
    asynchronous: async () => {
      handled++
    },
  }
  const prometheus = prometheusMetrics().consumer('bench', { source })
  using otel = otelMetrics()
  const subjects: Readonly<Record<string, { readonly observer?: Observer; wrap?(consumer: Consumer): Consumer }>> = {
    'status observer': { observer: statusObserver(source) },
    'prometheus metrics': { observer: prometheus },
    'otel metrics, no SDK': { observer: otel.consumer('bench', { source }) },
    'diagnostics channels, no subscriber': { observer: diagnosticsObserver('bench') },
    'tracing, no SDK': { wrap: (consumer) => withTracing(consumer, { source }) },
  }
  const results: Result[] = []
  for (const [kind, handle] of Object.entries(handlers)) {
    const running = (observer?: Observer, wrap = (consumer: Consumer) => consumer) => {
      const consumer = wrap({ name: 'bench', handle })
      return () =>
        ratePerCpu(COUNT * PASSES, async () => {
          for (let pass = 0; pass < PASSES; pass++)
            await run({ stream: source.stream, cursors: memoryCursors(), consumer }, { toHead: true, observer })
        })
    }
    for (const [name, { observer, wrap }] of Object.entries(subjects)) {
      results.push(
        await compare({
          case: `${name}, ${kind}`,
          unit: 'events/CPU s',
          referenceName: 'run without',
          ours: running(observer, wrap),
          reference: running(),
        }),
      )
    }
  }
  if (handled === 0) throw new Error('nothing was handled')
  return results
}

/** Events a second of CPU time, which other programs disturb less than they do a second. */
async function ratePerCpu(count: number, work: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  return (count / (user + system)) * 1e6
}

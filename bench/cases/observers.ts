import { type Consumer, memoryCursors, memoryLog, type Observer, run, statusObserver } from 'reflex-bridge'
import { diagnosticsObserver, prometheusMetrics } from 'reflex-bridge/observers'
import { otelMetrics, withTracing } from 'reflex-bridge/otel'
import { compare, type Result } from '../measure.ts'

/** How many events come together, and how many there are: as of a backlog, and as they happen. */
const shapes = [
  { called: '', batch: 1000, count: 1_000_000 },
  { called: ', one event a batch', batch: 1, count: 100_000 },
]
/** The log is read so often for one figure: once takes a few hundredths of a second, as long as one collection of garbage. */
const PASSES = 5

/**
 * The run loop with each observer against the run loop without: events by the CPU time that they take, of which at least 0.9 is to be
 * left. There is no OpenTelemetry SDK: what one costs is its own affair.
 */
export async function observerCases(): Promise<Result[]> {
  const results: Result[] = []
  for (const shape of shapes) results.push(...(await casesOf(shape)))
  return results
}

async function casesOf({ called, batch, count }: (typeof shapes)[number]): Promise<Result[]> {
  const { append, source } = memoryLog({ batchSize: batch })
  const some = Array.from({ length: 1000 }, () => ({ type: 1, foreignId: 'a', timestamp: 1 }))
  for (let i = 0; i < count / some.length; i++) append(...some)

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
        ratePerCpu(count * PASSES, async () => {
          for (let pass = 0; pass < PASSES; pass++)
            await run({ stream: source.stream, cursors: memoryCursors(), consumer }, { toHead: true, observer })
        })
    }
    for (const [name, { observer, wrap }] of Object.entries(subjects)) {
      results.push(
        await compare({
          case: `${name}, ${kind}${called}`,
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

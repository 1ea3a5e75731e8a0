import { AsyncLocalStorage } from 'node:async_hooks'
import { type Context, type ContextManager, context, metrics, ROOT_CONTEXT, trace } from '@opentelemetry/api'
import { AggregationTemporality, MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics'
import {
  AlwaysOnSampler,
  InMemorySpanExporter,
  ParentBasedSampler,
  type ReadableSpan,
  type Sampler,
  SimpleSpanProcessor,
  type Span,
  TracerProvider,
} from '@opentelemetry/sdk-trace'
import { onTestFinished } from 'vitest'

/** An SDK that keeps what it gets in memory, and is registered until the test has finished. */
export interface RegisteredSdk {
  /** The spans that have ended, in the order in which they did. */
  ended(): readonly ReadableSpan[]
  /** How many have begun and not ended. */
  open(): number
  /** What is exported now: `name{consumer_name,…} value`, a histogram's value being its count. */
  collect(): Promise<Readonly<Record<string, number>>>
  /** The units by the names of the instruments that have been collected. */
  readonly units: Readonly<Record<string, string>>
}

/** Registers one; the default sampler takes everything, but for what continues a trace that is not sampled. */
export function registeredSdk({
  sampler = new ParentBasedSampler({ root: new AlwaysOnSampler() }),
  temporality = AggregationTemporality.CUMULATIVE,
}: {
  readonly sampler?: Sampler
  readonly temporality?: AggregationTemporality
} = {}): RegisteredSdk {
  const exporter = new InMemorySpanExporter()
  let open = 0
  const counter = {
    onStart: (_: Span) => void open++,
    onEnd: () => void open--,
    forceFlush: async () => {},
    shutdown: async () => {},
  }
  trace.setGlobalTracerProvider(
    new TracerProvider({ sampler, spanProcessors: [counter, new SimpleSpanProcessor({ exporter })] }),
  )
  context.setGlobalContextManager(asyncContext())
  const reader = new (class extends MetricReader {
    protected override async onForceFlush(): Promise<void> {}
    protected override async onShutdown(): Promise<void> {}
  })({ aggregationTemporalitySelector: () => temporality })
  metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }))
  onTestFinished(() => {
    trace.disable()
    context.disable()
    metrics.disable()
  })
  const units: Record<string, string> = {}
  return {
    ended: () => exporter.getFinishedSpans(),
    open: () => open,
    units,
    collect: async () => {
      const { resourceMetrics, errors } = await reader.collect()
      if (errors.length > 0) throw errors[0]
      const found: Record<string, number> = {}
      for (const { descriptor, dataPoints } of resourceMetrics.scopeMetrics.flatMap((scope) => scope.metrics)) {
        units[descriptor.name] = descriptor.unit
        for (const { attributes, value } of dataPoints) {
          const count = typeof value === 'number' ? value : (value as { count: number }).count
          found[`${descriptor.name}{${Object.values(attributes).join(',')}}`] = count
        }
      }
      return found
    },
  }
}

/** What `@opentelemetry/context-async-hooks` does. */
function asyncContext(): ContextManager {
  const storage = new AsyncLocalStorage<Context>()
  const manager: ContextManager = {
    active: () => storage.getStore() ?? ROOT_CONTEXT,
    with: (active, work, self, ...rest) => storage.run(active, () => work.call(self as never, ...rest)),
    bind: (active, target) =>
      typeof target === 'function'
        ? (((...rest: unknown[]) => storage.run(active, () => target(...rest))) as never)
        : target,
    enable: () => manager,
    disable: () => manager,
  }
  return manager
}

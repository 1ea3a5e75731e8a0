import { type BatchObservableCallback, type Histogram, type Meter, metrics, type Observable } from '@opentelemetry/api'
import { ageBounds, latencyBounds } from '../observers/consumer-meter.ts'
import { type ConsumerMetric, consumerMetrics } from '../observers/consumer-metrics.ts'
import { consumerRegistry, type MeasuredConsumer, type MeasuredOptions } from '../observers/consumer-registry.ts'
import { scope } from './tracing.ts'

/** The metrics of this process's consumers and bridges, for OpenTelemetry. Disposing of it takes all of them away. */
export interface OtelMetrics extends Disposable {
  /**
   * The observer of one consumer or bridge. One for all its runs: gauges and counters go on over restarts, until it is disposed of.
   * Throws an `OptionError` while there is one of the same name.
   */
  consumer(name: string, options?: MeasuredOptions): MeasuredConsumer
}

/**
 * Keeps the metrics of `prometheusMetrics` as OpenTelemetry's instruments: `reflex_consumer_lag_seconds` is `reflex.consumer.lag` in
 * seconds, and so on, with the attribute `consumer_name`. Gauges and counters are observed when the SDK collects, and sources are
 * asked then. The histograms get one observation for events that were told together (`Observer.timed`), since the API takes no weight.
 *
 * Make one in a process, after the SDK is registered: an instrument of before does nothing.
 *
 * @example
 * using metrics = otelMetrics()
 * await supervise((o) => run(spec, o), { observer: metrics.consumer('mailer', { source }), signal })
 */
export function otelMetrics({
  meter = metrics.getMeter(scope),
  now,
}: {
  /** Default: one of the SDK that is registered. */
  readonly meter?: Meter | undefined
  /** Epoch in ms. Default: the machine's clock. */
  readonly now?: (() => number) | undefined
} = {}): OtelMetrics {
  const histograms = {
    eventAge: histogramOf(meter, 'reflex_consumer_event_age_seconds', ageBounds),
    latency: histogramOf(meter, 'reflex_consumer_latency_seconds', latencyBounds),
  }
  const registry = consumerRegistry({
    now,
    observedOf: (consumer_name) => {
      const attributes = { consumer_name }
      return (what, seconds) => histograms[what].record(seconds, attributes)
    },
  })
  const observed = consumerMetrics.filter(({ type }) => type !== 'histogram')
  const instruments = observed.map((metric): { readonly metric: ConsumerMetric; readonly instrument: Observable } => {
    const options = { description: metric.help, unit: metric.unit }
    const name = otelName(metric.name)
    const instrument =
      metric.type === 'counter'
        ? meter.createObservableCounter(name, options)
        : meter.createObservableGauge(name, options)
    return { metric, instrument }
  })
  const observables = instruments.map(({ instrument }) => instrument)
  const observe: BatchObservableCallback = async (result) => {
    for (const reading of await registry.read()) {
      for (const { metric, instrument } of instruments) {
        const value = metric.value(reading)
        if (typeof value === 'number')
          result.observe(instrument, value, { consumer_name: reading.name, ...metric.labels?.(reading) })
      }
    }
  }
  meter.addBatchObservableCallback(observe, observables)
  return {
    consumer: registry.add,
    [Symbol.dispose]: () => meter.removeBatchObservableCallback(observe, observables),
  }
}

/** The unit is not part of a name, nor what an exporter for Prometheus puts after a counter's. */
function otelName(name: string): string {
  return name.replace('reflex_consumer_', 'reflex.consumer.').replace(/_(seconds|total)$/, '')
}

function histogramOf(meter: Meter, name: string, bounds: readonly number[]): Histogram {
  const metric = consumerMetrics.find((each) => each.name === name)
  return meter.createHistogram(otelName(name), {
    ...(metric && { description: metric.help, unit: metric.unit }),
    advice: { explicitBucketBoundaries: [...bounds] },
  })
}

// Loaded with `node --import` before the command line: an SDK whose exporters write a line each to stderr.
import { writeSync } from 'node:fs'
import { metrics, trace } from '@opentelemetry/api'
import { InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'

const spans = new InMemorySpanExporter()
spans.export = (ended, done) => {
  for (const span of ended) {
    const { traceId, spanId } = span.spanContext()
    writeSync(2, `span ${span.name} ${traceId} ${spanId} ${span.parentSpanContext?.spanId}\n`)
  }
  done({ code: 0 })
}
trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter: spans })] }))

const values = new InMemoryMetricExporter(1)
values.export = ({ scopeMetrics }, done) => {
  for (const { descriptor, dataPoints } of scopeMetrics.flatMap((scope) => scope.metrics)) {
    for (const { attributes, value } of dataPoints)
      writeSync(2, `metric ${descriptor.name} ${JSON.stringify(attributes)} ${JSON.stringify(value)}\n`)
  }
  done({ code: 0 })
}
const reader = new PeriodicExportingMetricReader({
  exporter: values,
  exportIntervalMillis: 100,
  exportTimeoutMillis: 100,
})
metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }))

import type { Histogram } from './histogram.ts'

/** One metric in Prometheus' text format 0.0.4. */
export interface Metric {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly samples: readonly Sample[]
}

/** One time series of a metric. */
export interface Sample {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number | Histogram
}

/** What `/metrics` answers with. */
export const prometheusType = 'text/plain; version=0.0.4; charset=utf-8'

/** Writes metrics down; one without samples is left out. See https://prometheus.io/docs/instrumenting/exposition_formats/ */
export function prometheusText(metrics: readonly Metric[]): string {
  return metrics
    .filter(({ samples }) => samples.length > 0)
    .flatMap(({ name, help, type, samples }) => [
      `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`,
      `# TYPE ${name} ${type}`,
      ...samples.flatMap(({ labels, value }) =>
        typeof value === 'number' ? [line(name, labels, value)] : histogramLines(name, labels, value),
      ),
    ])
    .map((text) => `${text}\n`)
    .join('')
}

function histogramLines(
  name: string,
  labels: Sample['labels'],
  { bounds, cumulative, count, sum }: Histogram,
): string[] {
  const counts = cumulative()
  return [
    ...bounds.map((bound, i) => line(`${name}_bucket`, { ...labels, le: number(bound) }, counts[i] ?? 0)),
    line(`${name}_bucket`, { ...labels, le: '+Inf' }, count),
    line(`${name}_sum`, labels, sum),
    line(`${name}_count`, labels, count),
  ]
}

function line(name: string, labels: Sample['labels'], value: number): string {
  const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text)}"`)
  return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${number(value)}`
}

function escaped(text: string): string {
  return text.toWellFormed().replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}

function number(value: number): string {
  return value === Number.POSITIVE_INFINITY ? '+Inf' : value === Number.NEGATIVE_INFINITY ? '-Inf' : String(value)
}

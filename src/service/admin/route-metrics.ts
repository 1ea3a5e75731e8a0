import { type ConsumerReading, readMetrics } from '../../observers/consumer-metrics.ts'
import type { Metric, Sample } from '../../observers/prometheus-text.ts'
import { maskPasswords } from '../mask-passwords.ts'
import type { RouteStatus } from '../start-route.ts'
import type { RouteMeters } from './route-meters.ts'
import type { RouteSample } from './route-samples.ts'

const states: Readonly<Record<RouteStatus['state'], true>> = {
  starting: true,
  running: true,
  waiting: true,
  standby: true,
  paused: true,
  stopped: true,
  ended: true,
}

/** The metrics of all routes: those of every consumer, with the route as the consumer, and `reflex_bridge_…`, what a bridge has besides. */
export function routeMetrics(samples: readonly RouteSample[], meters: RouteMeters): Metric[] {
  const metric = (
    type: Metric['type'],
    name: string,
    help: string,
    value: (sample: RouteSample) => readonly Labelled[] | number | undefined,
  ): Metric => ({
    type,
    name,
    help,
    samples: samples.flatMap((sample): Sample[] => {
      const consumer_name = sample.route.name
      const given = value(sample)
      if (given === undefined) return []
      if (typeof given === 'number') return [{ labels: { consumer_name }, value: given }]
      return given.map(([labels, each]) => ({ labels: { consumer_name, ...labels }, value: each }))
    }),
  })
  return [
    ...readMetrics(samples.map((sample) => readingOf(sample, meters))),
    metric(
      'counter',
      'reflex_bridge_repairs_total',
      'Times that the destination was found to hold less or more than the checkpoint said, and was mended.',
      ({ route }) => meters.read(route.name)?.repairs,
    ),
    metric('gauge', 'reflex_bridge_ready', 'Whether /readyz takes the route to be ready.', ({ verdict }) =>
      verdict.ready ? 1 : 0,
    ),
    metric('gauge', 'reflex_bridge_state', 'The state of the route: 1 for the one it is in.', (sample) =>
      Object.keys(states).map((state) => [{ state }, state === stateOf(sample) ? 1 : 0]),
    ),
    metric('gauge', 'reflex_bridge_route_info', 'Where the route leads from and to; always 1.', ({ route }) => [
      [{ source: maskPasswords(route.source), sink: maskPasswords(route.sink) }, 1],
    ]),
    ...processMetrics(),
  ]
}

function readingOf(sample: RouteSample, meters: RouteMeters): ConsumerReading {
  const { route, status, lagMs, verdict } = sample
  return {
    name: route.name,
    lagMs,
    lagAlert: !verdict.ready,
    active: stateOf(sample) === 'running',
    backlog: status?.backlog,
    blockedMs: status && (status.blocked?.blockedMs ?? 0),
    counts: meters.read(route.name),
  }
}

type Labelled = readonly [labels: Readonly<Record<string, string>>, value: number]

function stateOf({ end, status }: RouteSample): RouteStatus['state'] | undefined {
  return end === undefined ? status?.state : 'ended'
}

/** By the names that every client library of Prometheus gives them. */
function processMetrics(): Metric[] {
  const { user, system } = process.cpuUsage()
  const metric = (type: Metric['type'], name: string, help: string, value: number): Metric => ({
    type,
    name,
    help,
    samples: [{ labels: {}, value }],
  })
  return [
    metric('counter', 'process_cpu_seconds_total', 'CPU time of this process in seconds.', (user + system) / 1e6),
    metric('gauge', 'process_resident_memory_bytes', 'Memory of this process in bytes.', process.memoryUsage.rss()),
    metric(
      'gauge',
      'process_start_time_seconds',
      'When this process started, epoch in seconds.',
      Math.round(performance.timeOrigin) / 1000,
    ),
  ]
}

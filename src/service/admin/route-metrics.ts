import { maskPasswords } from '../mask-passwords.ts'
import type { RouteStatus } from '../start-route.ts'
import type { Histogram } from './histogram.ts'
import type { Metric, Sample } from './prometheus-text.ts'
import type { RouteMeter, RouteMeters } from './route-meters.ts'
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

/**
 * The metrics of all routes: `reflex_consumer_…` are those of luno/reflex, with the route as the consumer, so that its dashboards and
 * alerts go on working; `reflex_bridge_…` are what a bridge has besides.
 */
export function routeMetrics(samples: readonly RouteSample[], meters: RouteMeters): Metric[] {
  type Value = number | Histogram | undefined
  const metric = (
    type: Metric['type'],
    name: string,
    help: string,
    value: (sample: RouteSample, meter: RouteMeter | undefined) => Value | readonly Labelled[],
  ): Metric => ({
    type,
    name,
    help,
    samples: samples.flatMap((sample): Sample[] => {
      const consumer_name = sample.route.name
      const given = value(sample, meters.read(consumer_name))
      if (given === undefined) return []
      if (!Array.isArray(given)) return [{ labels: { consumer_name }, value: given as number | Histogram }]
      return (given as readonly Labelled[]).map(([labels, each]) => ({
        labels: { consumer_name, ...labels },
        value: each,
      }))
    }),
  })
  return [
    metric(
      'gauge',
      'reflex_consumer_lag_seconds',
      'Age of the oldest event that is not forwarded; where the source cannot be asked, the most that it can be.',
      ({ lagMs }) => (lagMs === undefined ? undefined : lagMs / 1000),
    ),
    metric(
      'gauge',
      'reflex_consumer_lag_alert',
      'Whether events wait without any progress for longer than readyAfterMs, or the route has ended for good.',
      ({ verdict }) => (verdict.ready ? 0 : 1),
    ),
    metric('gauge', 'reflex_consumer_active', 'Whether this process forwards the route now.', (sample) =>
      stateOf(sample) === 'running' ? 1 : 0,
    ),
    metric(
      'histogram',
      'reflex_consumer_event_age_seconds',
      'Age of the newest event of each batch when the destination had confirmed it.',
      (_, meter) => meter?.eventAge,
    ),
    metric(
      'counter',
      'reflex_consumer_error_count',
      'Failures, those while closing included.',
      (_, meter) => meter?.errors,
    ),
    metric(
      'counter',
      'reflex_consumer_dead_lettered_events_count',
      'Events that were put into the dead letters.',
      (_, meter) => meter?.deadLetters,
    ),
    metric(
      'counter',
      'reflex_consumer_skipped_events_count',
      'Events that were left out on purpose, or put into the dead letters.',
      ({ status }) => status?.skipped,
    ),
    metric(
      'counter',
      'reflex_bridge_forwarded_events_total',
      'Events that the destination has confirmed to this process.',
      ({ status }) => status?.handled,
    ),
    metric(
      'gauge',
      'reflex_bridge_backlog',
      'What follows the position in the source, in events, or in positions where some may hold no event.',
      ({ status }) => status?.backlog && [[{ unit: status.backlog.unit }, Number(status.backlog.count)]],
    ),
    metric(
      'gauge',
      'reflex_bridge_blocked_seconds',
      'For how long a writer has held the source up; 0 if none does.',
      ({ status }) => (status === undefined ? undefined : (status.blocked?.blockedMs ?? 0) / 1000),
    ),
    metric(
      'counter',
      'reflex_bridge_repairs_total',
      'Times that the destination was found to hold less or more than the checkpoint said, and was mended.',
      (_, meter) => meter?.repairs,
    ),
    metric(
      'counter',
      'reflex_bridge_restarts_total',
      'Attempts that followed a failure.',
      ({ status }) => status?.restarts,
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

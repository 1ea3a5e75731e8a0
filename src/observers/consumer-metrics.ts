import type { Backlog } from '../core/stream.ts'
import type { ConsumerCounts } from './consumer-meter.ts'
import type { Histogram } from './histogram.ts'
import type { Metric } from './prometheus-text.ts'

/** What is known of a consumer, or of a route, at one moment. What is not known is undefined, and not 0. */
export interface ConsumerReading {
  readonly name: string
  /** The age of the oldest event that is not handled, in ms; where nobody can tell any more, the most that it can be. */
  readonly lagMs: number | undefined
  readonly lagAlert: boolean | undefined
  /** Whether events are handled in this process now. */
  readonly active: boolean
  readonly backlog: Backlog | undefined
  /** For how long something has held the source up, in ms; 0 if nothing does. */
  readonly blockedMs: number | undefined
  readonly counts: ConsumerCounts | undefined
}

/** A metric that every consumer and every route has. */
export interface ConsumerMetric extends Omit<Metric, 'samples'> {
  /** As OpenTelemetry writes it; `''` for a yes or no. */
  readonly unit: string
  value(reading: ConsumerReading): number | Histogram | undefined
  /** Labels besides `consumer_name`. */
  labels?(reading: ConsumerReading): Readonly<Record<string, string>>
}

/**
 * The metrics, by the names of luno/reflex where it has them, so that its dashboards and alerts go on working, with the label
 * `consumer_name`: the name of the consumer or of the route.
 */
export const consumerMetrics: readonly ConsumerMetric[] = [
  {
    type: 'gauge',
    name: 'reflex_consumer_lag_seconds',
    unit: 's',
    help: 'Age of the oldest event that is not handled; where the source cannot be asked, the most that it can be.',
    value: ({ lagMs }) => (lagMs === undefined ? undefined : lagMs / 1000),
  },
  {
    type: 'gauge',
    name: 'reflex_consumer_lag_alert',
    unit: '',
    help: 'Whether the lag is above its limit; of a route, whether events wait without any progress, or it has ended for good.',
    value: ({ lagAlert }) => (lagAlert === undefined ? undefined : Number(lagAlert)),
  },
  {
    type: 'gauge',
    name: 'reflex_consumer_active',
    unit: '',
    help: 'Whether this process handles the events now.',
    value: ({ active }) => Number(active),
  },
  {
    type: 'histogram',
    name: 'reflex_consumer_event_age_seconds',
    unit: 's',
    help: 'Age of the newest event of each batch when it was handled.',
    value: ({ counts }) => counts?.eventAge,
  },
  {
    type: 'histogram',
    name: 'reflex_consumer_latency_seconds',
    unit: 's',
    help: 'Time that an event took to be handled; of a route, until the destination confirmed what it was part of.',
    value: ({ counts }) => counts?.latency,
  },
  {
    type: 'counter',
    name: 'reflex_consumer_error_count',
    unit: '{error}',
    help: 'Failures, those while closing included.',
    value: ({ counts }) => counts?.errors,
  },
  {
    type: 'counter',
    name: 'reflex_consumer_dead_lettered_events_count',
    unit: '{event}',
    help: 'Events that were put into the dead letters.',
    value: ({ counts }) => counts?.deadLetters,
  },
  {
    type: 'counter',
    name: 'reflex_consumer_skipped_events_count',
    unit: '{event}',
    help: 'Events that were left out on purpose, or put into the dead letters.',
    value: ({ counts }) => counts?.skipped,
  },
  {
    type: 'counter',
    name: 'reflex_consumer_handled_events_total',
    unit: '{event}',
    help: 'Events that were handled; of a route, that the destination confirmed.',
    value: ({ counts }) => counts?.handled,
  },
  {
    type: 'counter',
    name: 'reflex_consumer_restarts_total',
    unit: '{restart}',
    help: 'Attempts that followed a failure.',
    value: ({ counts }) => counts?.restarts,
  },
  {
    type: 'gauge',
    name: 'reflex_consumer_backlog',
    unit: '',
    help: 'What follows the position in the source, in events, or in positions where some may hold no event.',
    value: ({ backlog }) => backlog && Number(backlog.count),
    labels: ({ backlog }) => (backlog === undefined ? {} : { unit: backlog.unit }),
  },
  {
    type: 'gauge',
    name: 'reflex_consumer_blocked_seconds',
    unit: 's',
    help: 'For how long a writer has held the source up; 0 if none does.',
    value: ({ blockedMs }) => (blockedMs === undefined ? undefined : blockedMs / 1000),
  },
]

/** All of them, of all consumers. */
export function readMetrics(readings: readonly ConsumerReading[]): Metric[] {
  return consumerMetrics.map(({ type, name, help, value, labels }) => ({
    ...{ type, name, help },
    samples: readings.flatMap((reading) => {
      const found = value(reading)
      return found === undefined
        ? []
        : [{ labels: { consumer_name: reading.name, ...labels?.(reading) }, value: found }]
    }),
  }))
}

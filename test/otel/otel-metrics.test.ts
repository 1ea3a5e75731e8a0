import { AggregationTemporality } from '@opentelemetry/sdk-metrics'
import { describe, expect, test } from 'vitest'
import { memoryCursors, memoryLog, run } from '../../src/core/index.ts'
import { prometheusMetrics } from '../../src/observers/index.ts'
import { otelMetrics } from '../../src/otel/index.ts'
import { parsePrometheus } from '../service/admin/parse-prometheus.ts'
import { registeredSdk } from './registered-sdk.ts'

async function consume(
  log: ReturnType<typeof memoryLog>,
  observer: NonNullable<Parameters<typeof run>[1]>['observer'],
  fails = false,
): Promise<void> {
  const handle = (): void => {
    if (fails) throw new Error('broken')
  }
  const consumer = { name: 'mailer', types: [1], handle }
  await run({ stream: log.source.stream, cursors: memoryCursors(), consumer }, { toHead: true, observer }).catch(
    () => {},
  )
}

describe('otel metrics', () => {
  test('are observed when they are collected: of a consumer that does nothing too', async () => {
    const sdk = registeredSdk()
    let now = 10_000
    using metrics = otelMetrics({ now: () => now })
    const log = memoryLog()
    log.append({ type: 1, foreignId: 'a', timestamp: now }, { type: 2, foreignId: 'b', timestamp: now })
    const observer = metrics.consumer('mailer', { source: log.source })
    await consume(log, observer)
    const idle = {
      ...{
        'reflex.consumer.lag{mailer}': 0,
        'reflex.consumer.lag_alert{mailer}': 0,
        'reflex.consumer.active{mailer}': 0,
      },
      ...{ 'reflex.consumer.event_age{mailer}': 1, 'reflex.consumer.latency{mailer}': 1 },
      ...{ 'reflex.consumer.error_count{mailer}': 0, 'reflex.consumer.dead_lettered_events_count{mailer}': 0 },
      ...{ 'reflex.consumer.skipped_events_count{mailer}': 1, 'reflex.consumer.handled_events{mailer}': 1 },
      ...{ 'reflex.consumer.restarts{mailer}': 0, 'reflex.consumer.backlog{mailer,events}': 0 },
      'reflex.consumer.blocked{mailer}': 0,
    }
    expect(await sdk.collect()).toEqual(idle)
    log.append({ type: 1, foreignId: 'a', timestamp: now })
    now += 7_200_000
    expect(await sdk.collect()).toEqual({
      ...idle,
      ...{ 'reflex.consumer.lag{mailer}': 7200, 'reflex.consumer.lag_alert{mailer}': 1 },
      'reflex.consumer.backlog{mailer,events}': 1,
    })
    await consume(log, observer, true)
    expect(await sdk.collect()).toMatchObject({
      'reflex.consumer.error_count{mailer}': 1,
      'reflex.consumer.backlog{mailer,events}': 3,
    })
    expect(sdk.units['reflex.consumer.lag']).toBe('s')
    expect(sdk.units['reflex.consumer.latency']).toBe('s')
  })

  test('are there once per name, and only until they are taken away', async () => {
    // Cumulative, this SDK goes on exporting the last value of what is observed no more.
    const sdk = registeredSdk({ temporality: AggregationTemporality.DELTA })
    using metrics = otelMetrics()
    const first = metrics.consumer('a')
    metrics.consumer('b')
    expect(() => metrics.consumer('a')).toThrow('there is a consumer "a" already')
    const names = async (): Promise<Set<string | undefined>> =>
      new Set(Object.keys(await sdk.collect()).map((each) => /\{([^,}]+)/.exec(each)?.[1]))
    expect(await names()).toEqual(new Set(['a', 'b']))
    first[Symbol.dispose]()
    expect(await names()).toEqual(new Set(['b']))
    metrics.consumer('a')
    expect(await names()).toEqual(new Set(['a', 'b']))
    metrics[Symbol.dispose]()
    expect(await names()).toEqual(new Set())
  })

  test('print as those for Prometheus, but for what its exporters put after the name of a counter', async () => {
    const sdk = registeredSdk()
    const log = memoryLog()
    log.append({ type: 1, foreignId: 'a' })
    const prometheus = prometheusMetrics()
    using otel = otelMetrics()
    await consume(log, prometheus.consumer('mailer', { source: log.source }))
    await consume(log, otel.consumer('mailer', { source: log.source }))
    await sdk.collect()
    // https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/#otlp-metric-points-to-prometheus
    const printed = parsePrometheus(await prometheus.text()).map(({ name, type }) => {
      const isReflexCounter = type === 'counter' && !name.endsWith('_total')
      return isReflexCounter ? `${name}_total` : name
    })
    const counters = ['error_count', 'dead_lettered_events_count', 'skipped_events_count', 'handled_events', 'restarts']
    const exported = Object.entries(sdk.units).map(([name, unit]) => {
      const isCounter = counters.some((each) => name === `reflex.consumer.${each}`)
      return `${name.replaceAll('.', '_')}${unit === 's' ? '_seconds' : ''}${isCounter ? '_total' : ''}`
    })
    expect(exported.sort()).toEqual(printed.sort())
  })

  test('cost nothing and hinder nothing without an SDK', async () => {
    using metrics = otelMetrics()
    const log = memoryLog()
    log.append({ type: 1, foreignId: 'a' })
    await consume(log, metrics.consumer('mailer', { source: log.source }))
  })
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { histogram } from '../../../src/observers/histogram.ts'
import { lagGauge } from '../../../src/observers/lag-gauge.ts'
import { type Metric, prometheusText } from '../../../src/observers/prometheus-text.ts'
import { routeMeters } from '../../../src/service/admin/route-meters.ts'
import { routeMetrics } from '../../../src/service/admin/route-metrics.ts'
import type { RouteSample } from '../../../src/service/admin/route-samples.ts'
import type { RouteStatus } from '../../../src/service/start-route.ts'
import { fakeRoute, idleStatus } from './fake-route.ts'
import { type ParsedMetric, parsePrometheus } from './parse-prometheus.ts'

function sample(name: string, status: Partial<RouteStatus>, rest: Partial<RouteSample> = {}): RouteSample {
  return {
    route: fakeRoute(name),
    status: { ...idleStatus, ...status },
    end: undefined,
    verdict: { ready: true },
    lagMs: undefined,
    ...rest,
  }
}

/** `{ [name]: { [labels but for consumer_name]: value } }` of one route. */
function valuesOf(metrics: readonly ParsedMetric[], route: string): Record<string, Record<string, number>> {
  const values: Record<string, Record<string, number>> = {}
  for (const { samples } of metrics) {
    for (const { name, labels, value } of samples) {
      const { consumer_name, ...others } = labels
      if (consumer_name !== route) continue
      values[name] = { ...values[name], [Object.values(others).join(' ')]: value }
    }
  }
  return values
}

describe('metrics', () => {
  it('are those of reflex, with the route as the consumer, and those of a bridge', () => {
    let now = 1000
    const meters = routeMeters({ now: () => now })
    const observer = meters.observer('orders')
    observer.progress?.({ cursor: '1', handled: 3, skipped: 1, timestamp: now - 7 })
    observer.progress?.({ cursor: '2', handled: 0, skipped: 0, timestamp: undefined }) // no event: no age
    observer.timed?.({ count: 4, ms: 20 })
    observer.failed?.(new Error('x'))
    for (let i = 0; i < 2; i++) observer.restarting?.({ delayMs: 1, failures: i, error: new Error('x') })
    observer.repaired?.('x')
    observer.passed?.({ eventId: '1', as: 'dead letter', reason: 'x' })
    observer.passed?.({ eventId: '2', as: 'skipped', reason: 'x' })
    now += 3_600_000
    observer.progress?.({ cursor: '3', handled: 1, skipped: 0, timestamp: 1000 })
    const behind = sample(
      'orders',
      {
        backlog: { count: 12_345_678_901n, unit: 'positions' },
        blocked: { holder: 'x', blockedMs: 2500 },
      },
      { lagMs: 1500, verdict: { ready: false, reason: 'x' } },
    )
    const away = sample('users', { state: 'standby', backlog: undefined })
    const silent = { ...sample('silent', {}), status: undefined }
    const metrics = parsePrometheus(prometheusText(routeMetrics([behind, away, silent], meters)))

    expect(valuesOf(metrics, 'orders')).toEqual({
      reflex_consumer_lag_seconds: { '': 1.5 },
      reflex_consumer_lag_alert: { '': 1 },
      reflex_consumer_active: { '': 1 },
      reflex_consumer_error_count: { '': 1 },
      reflex_consumer_dead_lettered_events_count: { '': 1 },
      reflex_consumer_skipped_events_count: { '': 1 },
      reflex_consumer_event_age_seconds_bucket: expect.objectContaining({
        '0.005': 0,
        '0.01': 1,
        '1000': 1,
        '10000': 2,
      }),
      reflex_consumer_event_age_seconds_sum: { '': 3600.007 },
      reflex_consumer_event_age_seconds_count: { '': 2 },
      reflex_consumer_latency_seconds_bucket: expect.objectContaining({ '0.01': 0, '0.05': 4, '300': 4 }),
      reflex_consumer_latency_seconds_sum: { '': 0.08 },
      reflex_consumer_latency_seconds_count: { '': 4 },
      reflex_consumer_handled_events_total: { '': 4 },
      reflex_consumer_backlog: { positions: 12_345_678_901 },
      reflex_consumer_blocked_seconds: { '': 2.5 },
      reflex_consumer_restarts_total: { '': 2 },
      reflex_bridge_repairs_total: { '': 1 },
      reflex_bridge_ready: { '': 0 },
      reflex_bridge_state: { starting: 0, running: 1, waiting: 0, standby: 0, paused: 0, stopped: 0, ended: 0 },
      reflex_bridge_route_info: { 'mysql://app@127.0.0.1:3306/shop.orders redis://127.0.0.1:6379/orders': 1 },
    })
    // What is not known is left out, and not 0.
    expect(valuesOf(metrics, 'users')).toMatchObject({
      reflex_consumer_active: { '': 0 },
      reflex_bridge_state: { standby: 1 },
    })
    expect(Object.keys(valuesOf(metrics, 'users'))).not.toContain('reflex_consumer_backlog')
    expect(Object.keys(valuesOf(metrics, 'users'))).not.toContain('reflex_consumer_lag_seconds')
    expect(Object.values(valuesOf(metrics, 'silent')['reflex_bridge_state'] ?? {})).toEqual([0, 0, 0, 0, 0, 0, 0])
    for (const name of ['process_cpu_seconds_total', 'process_resident_memory_bytes', 'process_start_time_seconds'])
      expect(metrics.find((metric) => metric.name === name)?.samples[0]?.value).toBeGreaterThan(0)
  })

  it('can be parsed whatever stands in labels and help, and say the same', () => {
    const text = fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('\\', '"', '\n', '\\n', 'a\\"b\n'))
    fc.assert(
      fc.property(
        text,
        text,
        fc.double({ noNaN: true, min: 0 }),
        fc.array(fc.oneof(fc.constantFrom(0.1, 1), fc.double({ min: 0, noNaN: true }))),
        (label, help, value, ages) => {
          const ageOf = histogram([0.1, 1, 1e21])
          for (const age of ages) ageOf.observe(age)
          const metrics: Metric[] = [
            {
              name: 'a_total',
              help: `h${help}`,
              type: 'counter',
              samples: [
                { labels: { x: label }, value },
                { labels: {}, value },
              ],
            },
            { name: 'b', help: 'h', type: 'histogram', samples: [{ labels: { x: label }, value: ageOf }] },
            { name: 'c', help: 'left out', type: 'gauge', samples: [] },
          ]
          const [a, b, ...others] = parsePrometheus(prometheusText(metrics))
          expect(a).toMatchObject({ name: 'a_total', help: `h${help}`, type: 'counter' })
          expect(a?.samples[0]).toEqual({ name: 'a_total', labels: { x: label.toWellFormed() }, value })
          expect(b?.samples.at(-1)?.value).toBe(ages.length)
          expect(b?.samples[1]?.value).toBe(ages.filter((age) => age <= 1).length)
          expect(others).toEqual([])
        },
      ),
    )
  })

  it('are refused by the parser of these tests where the format is broken', () => {
    const good = '# HELP a b\n# TYPE a gauge\na{x="1"} 1\n'
    expect(() => parsePrometheus(good)).not.toThrow()
    for (const bad of [
      good.slice(0, -1),
      'a 1\n',
      '# TYPE a gauge\na 1\n',
      `${good}a{x="1"} 2\n`,
      `${good}${good}`,
      good.replace('"1"', '"\\x"'),
      good.replace('"1"', '"1'),
      good.replace('} 1', '} one'),
      good.replaceAll('gauge', 'histogram'),
      '# HELP a b\n# TYPE a gauge\n',
    ])
      expect(() => parsePrometheus(bad), bad).toThrow()
  })
})

describe('the lag of a route', () => {
  const saw = (...statuses: Partial<RouteStatus>[]) => {
    const gauge = lagGauge()
    statuses.forEach((status, i) => {
      gauge.saw({ ...idleStatus, ...status }, 1000 * i)
    })
    return (at: number) => gauge.lagMs(at)
  }
  const unknown = { backlog: undefined, oldestUnreadAt: undefined }
  const waiting = { ...unknown, state: 'waiting' as const }
  const some = { count: 5n, unit: 'events' as const }

  it('is the age of the oldest event that waits, and 0 where none does', () => {
    expect(saw({ backlog: some, oldestUnreadAt: -9000 })(2000)).toBe(11_000)
    expect(saw({ backlog: some, oldestUnreadAt: 9000 })(2000)).toBe(0) // by a clock that is ahead
    expect(saw({})(50_000)).toBe(0)
  })

  it('grows while nobody can be asked, from what was last known', () => {
    expect(saw({}, {}, waiting, waiting)(60_000)).toBe(59_000) // nothing waited at 1000
    expect(saw({ backlog: some, oldestUnreadAt: -9000 }, waiting)(60_000)).toBe(69_000)
    expect(saw({ state: 'standby', ...unknown }, { state: 'standby', ...unknown }, waiting)(60_000)).toBe(59_000)
  })

  it('is unknown where another process forwards, and where the source never tells', () => {
    expect(saw({ state: 'standby', ...unknown })(1000)).toBeUndefined()
    expect(saw(unknown, unknown)(60_000)).toBeUndefined()
    expect(saw()(0)).toBeUndefined()
  })

  it('is unknown, and not 0, until somebody could tell once how old what waits is', () => {
    expect(saw(waiting, waiting)(60_000)).toBeUndefined()
    const ageless = { backlog: some, oldestUnreadAt: undefined }
    expect(saw(waiting, ageless, waiting)(60_000)).toBeUndefined()
    expect(saw({ backlog: some, oldestUnreadAt: Number.NaN })(60_000)).toBeUndefined()
    expect(saw(waiting, { backlog: some, oldestUnreadAt: -9000 }, ageless)(60_000)).toBe(69_000)
    expect(saw({}, { backlog: some, oldestUnreadAt: Number.NaN })(60_000)).toBe(60_000) // nothing waited at 0
  })
})

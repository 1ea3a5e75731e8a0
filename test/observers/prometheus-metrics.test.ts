import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { codeOf, eventStream, memoryCursors, memoryLog, run, type Source } from '../../src/core/index.ts'
import { consumerRegistry } from '../../src/observers/consumer-registry.ts'
import { prometheusMetrics } from '../../src/observers/index.ts'
import { parsePrometheus } from '../service/admin/parse-prometheus.ts'
import { eventually } from '../tools/reader.ts'
import { resourceScope } from '../tools/resource-scope.ts'
import { simulatedClock } from '../tools/simulated-clock.ts'

/** The samples of one consumer without labels of their own, by names without `reflex_consumer_`. */
function valuesOf(text: string, consumer: string): Record<string, number> {
  const samples = text === '' ? [] : parsePrometheus(text).flatMap((metric) => metric.samples)
  return Object.fromEntries(
    samples
      .filter(({ labels }) => labels['consumer_name'] === consumer && labels['le'] === undefined)
      .map(({ name, value }) => [name.replace('reflex_consumer_', ''), value]),
  )
}

/** A log whose server can be away. */
function fickleSource(): { readonly log: ReturnType<typeof memoryLog>; readonly source: Source; away: boolean } {
  const log = memoryLog({ batchSize: 3 })
  const fickle = {
    log,
    away: false,
    source: {
      ...log.source,
      stream: (after, options) => {
        if (fickle.away) return Promise.reject(new Error('away'))
        return log.source.stream(after, options)
      },
      backlog: async (after) => {
        if (fickle.away) throw new Error('away')
        return log.source.backlog!(after)
      },
    } satisfies Source,
  }
  return fickle
}

const neverClosed: Source['stream'] = async () =>
  eventStream((async function* () {})(), () => new Promise<void>(() => {}))

function raise(error: Error): never {
  throw error
}

type Step =
  | { readonly do: 'append'; readonly skipped: readonly boolean[] }
  | { readonly do: 'pass'; readonly ms: number }
  | { readonly do: 'run'; readonly failsAfter: number }
  | { readonly do: 'leave' }
  | { readonly do: 'return' }
  | { readonly do: 'scrape' }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      skipped: fc.array(fc.boolean(), { minLength: 1, maxLength: 5 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 3_600_000 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('run' as const), failsAfter: fc.constantFrom(0, 1, 2, 4, 100) }),
  },
  { weight: 3, arbitrary: fc.constant<Step>({ do: 'scrape' }) },
  { weight: 1, arbitrary: fc.constantFrom<Step>({ do: 'leave' }, { do: 'return' }) },
)

describe('prometheus metrics', () => {
  test('say what has happened, whatever did, and the lag never falls below the truth', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30, size: 'max' }), async (steps) => {
        let now = 1_000_000_000
        const fickle = fickleSource()
        const { log, source } = fickle
        const cursors = memoryCursors()
        const metrics = prometheusMetrics({ now: () => now })
        const observer = metrics.consumer('c', { source, lagAlertMs: 60_000 })
        const events: { readonly at: number; readonly skipped: boolean }[] = []
        const model = { position: 0, handled: 0, skipped: 0, errors: 0, opened: false, asked: false }
        let seenAt: number | undefined

        const runOnce = async (failsAfter: number): Promise<void> => {
          let handled = 0
          const consumer = {
            name: 'c',
            filter: ({ type }: { type: number }) => type === 1,
            handle: async () => {
              if (handled === failsAfter) throw new Error('broken')
              handled++
            },
          }
          const error = await run({ stream: source.stream, cursors, consumer }, { toHead: true, observer }).then(
            () => undefined,
            (error: unknown) => error,
          )
          if (error !== undefined) model.errors++
          if (fickle.away) return
          model.opened = true
          for (let left = failsAfter; model.position < events.length; model.position++) {
            const { skipped } = events[model.position]!
            if (skipped) model.skipped++
            else if (left-- === 0) break
            else model.handled++
          }
        }
        const check = async (): Promise<void> => {
          const found = valuesOf(await metrics.text(), 'c')
          const { handled, skipped, errors } = model
          expect(found).toMatchObject({
            ...{ handled_events_total: handled, skipped_events_count: skipped, error_count: errors },
            ...{ latency_seconds_count: handled, active: 0, dead_lettered_events_count: 0, blocked_seconds: 0 },
          })
          const oldest = events[model.position]
          const truth = oldest === undefined ? 0 : (now - oldest.at) / 1000
          const lag = found['lag_seconds']
          seenAt ??= now
          if (model.opened) {
            if (!fickle.away) model.asked = true
            if (!fickle.away) expect(lag).toBe(truth)
            else if (model.asked) expect(lag).toBeGreaterThanOrEqual(truth)
            expect(found['backlog']).toBe(fickle.away ? undefined : events.length - model.position)
          }
          // Nobody knows how old what waits is as long as the source could not be asked once: 0 would be false.
          if (!model.asked) expect(lag).toBeUndefined()
          expect(found['lag_alert']).toBe((lag ?? (now - seenAt) / 1000) > 60 ? 1 : 0)
        }
        for (const each of steps) {
          if (each.do === 'pass') now += each.ms
          else if (each.do === 'run') await runOnce(each.failsAfter)
          else if (each.do === 'leave' || each.do === 'return') fickle.away = each.do === 'leave'
          else if (each.do === 'scrape') await check()
          else {
            for (const skipped of each.skipped) {
              log.append({ type: skipped ? 2 : 1, foreignId: 'a', timestamp: now })
              events.push({ at: now, skipped })
            }
          }
        }
        await check()
      }),
      { numRuns: 300 },
    )
  })

  test('of a consumer that is stuck in its handler show a growing lag, and that it is active', async () => {
    let now = 1_000_000
    const log = memoryLog()
    log.append({ type: 1, foreignId: 'a', timestamp: now })
    const metrics = prometheusMetrics({ now: () => now })
    const observer = metrics.consumer('c', { source: log.source })
    const entered = Promise.withResolvers<void>()
    const released = Promise.withResolvers<void>()
    const consumer = {
      name: 'c',
      handle: () => {
        entered.resolve()
        return released.promise
      },
    }
    const running = run({ stream: log.source.stream, cursors: memoryCursors(), consumer }, { toHead: true, observer })
    await entered.promise
    for (const passed of [5000, 65_000, 7_200_000]) {
      now = 1_000_000 + passed
      expect(valuesOf(await metrics.text(), 'c')).toMatchObject({
        ...{ lag_seconds: passed / 1000, lag_alert: passed > 1_800_000 ? 1 : 0, active: 1, backlog: 1 },
        handled_events_total: 0,
      })
    }
    released.resolve()
    await running
    expect(valuesOf(await metrics.text(), 'c')).toMatchObject({ lag_seconds: 0, lag_alert: 0, active: 0, backlog: 0 })
  })

  test('of one name are kept once, over all its runs, until they are taken away (luno/reflex overwrites, and deletes at the end of a run)', async () => {
    const log = memoryLog()
    const metrics = prometheusMetrics()
    const first = metrics.consumer('c', { source: log.source })
    const twice = (): unknown => {
      try {
        return metrics.consumer('c')
      } catch (error) {
        return codeOf(error)
      }
    }
    expect(twice()).toBe('OPTION_INVALID')
    for (let i = 1; i <= 3; i++) {
      log.append({ type: 1, foreignId: 'a' })
      const consumer = { name: 'c', handle: () => {} }
      const cursors = memoryCursors()
      await run({ stream: log.source.stream, cursors, consumer }, { toHead: true, observer: first })
      expect(valuesOf(await metrics.text(), 'c')['handled_events_total']).toBe((i * (i + 1)) / 2)
    }
    first[Symbol.dispose]()
    expect(await metrics.text()).toBe('')
    const second = metrics.consumer('c')
    first[Symbol.dispose]() // once more: the second is another one
    second.failed(new Error('x'))
    expect(valuesOf(await metrics.text(), 'c')).toMatchObject({ error_count: 1, handled_events_total: 0 })
  })

  test('stay numbers that can be added up, whatever time an event or the clock tells', async () => {
    const times = fc.oneof(
      fc.constantFrom(Number.NaN, -Infinity, Infinity, -1e9, 2e9),
      fc.integer({ min: 0, max: 1e9 }),
    )
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ timestamp: times, ms: times, count: fc.integer({ min: 1, max: 3 }) }), { maxLength: 6 }),
        async (told) => {
          const seen: number[] = []
          const registry = consumerRegistry({
            now: () => 1e9,
            observedOf: () => (_, seconds) => void seen.push(seconds),
          })
          const observer = registry.add('c')
          let before = { eventAge: 0, latency: 0 }
          for (const { timestamp, ms, count } of told) {
            observer.progress({ cursor: '1', handled: count, skipped: 0, timestamp })
            observer.timed({ count, ms })
            const [{ counts } = { counts: undefined }] = await registry.read()
            const sums = { eventAge: counts?.eventAge.sum ?? Number.NaN, latency: counts?.latency.sum ?? Number.NaN }
            expect(sums.eventAge).toBeGreaterThanOrEqual(before.eventAge)
            expect(sums.latency).toBeGreaterThanOrEqual(before.latency)
            expect([sums.eventAge, sums.latency, ...seen].every((each) => each >= 0 && each < Infinity)).toBe(true)
            before = sums
          }
          const [reading] = await registry.read()
          expect(reading?.counts?.eventAge.count).toBe(told.filter((each) => Number.isFinite(each.timestamp)).length)
          const timed = told.filter(({ ms }) => Number.isFinite(ms)).reduce((sum, { count }) => sum + count, 0)
          expect(reading?.counts?.latency.count).toBe(timed)
        },
      ),
    )
  })

  test('count the age of an event by the clock of its run', async () => {
    const clock = simulatedClock()
    const log = memoryLog()
    log.append({ type: 1, foreignId: 'a', timestamp: clock.now() - 3000 })
    const metrics = prometheusMetrics()
    const consumer = { name: 'c', handle: () => clock.pass(500) }
    const spec = { stream: log.source.stream, cursors: memoryCursors(), consumer }
    await clock.until(run(spec, { toHead: true, clock, observer: metrics.consumer('c') }))
    expect(valuesOf(await metrics.text(), 'c')['event_age_seconds_sum']).toBe(3.5)
  })

  test('without a source leave out what only that can tell', async () => {
    const metrics = prometheusMetrics()
    metrics.consumer('c').progress({ cursor: '1', handled: 1, skipped: 0, timestamp: Date.now() })
    const found = valuesOf(await metrics.text(), 'c')
    expect(found).toMatchObject({ handled_events_total: 1, event_age_seconds_count: 1 })
    for (const name of ['lag_seconds', 'lag_alert', 'backlog', 'blocked_seconds'])
      expect(found).not.toHaveProperty(name)
  })

  test('of a source that cannot count its backlog have no lag where nothing is unread, however long', async () => {
    let now = 1_000_000
    const log = memoryLog()
    log.append({ type: 1, foreignId: 'a', timestamp: now })
    const { stream } = log.source
    const metrics = prometheusMetrics({ now: () => now })
    const observer = metrics.consumer('c', { source: { stream } })
    const consumer = { name: 'c', handle: () => {} }
    await run({ stream, cursors: memoryCursors(), consumer }, { toHead: true, observer })
    for (let hours = 0; hours < 3; hours++) {
      expect(valuesOf(await metrics.text(), 'c')).toMatchObject({ lag_seconds: 0, backlog: 0 })
      now += 3_600_000
    }
  })

  test.each<[string, Pick<Source, 'stream' | 'backlog' | 'blocked'>]>([
    ['whose blocked() throws', { stream: memoryLog().source.stream, blocked: () => raise(new Error('away')) }],
    ['whose stream does not close', { stream: neverClosed }],
    ['that throws at once', { stream: memoryLog().source.stream, backlog: () => raise(new Error('away')) }],
  ])('are there within 2 s beside those of a source %s', async (_, source) => {
    const metrics = prometheusMetrics()
    metrics.consumer('c', { source }).opened({ name: 'c', cursor: '' })
    metrics.consumer('good')
    const late = new Promise<string>((resolve) => setTimeout(resolve, 3000, ''))
    expect(valuesOf(await Promise.race([metrics.text(), late]), 'good')).toHaveProperty('active', 0)
  })

  test('leave nothing behind once the sources have answered, and refuse a limit that is no time', async () => {
    using scope = resourceScope()
    const metrics = prometheusMetrics()
    metrics.consumer('c', { source: memoryLog().source }).opened({ name: 'c', cursor: '' })
    await scope.run(() => metrics.text())
    await eventually(() => scope.open().length === 0, 1000, 'nothing is left')
    for (const lagAlertMs of [Number.NaN, -1])
      expect(() => metrics.consumer('d', { lagAlertMs })).toThrow(/lagAlertMs of "d" must be 0 or more ms/)
  })

  test('are served to GET and HEAD', async () => {
    const metrics = prometheusMetrics()
    metrics.consumer('c')
    const server = createServer(metrics.handler).listen(0, '127.0.0.1')
    await once(server, 'listening')
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`
      const got = await fetch(url)
      expect(got.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
      expect(await got.text()).toBe(await metrics.text())
      expect(await (await fetch(url, { method: 'HEAD' })).text()).toBe('')
      expect((await fetch(url, { method: 'POST' })).status).toBe(405)
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })
})

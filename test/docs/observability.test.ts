import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { diagnosticsObserver } from '../../src/observers/index.ts'
import { prometheusText } from '../../src/observers/prometheus-text.ts'
import { routeMeters } from '../../src/service/admin/route-meters.ts'
import { routeMetrics } from '../../src/service/admin/route-metrics.ts'
import { fakeRoute, idleStatus } from '../service/admin/fake-route.ts'
import { parsePrometheus } from '../service/admin/parse-prometheus.ts'

/** What the service prints of a route of which everything is known; the same metrics are those of a consumer. */
function emitted(): { readonly name: string; readonly type: string; readonly labels: readonly string[] }[] {
  const meters = routeMeters()
  const observer = meters.observer('orders')
  observer.progress?.({ cursor: '1', handled: 1, skipped: 0, timestamp: 0 })
  const rest = { end: undefined, verdict: { ready: true as const }, lagMs: 0 }
  const samples = [{ route: fakeRoute('orders'), status: idleStatus, ...rest }]
  return parsePrometheus(prometheusText(routeMetrics(samples, meters))).map(({ name, type, samples }) => {
    const labels = Object.keys(samples[0]!.labels).filter((each) => each !== 'consumer_name' && each !== 'le')
    return { name, type, labels }
  })
}

const document = readFileSync('docs/observability.md', 'utf8')

test('every metric is documented with its type and labels, and no other', () => {
  const rows = [...document.matchAll(/^\| `([a-z_]+)(?:\{([a-z,]+)\})?` \| (gauge|counter|histogram) \|/gm)]
  const documented = rows.map(([, name = '', labels, type = '']) => ({ name, type, labels: labels?.split(',') ?? [] }))
  const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1)
  expect(documented.sort(byName)).toEqual(emitted().sort(byName))
})

test('every channel is documented, and no other, and so is every member of an observer', () => {
  const members = Object.keys(diagnosticsObserver('x')).sort()
  const channels = [...document.matchAll(/^(?:`reflex-bridge:.*)$/gm)].flatMap(([line]) =>
    [...line.matchAll(/`reflex-bridge:([a-z]+)`/g)].map(([, name]) => name),
  )
  expect(channels.sort()).toEqual(members)
  const rows = [...document.matchAll(/^\| `([a-z]+)` \| /gm)].map(([, name]) => name)
  expect(rows.sort()).toEqual(members)
})

interface Panel {
  readonly id: number
  readonly title: string
  readonly description: string
  readonly datasource: { readonly uid: string }
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly targets: readonly { readonly expr: string; readonly datasource: { readonly uid: string } }[]
}

test('the dashboard asks for metrics that there are, shows all of them, and takes its data source from a variable', () => {
  const dashboard = JSON.parse(readFileSync('docs/grafana-dashboard.json', 'utf8')) as {
    readonly uid: string
    readonly title: string
    readonly panels: readonly Panel[]
    readonly templating: {
      readonly list: readonly { readonly name: string; readonly type: string; readonly query: unknown }[]
    }
  }
  const { panels, templating } = dashboard
  const metrics = emitted()
  const series = metrics.flatMap(({ name, type }) =>
    type === 'histogram' ? ['_bucket', '_sum', '_count'].map((each) => name + each) : [name],
  )
  const asked = (text: string): string[] => text.match(/\b(reflex|process)_[a-z_]+/g) ?? []
  const exprs = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))
  expect(exprs.flatMap(asked).filter((each) => !series.includes(each))).toEqual([])
  expect(asked(JSON.stringify(templating)).filter((each) => !series.includes(each))).toEqual([])
  const unseen = metrics.filter(({ name }) => !exprs.some((expr) => new RegExp(`\\b${name}(_bucket)?\\b`).test(expr)))
  expect(unseen).toEqual([])
  for (const label of exprs.flatMap((expr) =>
    [...expr.matchAll(/by \(([^)]+)\)/g)].flatMap(([, labels]) => labels!.split(', ')),
  ))
    expect(['consumer_name', 'le', ...metrics.flatMap(({ labels }) => labels)]).toContain(label)

  expect(templating.list.map(({ name, type }) => [name, type])).toEqual([
    ['datasource', 'datasource'],
    ['consumer', 'query'],
  ])
  expect(
    new Set([...panels, ...panels.flatMap(({ targets }) => targets)].map(({ datasource }) => datasource.uid)),
  ).toEqual(new Set(['$' + '{datasource}']))
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length)
  for (const { title, description, targets } of panels)
    expect([title, description, targets.length].every(Boolean), title).toBe(true)
  const overlaps = panels.filter(({ gridPos: a }, i) =>
    panels
      .slice(0, i)
      .some(({ gridPos: b }) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h),
  )
  expect(overlaps).toEqual([])
})

import { describe, expect, inject, it } from 'vitest'
import { auditRoute } from '../../src/service/audit-route.ts'
import type { RouteConfig } from '../../src/service/config/parse-config.ts'
import { routeActions } from '../../src/service/control/route-actions.ts'
import { replayRoute } from '../../src/service/replay-route.ts'
import { resetRoute } from '../../src/service/reset-route.ts'
import { fresh } from '../cli/logs.ts'
import { testAdmin } from '../jetstream/fixture.ts'
import { topicAdmin } from '../kafka/fixture.ts'
import { forward, mysqlRoute } from './mysql-route.ts'

const { signal } = new AbortController()
const options = { signal, by: 'test', standby: undefined, createTables: true }

/** The same route to another destination. */
function routeInto(route: RouteConfig, into: string): RouteConfig {
  return {
    ...route,
    name: `${route.name}.replay.${into}`,
    sink: route.sink.elsewhere(into).value as RouteConfig['sink'],
  }
}

const name = fresh('reset')
const brokers = {
  redis: { sink: () => ({ url: inject('servers').redis.url, key: name }), into: `${name}.2` },
  kafka: { sink: () => ({ url: `kafka://${inject('servers').kafka.url}`, topic: name }), into: `${name}.2` },
  jetstream: {
    sink: () => ({ url: inject('servers').nats.url, stream: name, subject: `${name}.a` }),
    into: `${name}-2/${name}-2`,
  },
}

describe.each(Object.entries(brokers))('from MySQL to %s', (broker, { sink, into }) => {
  it('a reset passes over what lies in between, and a replay has all of it', async () => {
    await using topic = broker === 'kafka' ? await topicAdmin(name, { partitions: 2 }) : undefined
    const nats = broker === 'jetstream' ? await testAdmin() : undefined
    const { route, insert } = await mysqlRoute(sink())
    await insert(20)
    await forward(route)
    await insert(30)
    await routeActions([route], { by: 'test' }).stop(route.name)
    expect(await resetRoute(route, '35', options)).toMatchObject({ from: '20', to: '35', passed: { count: 15n } })
    await expect(resetRoute(route, '30', options)).rejects.toThrow(/is not moved back to 30/)
    await forward(route)
    const { report } = await auditRoute(route, { signal, from: '' })
    expect(report.lost).toEqual(Array.from({ length: 15 }, (_, i) => String(21 + i)))
    expect(report.counts).toMatchObject({ delivered: 35, duplicated: 0, reordered: 0, different: 0 })
    expect((await auditRoute(route, { signal })).report).toMatchObject({ ok: true, from: '35', to: '50' })

    const replay = { into, routes: [route], signal }
    expect(await replayRoute(route, { ...replay, to: '40' })).toMatchObject({ done: true, cursor: '40' })
    expect(await replayRoute(route, replay)).toMatchObject({ done: true, cursor: '50' })
    const copied = (await auditRoute(routeInto(route, into), { signal })).report
    expect(copied).toMatchObject({ ok: true, counts: { source: 50, delivered: 50, foreign: 0 } })
    await expect(replayRoute({ ...route, name: 'other' }, replay)).rejects.toThrow(/has entries already/)

    await topic?.admin.deleteTopics({ topics: [into] })
    for (const stream of [name, `${name}-2`]) await nats?.api(`STREAM.DELETE.${stream}`)
  })
})

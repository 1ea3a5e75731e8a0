import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { describe, expect, inject, it, onTestFinished } from 'vitest'
import { bridge } from '../../src/bridge/bridge.ts'
import { wireNames } from '../../src/core/wire.ts'
import { type AuditRouteOptions, auditRoute, type RouteAudit } from '../../src/service/audit-route.ts'
import type { RouteConfig } from '../../src/service/config/parse-config.ts'
import { routeActions } from '../../src/service/control/route-actions.ts'
import { openRoute } from '../../src/service/open-route.ts'
import { repairRoute } from '../../src/service/repair-route.ts'
import { fresh } from '../cli/logs.ts'
import { testAdmin } from '../jetstream/fixture.ts'
import { topicAdmin } from '../kafka/fixture.ts'
import { testClient } from '../redis/fixture.ts'
import { forward, mysqlRoute } from './mysql-route.ts'

const { signal } = new AbortController()
const COUNT = 1000

function look(route: RouteConfig, options: Partial<AuditRouteOptions> = {}): Promise<RouteAudit> {
  return auditRoute(route, { signal, ...options })
}

describe('auditRoute, from MySQL', () => {
  it('to Redis: what was forwarded is all there, and what is done to it is found', async () => {
    const key = fresh('audit')
    const { url } = inject('servers').redis
    const redis = testClient(url)
    onTestFinished(async () => void (await redis.del(key)))
    const { route, insert } = await mysqlRoute({ url, key })
    await insert(COUNT)
    await forward(route)
    await insert(10) // not forwarded
    expect((await look(route)).report).toMatchObject({ ok: true, counts: { source: COUNT, delivered: COUNT } })
    expect((await look(route, { to: 'head' })).report.counts).toMatchObject({ source: COUNT + 10, lost: 10 })

    const entries = (await redis.xrange(key, '-', '+')) as [string, string[]][]
    const fieldsOf = (n: number): string[] => entries[n - 1]?.[1] as string[]
    await redis.xdel(key, entries[499]?.[0] as string)
    const again = await redis.xadd(key, '*', ...fieldsOf(20))
    await redis.xadd(key, '*', 'user', '7')
    const changed = fieldsOf(500).map((part) => (part === 'payload 500' ? 'payload 5OO' : part))
    const late = await redis.xadd(key, '*', ...changed)
    const made = fieldsOf(30).map((part) => (part === '30' ? '99' : part))
    await redis.xdel(key, entries[98]?.[0] as string)
    const other = await redis.xadd(key, '*', ...made)
    const { report } = await look(route)
    const destination = `redis:${key}`
    expect(report).toMatchObject({
      ...{ ok: false, lost: [], foreign: [{ destination }] },
      duplicated: [{ id: '20', destination, at: again }],
      reordered: [
        { id: '500', destination, at: late },
        { id: '99', destination, at: other },
      ],
    })
    expect(report.different.map(({ id, parts }) => [id, parts])).toEqual([
      ['500', ['metadata']],
      ['99', expect.arrayContaining(['foreignId', 'metadata', 'header trace'])],
    ])

    await redis.xtrim(key, 'MINID', entries[199]?.[0] as string)
    const trimmed = (await look(route)).report
    expect(trimmed.counts).toMatchObject({ lost: 0, trimmed: 197, source: COUNT }) // 20 and 99 stand behind
  })

  /** A destination that can be set back to what it held when a copy was taken. */
  const losing = {
    redis: async () => {
      const key = fresh('audit')
      const { url } = inject('servers').redis
      const redis = testClient(url)
      const keys = [key, `reflex:{${key}}:orders`]
      onTestFinished(async () => void (await redis.del(...keys)))
      const copy = async (): Promise<() => Promise<void>> => {
        const copies = await Promise.all(keys.map((each) => redis.dumpBuffer(each)))
        return async () => {
          for (const [i, each] of keys.entries()) await redis.restore(each, 0, copies[i] as Buffer, 'REPLACE')
        }
      }
      return { sink: { url, key }, copy }
    },
    jetstream: async () => {
      const stream = fresh('audit')
      const admin = await testAdmin()
      await admin.createStream(stream)
      const copy = async (): Promise<() => Promise<void>> => {
        const backup = await admin.backUp(stream)
        return () => admin.restore(stream, backup)
      }
      return { sink: { url: inject('servers').nats.url, stream, subject: stream }, copy }
    },
  }
  it.each(Object.entries(losing))(
    'to %s, which has lost its tail: repaired once the route is stopped, and not before',
    async (_name, make) => {
      const { sink, copy } = await make()
      const { route, insert } = await mysqlRoute(sink)
      await insert(300)
      await forward(route)
      const restore = await copy()
      await insert(200)
      await forward(route)
      await restore()
      const { report } = await look(route)
      expect(report.counts).toMatchObject({ lost: 200, delivered: 300 })
      expect(report.lost.slice(0, 2)).toEqual(['301', '302'])

      const options = { signal, standby: undefined, createTables: false }
      await expect(repairRoute(route, options)).rejects.toThrow(/the route orders is left as it is: it is not stopped/)
      expect((await look(route)).report.counts.lost).toBe(200)
      await routeActions([route], { by: 'test' }).stop('orders')
      expect(await repairRoute(route, options)).toEqual([expect.stringMatching(/lost|refill/)])
      expect((await look(route)).report).toMatchObject({ ok: true, counts: { delivered: 500 } })
    },
  )

  it('is never wrong while events are committed, rolled back and forwarded', async () => {
    const key = fresh('audit')
    const { url } = inject('servers').redis
    const redis = testClient(url)
    onTestFinished(async () => void (await redis.del(key, `reflex:{${key}}:orders`)))
    const { route, insert } = await mysqlRoute({ url, key })
    await insert(10)
    await forward(route)
    const stopped = new AbortController()
    await using open = await openRoute(route, { createTables: false, readOnly: false })
    const bridging = bridge({ name: 'orders', ...open }, { signal: stopped.signal })
    const writers = [0, 1, 2].map(async (writer) => {
      while (!stopped.signal.aborted) await insert(1 + writer * 7, { commit: writer !== 1 })
    })
    const sizes: number[] = []
    while (sizes.length < 8 || new Set(sizes).size < 4) {
      const { report } = await look(route)
      expect(report).toMatchObject({ ok: true, counts: { foreign: 0, before: 0 } })
      sizes.push(report.counts.source)
    }
    stopped.abort(new Error('enough'))
    await Promise.all([bridging, ...writers])
    expect(sizes.at(-1)).toBeGreaterThan(10)
  })

  it('to Kafka: over all partitions, with what retention has removed told apart', async () => {
    const topic = fresh('audit')
    await using topics = await topicAdmin(topic, { partitions: 3 })
    const { route, insert } = await mysqlRoute({ url: `kafka://${inject('servers').kafka.url}`, topic })
    await insert(COUNT)
    await forward(route)
    expect((await look(route)).report).toMatchObject({ ok: true, counts: { source: COUNT, delivered: COUNT } })

    const headers = { [wireNames.source]: sourceName(route) }
    const type = { [wireNames.type]: '1', [wireNames.timestamp]: '2026-01-01T00:00:00.000000Z' }
    const messages = [
      { key: 'order-1', value: 'x', headers: { ...headers, [wireNames.sourceId]: '51', ...type } },
      { key: 'order-1', value: 'x', headers: { ...headers, [wireNames.sourceId]: '1000000', ...type } },
      { key: 'order-1', value: 'x' },
    ]
    await topics.producer.send({ topic, messages })
    const { report } = await look(route)
    expect(report).toMatchObject({ ok: false, duplicated: [{ id: '51' }], counts: { foreign: 1, beyond: 1, lost: 0 } })

    await topics.trim('100', 1)
    const trimmed = (await look(route)).report.counts
    expect(trimmed.trimmed).toBeGreaterThan(90)
    expect(trimmed).toMatchObject({ lost: 0, delivered: COUNT - trimmed.trimmed })
  })

  it('to JetStream: a message that was deleted is lost, and what was purged is not', async () => {
    const stream = fresh('audit')
    const { url } = inject('servers').nats
    const admin = await testAdmin()
    const { route, insert } = await mysqlRoute({ url, stream, subject: `${stream}.orders` })
    await admin.createStream(stream, { subjects: [`${stream}.orders.>`] })
    await insert(COUNT)
    await forward(route)
    expect((await look(route)).report).toMatchObject({ ok: true, counts: { delivered: COUNT, foreign: 0 } })

    const connection = await connect({ servers: url })
    onTestFinished(() => connection.close())
    const { streams } = await jetstreamManager(connection)
    await streams.deleteMessage(stream, 700)
    expect((await look(route)).report).toMatchObject({ ok: false, lost: ['700'], counts: { lost: 1 } })
    await streams.purge(stream, { filter: `${stream}.>`, seq: 601 })
    expect((await look(route)).report).toMatchObject({ lost: ['700'], counts: { lost: 1, trimmed: 600 } })
  })
})

/** As it stands in the headers. */
function sourceName({ source }: RouteConfig): string {
  return `mysql:${source.name.replace(/^.*\/|\?.*$/g, '')}.events`
}

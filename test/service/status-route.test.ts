import { describe, expect, inject, it } from 'vitest'
import { mysqlEvents } from '../../src/adapters/mysql/index.ts'
import { bridge } from '../../src/bridge/bridge.ts'
import { parseConfig, type RouteConfig } from '../../src/service/config/parse-config.ts'
import { openControl } from '../../src/service/control/open-control.ts'
import { openRoute } from '../../src/service/open-route.ts'
import { statusRoute } from '../../src/service/status-route.ts'
import { fresh } from '../cli/logs.ts'
import { testDatabase } from '../mysql/database.ts'
import { numbered } from '../tools/numbered.ts'

describe('statusRoute', () => {
  it('names the transaction that holds the source up, and the process that has the lease', async () => {
    const database = await testDatabase()
    const { host, port } = inject('servers').mysql
    const events = mysqlEvents(database.pool)
    await events.createTable()
    const source = { url: `mysql://root@${host}:${port}/${database.name}` }
    const sink = { url: inject('servers').redis.url, key: fresh('status') }
    const text = JSON.stringify({ routes: { orders: { source, sink } } })
    const [route] = parseConfig(text, { title: 'test', folder: '/', environment: {} }).routes as [RouteConfig]
    await using open = await openRoute(route, { createTables: true, readOnly: false })
    await open.createTables()
    await using control = await openControl(route, { createTables: true, readOnly: false })
    const connection = await database.pool.getConnection()
    await events.insert(connection, ...numbered(5))
    await bridge({ name: 'orders', ...open }, { toHead: true })
    const { signal } = new AbortController()
    expect(await statusRoute(route, { signal })).toMatchObject({
      ...{ checkpoint: '5', head: '5', backlog: { count: 0n }, owner: undefined, blocked: undefined, problems: [] },
    })

    const late = await database.pool.getConnection()
    await late.beginTransaction()
    await events.insert(late, ...numbered(1))
    await events.insert(connection, ...numbered(2))
    await control.leases?.createTable()
    await control.leases?.acquire(control.leaseName, { holder: 'web-1:4711', ttlMs: 60_000 })
    const status = await statusRoute(route, { signal })
    expect(status).toMatchObject({ checkpoint: '5', owner: { holder: 'web-1:4711' }, oldestUnreadAt: undefined })
    // While other sessions look at the transactions of the server, ours are shown what those were shown.
    const holder = async (): Promise<string | undefined> => (await statusRoute(route, { signal })).blocked?.holder
    await expect.poll(holder, { timeout: 20_000 }).toMatch(new RegExp(`\\b${late.threadId}\\b`))
    await late.rollback()
    const { backlog, oldestUnreadAt, blocked } = await statusRoute(route, { signal })
    expect({ backlog, blocked }).toEqual({ backlog: { count: 2n, unit: 'events' }, blocked: undefined })
    expect(Math.abs(Date.now() - (oldestUnreadAt ?? 0))).toBeLessThan(60_000)
    for (const each of [late, connection]) each.release()
  })
})

import { join } from 'node:path'
import { createPool } from 'mysql2/promise'
import { expect, inject, it, onTestFinished } from 'vitest'
import { mysqlCursors, mysqlOptions } from '../../src/adapters/mysql/index.ts'
import { openSqlite } from '../../src/adapters/sqlite/index.ts'
import { parseConfig } from '../../src/service/config/parse-config.ts'
import { openControl } from '../../src/service/control/open-control.ts'
import { type RouteActions, routeActions } from '../../src/service/control/route-actions.ts'
import { watchControl } from '../../src/service/control/watch-control.ts'
import { newFolder } from '../cli/command.ts'
import { fresh, mysqlLog } from '../cli/logs.ts'

const at = { createTables: false, readOnly: false }

/** Routes of these names that keep their checkpoints there. */
function routesAt(checkpoints: object, names: readonly string[] = ['orders', 'orders2']) {
  const route = { source: { url: 'sqlite:shop.db' }, sink: { url: 'sqlite:log.db' }, checkpoints }
  const text = JSON.stringify({ routes: Object.fromEntries(names.map((name) => [name, route])) })
  return parseConfig(text, { title: 'test', folder: newFolder(), environment: {} }).routes
}

const stores: Record<string, () => Promise<object>> = {
  mysql: async () => ({ url: (await mysqlLog()).url }),
  redis: async () => ({ url: inject('servers').redis.url, prefix: fresh('control') }),
  nats: async () => ({ url: inject('servers').nats.url, bucket: fresh('control') }),
  sqlite: async () => {
    const path = join(newFolder(), 'cursors.db')
    openSqlite(path).close()
    return { url: `sqlite:${path}` }
  },
}

it.each(Object.keys(stores))(
  'what is wanted of a route is kept beside its checkpoint in %s, and created with the first',
  async (name) => {
    const checkpoints = await stores[name]?.()
    const [route, other] = routesAt(checkpoints as object) as [never, never]
    await using control = await openControl(route, at)
    await using elsewhere = await openControl(route, at)
    expect(await control.read()).toBeUndefined()
    expect(await control.want('running', { by: 'ann' })).toBeUndefined()
    expect(await control.read()).toBeUndefined()

    const paused = await control.want('paused', { by: 'ann' })
    expect(paused).toEqual({ wanted: 'paused', by: 'ann', at: expect.stringMatching(/^2.*Z$/) })
    expect(await elsewhere.read()).toEqual(paused)
    expect(await elsewhere.want('paused', { by: 'bob' })).toEqual(paused)
    await elsewhere.obeyed('running', { by: 'p1' })
    expect(await control.read()).toEqual(paused)
    await Promise.all([elsewhere.obeyed('paused', { by: 'p1' }), control.obeyed('paused', { by: 'p1' })])
    expect(await control.read()).toEqual({ ...paused, obeyed: { by: 'p1', at: expect.any(String) } })

    // Operators at once: one of them is the last.
    await Promise.all([control.want('stopped', { by: 'ann' }), elsewhere.want('running', { by: 'bob' })])
    expect(['stopped', 'running']).toContain((await control.read())?.wanted)
    expect((await control.read())?.obeyed).toBeUndefined()
    await using another = await openControl(other, at)
    expect(await another.read()).toBeUndefined()
  },
)

it('two routes of one name with their checkpoints in two tables of a database are two routes', async () => {
  const { url } = await mysqlLog()
  const [a] = routesAt({ url }, ['orders']) as [never]
  const [b] = routesAt({ url, table: 'cursors2' }, ['orders']) as [never]
  await using first = await openControl(a, at)
  await using second = await openControl(b, at)
  await first.want('stopped', { by: 'ann' })
  expect(await second.read()).toBeUndefined()
  expect(second.leaseName).not.toBe(first.leaseName)
})

it('what cannot be read is an error, until an operator writes it anew', async () => {
  const { url } = await mysqlLog()
  const routes = routesAt({ url })
  const actions: RouteActions = routeActions(routes, { by: 'ann' })
  await actions.pause('orders')
  const pool = createPool({ ...mysqlOptions, uri: url })
  onTestFinished(() => pool.end())
  const [rows] = await pool.query('select route, control from bridge_controls')
  expect(rows).toMatchObject([{ route: 'cursors/orders', control: expect.stringContaining('"wanted":"paused"') }])
  await pool.query(`update bridge_controls set control = '{"wanted":"faster"}'`)
  await using control = await openControl(routes[0] as never, at)
  await expect(control.read()).rejects.toMatchObject({ code: 'CONTROL_INVALID', retriable: false })
  await actions.resume('orders')
  expect((await control.read())?.wanted).toBe('running')
  await expect(actions.stop('order')).rejects.toThrow(/did you mean orders/)
})

it('an account that may not read what is wanted is a note, and the route runs', async () => {
  const { url } = await mysqlLog()
  const pool = createPool({ ...mysqlOptions, uri: url })
  onTestFinished(() => pool.end())
  const user = fresh('u')
  const database = new URL(url).pathname.slice(1)
  await mysqlCursors(pool).createTable()
  await routeActions(routesAt({ url }), { by: 'ann' }).stop('orders')
  await pool.query(`create user ${user}`)
  onTestFinished(async () => void (await pool.query(`drop user ${user}`)))
  await pool.query(`grant select, insert, update on ${database}.cursors to ${user}`)
  const [route] = routesAt({ url: Object.assign(new URL(url), { username: user, password: '' }).href }) as [never]
  const notes: string[] = []
  await using control = watchControl(route, { ...at, note: (text) => notes.push(text) })
  expect([await control.read(), await control.read()]).toEqual(['running', 'running'])
  expect(notes).toEqual([
    expect.stringMatching(/^pause, resume and stop have no effect .* denied .*grant the privilege/),
  ])
})

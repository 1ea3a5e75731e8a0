import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { openSqlite, sqliteEvents } from '../../src/adapters/sqlite/index.ts'
import { events, insertInto, jsonLines, newFolder, run, start } from './command.ts'
import { eventsIn } from './logs.ts'

/** A folder with `shop.db`, and `bridge.yaml` with two routes, `orders` and `copies`. */
function shop({ more = '' } = {}): string {
  const cwd = newFolder()
  insertInto(join(cwd, 'shop.db'), 'events', events(10))
  const route = (table: string): string =>
    `{ source: { url: sqlite:shop.db }, sink: { url: sqlite:log.db, table: ${table} } }`
  writeFileSync(
    join(cwd, 'bridge.yaml'),
    `createTables: true\n${more}routes:\n  orders: ${route('orders')}\n  copies: ${route('copies')}\n`,
  )
  return cwd
}

const count = async (cwd: string, table: string): Promise<number> =>
  (await eventsIn(sqliteEvents(join(cwd, 'log.db'), { table }).source)).length

async function forwarded(cwd: string, table: string, wanted: number): Promise<void> {
  while (!existsSync(join(cwd, 'log.db')) || (await count(cwd, table).catch(() => 0)) < wanted)
    await new Promise((resolve) => setTimeout(resolve, 20))
}

it('pauses and resumes a route of a running process, which keeps its position, and leaves the others alone', async () => {
  const cwd = shop()
  const running = start(['run', 'bridge.yaml'], { cwd })
  await forwarded(cwd, 'orders', 10)
  await forwarded(cwd, 'copies', 10)

  const paused = await run(['pause', 'bridge.yaml', 'orders'], { cwd })
  expect(paused).toMatchObject({ code: 0, stderr: '' })
  expect(paused.stdout).toMatch(/^orders: paused, as .+@.+ wanted at 2.+Z; .+:\d+:\w+ has obeyed\n$/)
  await running.printed(/"msg":"paused, as .+ wanted at/)
  const again = await run(['pause', 'bridge.yaml', 'orders'], { cwd })
  expect(again.stdout).toBe(paused.stdout)

  insertInto(join(cwd, 'shop.db'), 'events', events(5, 10))
  await forwarded(cwd, 'copies', 15)
  expect(await count(cwd, 'orders')).toBe(10)

  const resumed = await run(['resume', 'bridge.yaml', '--json'], { cwd })
  const [orders, copies] = jsonLines(resumed.stdout).sort(({ route: a }, { route: b }) =>
    String(a) < String(b) ? 1 : -1,
  )
  expect(orders).toMatchObject({ route: 'orders', wanted: 'running', by: expect.stringContaining('@') })
  expect(orders?.['obeyed']).toMatchObject({ by: expect.stringContaining(`:${running.child.pid}:`) })
  expect(copies).toEqual({ route: 'copies', wanted: 'running', by: null, at: null, obeyed: null })
  await forwarded(cwd, 'orders', 15)
  running.child.kill('SIGTERM')
  expect((await running.ended).code).toBe(0)
})

it('keeps a route stopped over restarts until it is resumed, and says so where no process answers', async () => {
  const cwd = shop()
  await run(['run', 'bridge.yaml', '--once'], { cwd })
  insertInto(join(cwd, 'shop.db'), 'events', events(5, 10))
  const stopped = await run(['stop', 'bridge.yaml', 'orders', '--wait', '200'], { cwd })
  expect(stopped.code).toBe(0)
  expect(stopped.stdout).toMatch(
    /^orders: stopped, .*; no process has said within 200 ms that it obeys: one that runs the route, now or later, will\n$/,
  )

  const once = await run(['run', 'bridge.yaml', '--once'], { cwd })
  expect(once.code).toBe(1)
  expect(jsonLines(once.stdout).find(({ level }) => level === 'error')).toMatchObject({
    ...{ route: 'orders', code: 'ROUTE_NOT_WANTED' },
    msg: expect.stringMatching(/the route orders is stopped, as .+ wanted at .+: resume it first/),
  })
  expect(await count(cwd, 'copies')).toBe(15)

  for (const round of [1, 2]) {
    const running = start(['run', 'bridge.yaml'], { cwd })
    await running.printed(/"msg":"stopped, as .+ wanted at/)
    expect(await count(cwd, 'orders'), `round ${round}`).toBe(10)
    running.child.kill('SIGTERM')
    expect((await running.ended).code).toBe(0)
  }
  const running = start(['run', 'bridge.yaml'], { cwd })
  await running.printed(/"msg":"stopped, as .+ wanted at/)
  expect((await run(['resume', 'bridge.yaml', 'orders'], { cwd })).stdout).toMatch(/has obeyed\n$/)
  await forwarded(cwd, 'orders', 15)
  running.child.kill('SIGTERM')
  await running.ended
})

it('with standby, a route that is paused keeps its lease, and one that is stopped gives it back', async () => {
  const cwd = shop({ more: 'standby: true\n' })
  const first = start(['run', 'bridge.yaml'], { cwd })
  await forwarded(cwd, 'orders', 10)
  await forwarded(cwd, 'copies', 10)
  const second = start(['run', 'bridge.yaml'], { cwd })
  await second.printed(/orders.*standby, while/)
  await second.printed(/copies.*standby, while/)
  const holders = (): unknown[] => {
    using database = openSqlite(join(cwd, 'shop.db'), { readOnly: true })
    return database
      .prepare('select holder from bridge_leases order by name')
      .all()
      .map(({ holder }) => holder)
  }
  const mine = expect.stringContaining(`:${first.child.pid}:`)
  expect(holders()).toEqual([mine, mine])
  const once = await run(['run', 'bridge.yaml', '--once'], { cwd })
  expect(once.code).toBe(1)
  expect(jsonLines(once.stdout).find(({ level }) => level === 'error')).toMatchObject({ code: 'ROUTE_HELD' })
  const [paused, stopped] = await Promise.all([
    run(['pause', 'bridge.yaml', 'orders', '--json'], { cwd }),
    run(['stop', 'bridge.yaml', 'copies', '--json'], { cwd }),
  ])
  expect(jsonLines(paused.stdout)).toMatchObject([{ wanted: 'paused', obeyed: { by: mine } }])
  expect(jsonLines(stopped.stdout)).toMatchObject([{ wanted: 'stopped', obeyed: { by: mine } }])
  expect(holders()).toEqual(['', mine])
  insertInto(join(cwd, 'shop.db'), 'events', events(5, 10))

  // Whoever takes the paused route over leaves it paused.
  first.child.kill('SIGTERM')
  expect((await first.ended).code).toBe(0)
  await second.printed(/orders.*"msg":"paused, as/)
  expect([await count(cwd, 'orders'), await count(cwd, 'copies')]).toEqual([10, 10])
  await run(['resume', 'bridge.yaml'], { cwd })
  await forwarded(cwd, 'orders', 15)
  await forwarded(cwd, 'copies', 15)
  second.child.kill('SIGTERM')
  await second.ended
})

it('refuses what is no route, and what is no configuration, with 2', async () => {
  const cwd = shop()
  expect(await run(['pause', 'bridge.yaml', 'order'], { cwd })).toMatchObject({
    ...{ code: 2, stdout: '' },
    stderr: expect.stringContaining('there is no route "order": did you mean orders?'),
  })
  expect((await run(['stop', 'missing.yaml'], { cwd })).code).toBe(2)
  expect((await run(['resume', 'bridge.yaml', '--wait', 'long'], { cwd })).stderr).toMatch(/expected a whole number/)
})

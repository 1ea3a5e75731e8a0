import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { openSqlite, sqliteEvents } from '../../src/adapters/sqlite/index.ts'
import { skipEvent } from '../../src/bridge/skip-event.ts'
import { loadConfig } from '../../src/service/config/load-config.ts'
import type { RouteConfig } from '../../src/service/config/parse-config.ts'
import { events, insertInto, jsonLines, newFolder, run, start } from './command.ts'
import { forwardAll } from './forward-all.ts'
import { eventsIn, mysqlLog } from './logs.ts'

/** A folder with `shop.db`, in which event 3 of 5 has a header that no destination can hold, and `bridge.yaml` with the route `orders`. */
function shop({ more = '' } = {}): string {
  const cwd = newFolder()
  insertInto(join(cwd, 'shop.db'), 'events', events(5))
  const database = openSqlite(join(cwd, 'shop.db'))
  database.exec(`update events set headers = '{"h":"\\ud800"}' where id = 3`)
  database.close()
  const route = `{ source: { url: sqlite:shop.db }, sink: { url: sqlite:log.db, table: log }${more} }`
  writeFileSync(join(cwd, 'bridge.yaml'), `createTables: true\nroutes:\n  orders: ${route}\n`)
  return cwd
}

const sent = async (cwd: string): Promise<string> => {
  const forwarded = await eventsIn(sqliteEvents(join(cwd, 'log.db'), { table: 'log' }).source)
  return forwarded.map(({ headers }) => headers['reflex-source-id']).join()
}

it('skips the event that a running route stands at, which says how, and goes on by itself', async () => {
  const cwd = shop()
  const running = start(['run', 'bridge.yaml'], { cwd })
  await running.printed(/"kind":"poison".*reflex-bridge skip CONFIG orders 3 --why …; trying again/)
  expect(await sent(cwd)).toBe('1,2')

  const refused = await run(['skip', 'bridge.yaml', 'orders', '4', '--why', 'x'], { cwd })
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('the route stands at event 3') })
  const skipped = await run(['skip', 'bridge.yaml', 'orders', '3', '--why', 'customer told', '--json'], { cwd })
  expect(skipped).toMatchObject({ code: 0, stderr: '' })
  const [said] = jsonLines(skipped.stdout)
  expect(said).toMatchObject({ route: 'orders', eventId: '3', why: 'customer told', repeated: false })
  expect(said).toMatchObject({ by: expect.stringContaining('@'), at: expect.stringMatching(/^2.*Z$/) })

  await running.printed(/event 3 is skipped: .*@.*: customer told/)
  running.child.kill('SIGTERM')
  await running.ended
  expect(await sent(cwd)).toBe('1,2,4,5')
  const again = await run(['skip', 'bridge.yaml', 'orders', '3', '--why', 'again'], { cwd })
  expect(again.stdout).toMatch(/^orders: event 3 is already skipped, as .*@.* said at 2.*Z: customer told\n$/)
})

it('keeps every skip and reset for good, so that verify counts none as lost, and a purge passes over the records', async () => {
  const cwd = shop()
  const config = join(cwd, 'bridge.yaml')
  const { routes } = await loadConfig(config, {})
  const [route] = routes as [RouteConfig]
  const database = openSqlite(join(cwd, 'shop.db'))
  database.exec(`update events set headers = '{"h":"\\ud800"}'`)
  database.close()
  const forward = (): Promise<unknown> => forwardAll(config).catch((error: unknown) => error)
  for (const id of ['1', '2', '3']) {
    expect(await forward()).toMatchObject({ kind: 'poison' })
    await using source = await route.source.open({ createTables: false, readOnly: true })
    await using checkpoints = await route.checkpoints.open({ createTables: false, readOnly: false })
    const spec = { name: 'orders', source: source.part, checkpoints: checkpoints.part }
    await skipEvent(spec, { eventId: id, by: 'ada', at: 1, why: 'y'.repeat(200) })
  }
  const skips = ['1', '2', '3'].map((eventId) => ({
    route: 'orders',
    did: 'skip',
    by: 'ada',
    eventId,
    why: 'y'.repeat(200),
  }))
  const logged = async (): Promise<unknown[]> =>
    jsonLines((await run(['log', 'bridge.yaml', 'orders', '--json'], { cwd })).stdout)
  expect(await logged()).toMatchObject(skips) // the last one is still in the checkpoint
  await forward()
  await run(['stop', 'bridge.yaml', '--wait', '0'], { cwd })
  expect((await run(['reset', 'bridge.yaml', 'orders', '--to', 'head'], { cwd })).code).toBe(0)
  insertInto(join(cwd, 'shop.db'), 'events', events(2, 5))
  await forward()
  const verified = await run(['verify', 'bridge.yaml', '--from', '', '--json'], { cwd })
  expect(jsonLines(verified.stdout)[0]).toMatchObject({ lost: ['4', '5'], counts: { setAside: 3, delivered: 2 } })
  const store = openSqlite(join(cwd, 'shop.db'))
  onTestFinished(() => store.close())
  const kept = store.prepare(`select cursor from cursors where consumer like 'orders:log:%'`).all()
  expect(kept.flatMap(({ cursor }) => JSON.parse(cursor as string).log)).toMatchObject([
    { skip: { eventId: '1' } },
    { skip: { eventId: '2' } },
    { move: { from: '3', to: '5', by: expect.stringContaining('@') } },
  ])
  const reset = { route: 'orders', did: 'reset', from: '3', to: '5', at: expect.stringMatching(/^2.*Z$/) }
  expect(await logged()).toMatchObject([...skips, reset])
  const text = await run(['log', 'bridge.yaml'], { cwd })
  expect(text).toMatchObject({ code: 0, stderr: '' })
  expect(text.stdout).toMatch(
    /^(orders: 1970-.*Z ada skipped event \d: y+\n){3}orders: 2.*Z .*@.* reset it from 3 to 5\n$/,
  )
  const purged = await run(['purge', 'bridge.yaml', 'orders'], { cwd })
  expect(purged).toMatchObject({ code: 0, stdout: expect.stringContaining('6 rows deleted') })
})

it('prints that nothing was done to a route, and in JSON nothing; refuses one that is not there', async () => {
  const cwd = shop()
  await run(['run', 'bridge.yaml', '--once'], { cwd })
  const none = await run(['log', 'bridge.yaml'], { cwd })
  expect(none).toMatchObject({ code: 0, stdout: 'orders: no event was skipped, and nothing was reset\n', stderr: '' })
  expect(await run(['log', 'bridge.yaml', '--json'], { cwd })).toMatchObject({ code: 0, stdout: '' })
  const unknown = await run(['log', 'bridge.yaml', 'order'], { cwd })
  expect(unknown).toMatchObject({ code: 2, stderr: expect.stringContaining('did you mean orders?') })
})

it('asks for a reason, and for a route that is there', async () => {
  const cwd = shop()
  expect(await run(['skip', 'bridge.yaml', 'orders', '3'], { cwd })).toMatchObject({ code: 2 })
  const empty = await run(['skip', 'bridge.yaml', 'orders', '3', '--why', ' '], { cwd })
  expect(empty).toMatchObject({ code: 2, stderr: expect.stringContaining('expected a reason, found empty text') })
  const unknown = await run(['skip', 'bridge.yaml', 'order', '3', '--why', 'x'], { cwd })
  expect(unknown).toMatchObject({ code: 2, stderr: expect.stringContaining('did you mean orders?') })
})

it.each(['SQLite', 'MySQL'])(
  'puts the event into dead letters where they are configured, lists them, and drops them (%s)',
  async (kind) => {
    const url = kind === 'MySQL' ? (await mysqlLog()).url : 'sqlite:shop.db'
    const cwd = shop({ more: `, deadLetters: { url: '${url}' }` })
    const first = await run(['run', 'bridge.yaml', '--once', '--json'], { cwd })
    expect(first).toMatchObject({ code: 0, stderr: '' })
    expect(first.stdout).toMatch(/"eventId":"3","msg":"event 3 is put into the dead letters: /)
    expect(await sent(cwd)).toBe('1,2,4,5')

    const list = async (): Promise<unknown[]> =>
      jsonLines((await run(['dlq', 'list', 'bridge.yaml', '--json'], { cwd })).stdout)
    expect(await list()).toMatchObject([
      { route: 'orders', eventId: '3', attempts: 1, event: { id: '3', headers: { h: '\ud800' } } },
    ])
    const text = await run(['dlq', 'list', 'bridge.yaml', 'orders'], { cwd })
    expect(text.stdout).toMatch(/^orders: event 3 of ".*": .*well-formed.*\n$/)

    const dropped = await run(['dlq', 'drop', 'bridge.yaml', 'orders', '3', '7'], { cwd })
    expect(dropped).toMatchObject({ code: 0, stderr: '' })
    expect(dropped.stdout).toBe(
      'orders: the letter of event 3 is dropped\norders: there is no open letter of event 7\n',
    )
    expect(await list()).toEqual([])
    expect(await run(['verify', 'bridge.yaml'], { cwd })).toMatchObject({ code: 0 }) // it is not lost: it was given up
  },
)

it('shows events whose time no destination can hold', async () => {
  const cwd = shop({ more: ", deadLetters: { url: 'sqlite:shop.db' }" })
  const database = openSqlite(join(cwd, 'shop.db'))
  database.exec('update events set headers = null, timestamp = 1700000000000001 where id = 3')
  database.close()
  expect(await run(['run', 'bridge.yaml', '--once'], { cwd })).toMatchObject({ code: 0 })
  const { stdout } = await run(['dlq', 'list', 'bridge.yaml', '--json'], { cwd })
  expect(jsonLines(stdout)).toMatchObject([{ eventId: '3', event: { timestamp: '1700000000000001' } }])
  const tail = await run(['tail', 'sqlite:shop.db?table=events', '--to-head'], { cwd })
  expect(tail).toMatchObject({ code: 0, stdout: expect.stringMatching(/^1700000000000001 {2}3 /m) })
})

it('refuses dead letters where none are configured, and what cannot hold them', async () => {
  const cwd = shop()
  const none = await run(['dlq', 'list', 'bridge.yaml', 'orders'], { cwd })
  expect(none).toMatchObject({ code: 2, stderr: expect.stringContaining('has no dead letters') })
  const wrong = shop({ more: ', deadLetters: { url: "redis://127.0.0.1" }' })
  const { code, stderr } = await run(['run', 'bridge.yaml', '--once'], { cwd: wrong })
  expect([code, stderr]).toEqual([2, expect.stringContaining('redis: cannot be used as deadLetters')])
})

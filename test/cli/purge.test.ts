import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { openSqlite } from '../../src/adapters/sqlite/index.ts'
import type { NewEvent } from '../../src/core/event.ts'
import { events, insertInto, jsonLines, newFolder, run } from './command.ts'
import { mysqlLog, redisLog } from './logs.ts'

const DAY_MS = 86_400_000

const aged = (count: number, ageMs: number): NewEvent[] =>
  events(count).map((event) => ({ ...event, timestamp: Date.now() - ageMs }))

/** A folder with `shop.db`: 10 old events and 5 new ones; `orders` and `copies` read them, `other` reads another table. */
function shop(): { readonly cwd: string; ids(): number[] } {
  const cwd = newFolder()
  const path = join(cwd, 'shop.db')
  insertInto(path, 'events', aged(10, 30 * DAY_MS))
  insertInto(path, 'events', aged(5, 0))
  insertInto(path, 'payments', aged(100, 0))
  writeFileSync(
    join(cwd, 'bridge.yaml'),
    `createTables: true
routes:
  orders: { source: { url: sqlite:shop.db }, sink: { url: sqlite:log.db, table: orders } }
  other: { source: { url: sqlite:shop.db, table: payments }, sink: { url: sqlite:log.db, table: other } }
`,
  )
  return {
    cwd,
    ids: () => {
      using database = openSqlite(path)
      return database
        .prepare('select id from events order by id')
        .all()
        .map(({ id }) => id as number)
    },
  }
}

it('deletes what is old and every route has read, the rest stays, and says what it would delete', async () => {
  const { cwd, ids } = shop()
  const purge = (...args: string[]): ReturnType<typeof run> => run(['purge', 'bridge.yaml', 'orders', ...args], { cwd })
  const early = await purge('--keep', '7d')
  expect(early.code).toBe(1)
  expect(early.stderr).toMatch(
    /nothing is deleted: the route orders has no checkpoint yet in sqlite:.*Run it first \(reflex-bridge run CONFIG\)/,
  )

  await run(['run', 'bridge.yaml', '--once'], { cwd })
  const dry = await purge('--keep', '7d', '--dry-run')
  expect(dry).toMatchObject({ code: 0, stdout: 'orders: 10 rows would be deleted, up to 10; orders has read least\n' })
  expect(ids()).toHaveLength(15)
  await run(['pause', 'bridge.yaml', '--wait', '0'], { cwd }) // what operators want is no consumer's position
  const done = await purge('--keep', '7d', '--json')
  expect(jsonLines(done.stdout)).toEqual([
    { route: 'orders', removed: 10, to: '10', heldBy: 'orders', dryRun: false, done: true },
  ])
  expect(ids()).toEqual([11, 12, 13, 14, 15])
  expect((await purge('--keep', '7d')).stdout).toBe('orders: 0 rows deleted; orders has read least\n')
  expect((await purge()).stdout).toMatch(/^orders: 4 rows deleted, up to 14/)
})

it('is held back by a route that has read less, wherever its checkpoint is, and by who is not known', async () => {
  const { cwd, ids } = shop()
  await run(['run', 'bridge.yaml', '--once'], { cwd })
  const route = (table: string, checkpoints: string): string =>
    `  ${table}: { source: { url: sqlite:shop.db }, sink: { url: sqlite:log.db, table: ${table} }${checkpoints} }\n`
  const elsewhere = ', checkpoints: { url: sqlite:late.db }'
  writeFileSync(join(cwd, 'new.yaml'), `routes:\n${route('orders', '')}${route('new', '')}`)
  writeFileSync(join(cwd, 'two.yaml'), `createTables: true\nroutes:\n${route('orders', '')}${route('late', elsewhere)}`)
  const purge = (config: string, ...args: string[]): ReturnType<typeof run> =>
    run(['purge', config, 'orders', ...args], { cwd })
  const unsaved = await purge('new.yaml')
  expect(unsaved.code).toBe(1)
  expect(unsaved.stderr).toMatch(
    /nothing is deleted: the route new has no checkpoint yet in .*or take it out of the configuration/,
  )
  writeFileSync(join(cwd, 'lost.yaml'), `routes:\n${route('orders', ', checkpoints: { url: sqlite:none.db }')}`)
  expect(await purge('lost.yaml')).toMatchObject({ code: 1, stderr: expect.stringContaining('has no checkpoint yet') })

  await run(['run', 'two.yaml', '--once'], { cwd })
  insertInto(join(cwd, 'shop.db'), 'events', events(5))
  await run(['run', 'bridge.yaml', '--once'], { cwd })
  // Here the route `other` is a consumer like any other: it holds the cursor 100, which this table does not have.
  const unknown = await purge('two.yaml')
  expect(unknown.code).toBe(1)
  expect(unknown.stderr).toContain('as the cursor of "other"')
  expect(ids()).toHaveLength(20)
  const done = await purge('two.yaml', '--except', 'other')
  expect(done.stdout).toBe('orders: 14 rows deleted, up to 14; late has read least\n')
})

it('purges a table in MySQL, with the routes of the configuration as holders', async () => {
  const [source, sink] = [await mysqlLog(), await redisLog()]
  const cwd = newFolder()
  await source.append(aged(8, 8 * DAY_MS))
  await source.append(aged(2, 6 * DAY_MS))
  const config = { createTables: true, routes: { orders: { source: { url: source.url }, sink: { url: sink.url } } } }
  writeFileSync(join(cwd, 'bridge.json'), JSON.stringify(config))
  expect((await run(['run', 'bridge.json', '--once'], { cwd })).code).toBe(0)
  await run(['pause', 'bridge.json', '--wait', '0'], { cwd })
  const done = await run(['purge', 'bridge.json', 'orders', '--keep', '7d'], { cwd })
  expect(done).toMatchObject({
    code: 0,
    stdout: 'orders: 8 rows deleted, up to 8; orders has read least\n',
    stderr: '',
  })
  expect((await source.read().catch(() => [])).length).toBe(2)
})

it('refuses a source that is no table, and durations that are none', async () => {
  const cwd = newFolder()
  const route = { source: { url: 'redis://127.0.0.1:1', key: 'a' }, sink: { url: 'sqlite:log.db' } }
  writeFileSync(join(cwd, 'bridge.json'), JSON.stringify({ routes: { orders: route } }))
  const refused = await run(['purge', 'bridge.json', 'orders'], { cwd })
  expect(refused).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/the source of the route orders, .*, is no table/),
  })
  const unit = await run(['purge', 'bridge.json', 'orders', '--keep', '7'], { cwd })
  expect(unit).toMatchObject({ code: 2, stderr: expect.stringContaining('expected a number and a unit, as 7d') })
})

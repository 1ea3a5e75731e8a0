import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { openSqlite, sqliteCursors, sqliteDeadLetters, sqliteEvents } from '../../src/adapters/sqlite/index.ts'
import { causesOf } from '../../src/cli/causes/causes-of.ts'
import { purgeRoute } from '../../src/cli/purge/purge-route.ts'
import { tailSource } from '../../src/cli/tail/tail-source.ts'
import { memoryCursors } from '../../src/core/index.ts'
import { loadConfig } from '../../src/service/config/load-config.ts'
import type { RouteConfig } from '../../src/service/config/parse-config.ts'
import { routeLetters } from '../../src/service/route-letters.ts'
import { errorOf } from '../tools/reader.ts'
import { jsonLines, newFolder, start } from './command.ts'

const COUNT = 30_000

/** A folder with `shop.db`, in which every event is an open letter of the route `orders`, which has passed them all. */
function shop(): string {
  const cwd = newFolder()
  const database = openSqlite(join(cwd, 'shop.db'))
  sqliteEvents(database).createTable()
  sqliteDeadLetters(database).createTable()
  sqliteCursors(database).createTable()
  database.exec(`
    insert into events (foreign_id, timestamp, type, metadata)
      with recursive n(i) as (select 1 union all select i + 1 from n where i < ${COUNT}) select 'k' || i, 0, 1, x'78' from n;
    insert into dead_letters (consumer, event_id, message, event, created_at)
      select 'orders', id, 'x', json_object('type', 1, 'foreignId', foreign_id, 'timestamp', 0, 'headers', json('{}')), 0 from events;
    insert into cursors values ('orders', '{"cursor":"${COUNT}","mark":"1","start":""}', 0, 0)`)
  database.close()
  const ends = 'source: { url: sqlite:shop.db }, sink: { url: sqlite:log.db }, deadLetters: { url: sqlite:shop.db }'
  writeFileSync(join(cwd, 'bridge.yaml'), `createTables: true\nroutes: { orders: { ${ends} } }\n`)
  return cwd
}

it('lets timers, and so signals, in while letters of a SQLite file are read, which never waits', async () => {
  const { routes } = await loadConfig(join(shop(), 'bridge.yaml'), {})
  await using letters = await routeLetters(routes[0] as RouteConfig, { readOnly: true })
  const stopping = new AbortController()
  const timer = setTimeout(() => stopping.abort(new Error('stopped')), 20)
  let count = 0
  const error = await errorOf(
    (async () => {
      for await (const _ of letters.list('open', stopping.signal)) count++
    })(),
  )
  clearTimeout(timer)
  expect(String(error)).toContain('stopped')
  expect(count).toBeLessThan(COUNT)
})

it.each([
  ['dlq list', ['dlq', 'list', 'bridge.yaml', '--json']],
  ['dlq retry', ['dlq', 'retry', 'bridge.yaml', 'orders', '--json']],
] as const)('ends %s with Ctrl-C while it reads a SQLite file', async (_, args) => {
  const running = start(args, { cwd: shop() })
  await running.printed(/\n/)
  running.child.kill('SIGINT')
  const { code, stdout } = await running.ended
  expect(code).toBe(130)
  expect(jsonLines(stdout).length).toBeLessThan(COUNT)
})

it.each(['check', 'status'])(
  'ends %s with Ctrl-C while a server does not answer, and calls nothing wrong',
  async (command) => {
    const cwd = shop()
    const silent = createServer((socket) => void socket.on('error', () => {})).listen(0, '127.0.0.1')
    onTestFinished(() => void silent.close())
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    const ends = `source: { url: sqlite:shop.db }, sink: { url: 'redis://127.0.0.1:${port}?key=orders' }`
    writeFileSync(join(cwd, 'bridge.yaml'), `createTables: true\nroutes: { orders: { ${ends} } }\n`)
    const running = start([command, 'bridge.yaml'], { cwd })
    await once(silent, 'connection')
    running.child.kill('SIGINT')
    expect(await running.ended).toMatchObject({ code: 130, stdout: '', stderr: 'reflex-bridge: stopped\n' })
  },
)

it.each([
  ['tail', (url: string) => tailSource(url, { toHead: true })],
  ['causes', (url: string) => causesOf(url, { limit: COUNT })],
] as const)('ends %s with Ctrl-C wherever its output goes, and says how far it came', async (_, command) => {
  const cwd = shop()
  vi.spyOn(process.stdout, 'write').mockReturnValue(true)
  const stderr = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  onTestFinished(() => void vi.restoreAllMocks())
  setTimeout(() => process.emit('SIGINT'), 10)
  await command(`sqlite:${join(cwd, 'shop.db')}`)
  const [, cursor] = /last cursor: (\d+)/.exec(String(stderr.mock.calls)) ?? []
  expect(Number(cursor)).toBeLessThan(COUNT)
})

it('lets timers in while a purge only looks what it would delete', async () => {
  const cwd = shop()
  const { purge } = sqliteEvents(join(cwd, 'shop.db'))
  const database = openSqlite(join(cwd, 'shop.db'))
  database.exec('delete from cursors')
  onTestFinished(() => database.close())
  const cursors = memoryCursors()
  await cursors.set('reader', String(COUNT), '')
  const stopping = new AbortController()
  setTimeout(() => stopping.abort(new Error('stopped')), 20)
  const options = { cursors: [cursors], consumers: ['reader'], dryRun: true, stepRows: 1, signal: stopping.signal }
  expect(String(await errorOf(purge(options)))).toContain('stopped')
})

it('says how far a purge came when Ctrl-C ended it, and the next one goes on', async () => {
  const cwd = shop()
  const database = openSqlite(join(cwd, 'shop.db'))
  onTestFinished(() => database.close())
  const log = vi.spyOn(console, 'log').mockImplementation(() => {})
  onTestFinished(() => log.mockRestore())
  const purge = (): Promise<number> => purgeRoute(join(cwd, 'bridge.yaml'), 'orders', { keep: 0, json: true })
  const ending = purge()
  await vi.waitUntil(() => Number(database.prepare('select count(*) as n from events').get()?.['n']) < COUNT)
  process.emit('SIGINT')
  expect([await ending, await purge()]).toEqual([130, 0])
  const said = log.mock.calls.map(
    ([line]) => JSON.parse(String(line)) as { readonly removed: number; readonly done: boolean },
  )
  expect(said.map(({ done }) => done)).toEqual([false, true])
  expect(said.reduce((sum, { removed }) => sum + removed, 0)).toBe(COUNT - 1)
})

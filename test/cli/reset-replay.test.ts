import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openSqlite, sqliteEvents } from '../../src/adapters/sqlite/index.ts'
import { loadConfig } from '../../src/service/config/load-config.ts'
import type { RouteConfig } from '../../src/service/config/parse-config.ts'
import { routeActions } from '../../src/service/control/route-actions.ts'
import { replayRoute } from '../../src/service/replay-route.ts'
import { errorOf } from '../tools/reader.ts'
import { events, insertInto, jsonLines, newFolder, run, start } from './command.ts'
import { forwardAll } from './forward-all.ts'
import { eventsIn } from './logs.ts'

/** A folder in which the route `orders` has forwarded 5 of 9 events; `more` stands in the configuration. */
async function shop(more = ''): Promise<string> {
  const folder = newFolder()
  insertInto(join(folder, 'shop.db'), 'events', events(5))
  const route = 'routes:\n  orders: { source: { url: sqlite:shop.db }, sink: { url: sqlite:log.db, table: log } }\n'
  writeFileSync(join(folder, 'bridge.yaml'), `createTables: true\n${more}${route}`)
  await forwardAll(join(folder, 'bridge.yaml'))
  insertInto(join(folder, 'shop.db'), 'events', events(4, 5))
  return folder
}

async function sourceIds(folder: string, table: string): Promise<unknown[]> {
  const log = await eventsIn(sqliteEvents(join(folder, 'log.db'), { table }).source)
  return log.map(({ headers }) => headers['reflex-source-id'])
}

async function stop(cwd: string): Promise<void> {
  const { routes } = await loadConfig(join(cwd, 'bridge.yaml'), {})
  await routeActions(routes, { by: 'test' }).stop('orders')
}

/** Deletes rows of a table of a SQLite file. */
function deleteFrom(path: string, where: string): void {
  using database = openSqlite(path)
  database.exec(`delete from ${where}`)
}

describe('reset', () => {
  it.each([
    [
      'its tail',
      'CURSOR_TRIMMED',
      /moved from 9 to 8 .*what the destination has lost after 3 is given up, up to there/,
    ],
    ['everything', 'REFILL_INCOMPLETE', /moved from the start to 8 /],
  ] as const)('lets a route go on whose destination has lost %s, and its source since', async (lost, code, said) => {
    const cwd = await shop()
    const config = join(cwd, 'bridge.yaml')
    await forwardAll(config)
    deleteFrom(join(cwd, 'shop.db'), 'events where id < 8')
    if (lost === 'its tail') deleteFrom(join(cwd, 'log.db'), 'log where id > 3')
    else for (const end of ['', '-wal', '-shm']) rmSync(join(cwd, `log.db${end}`), { force: true })
    expect(await errorOf(forwardAll(config))).toMatchObject({ code })
    await stop(cwd)
    const moved = await run(['reset', 'bridge.yaml', 'orders', '--to', '8'], { cwd })
    expect(moved).toMatchObject({ code: 0, stdout: expect.stringMatching(said) })
    await forwardAll(config)
    expect((await sourceIds(cwd, 'log')).at(-1)).toBe('9')
    expect(await run(['verify', 'bridge.yaml'], { cwd })).toMatchObject({ code: 0 })
  })

  it('moves a stopped route forward, says so for the record, and the route goes on there', async () => {
    const cwd = await shop()
    const reset = (...args: string[]): ReturnType<typeof run> =>
      run(['reset', 'bridge.yaml', 'orders', ...args], { cwd })
    const refused = await reset('--to', '7')
    expect(refused).toMatchObject({ code: 1, stdout: '' })
    expect(refused.stderr).toMatch(
      /the route orders is left as it is: it is not stopped.*reflex-bridge stop CONFIG orders/,
    )
    await stop(cwd)
    const moved = await reset('--to', '7', '--json')
    expect(moved).toMatchObject({ code: 0, stderr: expect.stringContaining('waiting for every process') })
    expect(jsonLines(moved.stdout)).toMatchObject([
      {
        route: 'orders',
        from: '5',
        to: '7',
        passed: { count: '2', unit: 'positions' },
        by: expect.stringContaining('@'),
      },
    ])
    const again = await reset('--to', '7')
    expect(again.stdout).toBe('orders: stands at 7 already: nothing is moved\n')
    const back = await reset('--to', '6')
    expect(back.code).toBe(1)
    expect(back.stderr).toMatch(
      /stands at 7, and is not moved back to 6.*reflex-bridge replay CONFIG orders --into NEW --from 6/,
    )
    expect((await reset('--to', '12')).stderr).toContain('lies beyond the end of the log')

    await forwardAll(join(cwd, 'bridge.yaml'))
    expect(await sourceIds(cwd, 'log')).toEqual(['1', '2', '3', '4', '5', '8', '9'])
    const verified = await run(['verify', 'bridge.yaml', '--json'], { cwd })
    expect(jsonLines(verified.stdout)).toMatchObject([
      { ok: true, from: '7', to: '9', counts: { source: 2, before: 5 } },
    ])
  })

  it('with standby is refused while another process has the lease, and done when none has', async () => {
    const cwd = await shop('standby: true\nleaseMs: 1000\n')
    const reset = (...args: string[]): ReturnType<typeof run> =>
      run(['reset', 'bridge.yaml', 'orders', ...args], { cwd })
    const running = start(['run', 'bridge.yaml'], { cwd })
    await running.printed(/open after/)
    const refused = await reset('--to', 'head')
    expect(refused.code).toBe(1)
    expect(refused.stderr).toMatch(/the route orders is left as it is: .*:\d+:\w+ has its lease/)
    running.child.kill('SIGTERM')
    expect((await running.ended).code).toBe(0)
    insertInto(join(cwd, 'shop.db'), 'events', events(2, 9))
    const moved = await reset('--to', 'head')
    expect(moved.stdout).toMatch(/^orders: moved from 9 to 11 by .+ at .+; 2 positions are passed over\n$/)
  })

  it('begins a route that has not run yet at a time', async () => {
    const cwd = newFolder()
    const at = (second: number): number => Date.parse('2026-11-26T05:00:00Z') + second * 1000
    const timed = events(6).map((event, i) => ({ ...event, timestamp: at(i) }))
    insertInto(join(cwd, 'shop.db'), 'events', timed)
    const route = 'routes:\n  orders: { source: { url: sqlite:shop.db }, sink: { url: sqlite:log.db, table: log } }\n'
    writeFileSync(join(cwd, 'bridge.yaml'), `createTables: true\nstandby: true\n${route}`)
    const reset = (to: string): ReturnType<typeof run> => run(['reset', 'bridge.yaml', 'orders', '--to', to], { cwd })
    expect((await reset('2026-11-26')).stderr).toContain('expected a time with its zone, like 2026-11-26T05:00:00Z')
    expect(await reset('2026-11-26T05:00:03Z')).toMatchObject({ code: 0, stderr: '' })
    await forwardAll(join(cwd, 'bridge.yaml'))
    expect(await sourceIds(cwd, 'log')).toEqual(['4', '5', '6'])
  })
})

describe('replay', () => {
  it('forwards all, or a range, into a new destination, goes on with it, and leaves the route alone', async () => {
    const cwd = await shop()
    const replay = (...args: string[]): ReturnType<typeof run> =>
      run(['replay', 'bridge.yaml', 'orders', ...args], { cwd })
    const all = await replay('--into', 'anew', '--json')
    expect(all).toMatchObject({ code: 0, stderr: '' })
    expect(jsonLines(all.stdout)).toEqual([
      {
        ...{ route: 'orders', into: `sqlite:${cwd}/log.db?table=anew`, checkpoint: 'orders.replay.anew' },
        ...{ cursor: '9', done: true, forwarded: 9 },
      },
    ])
    insertInto(join(cwd, 'shop.db'), 'events', events(1, 9))
    const again = await replay('--into', 'anew')
    expect(again.stdout).toMatch(/^orders: 1 events forwarded into .*, up to 10; done\n$/)
    expect(await sourceIds(cwd, 'anew')).toEqual(['1', '2', '3', '4', '5', '6', '7', '8', '9', '10'])

    expect((await replay('--into', 'part', '--from', '2', '--to', '4')).code).toBe(0)
    expect(await sourceIds(cwd, 'part')).toEqual(['3', '4'])
    const other = await replay('--into', 'part', '--from', '3')
    expect(other.stderr).toMatch(/has begun after 2 and is at 4: leave --from out to go on/)
    expect((await replay('--into', 'part')).code).toBe(0)
    expect(await sourceIds(cwd, 'part')).toEqual(['3', '4', '5', '6', '7', '8', '9', '10'])
    expect(await sourceIds(cwd, 'log')).toEqual(['1', '2', '3', '4', '5'])
  })

  it.each(['before', 'after'])(
    'that is killed %s its first append, and before its first checkpoint, is safe to repeat',
    async (when) => {
      const cwd = await shop()
      const { routes } = await loadConfig(join(cwd, 'bridge.yaml'), {})
      const [route] = routes as [RouteConfig]
      const { signal } = new AbortController()
      const kill = (): never => {
        throw new Error('killed')
      }
      const observer = when === 'before' ? { opened: kill } : { progress: kill }
      const options = { into: 'anew', routes, signal }
      await expect(replayRoute(route, { ...options, observer })).rejects.toThrow('killed')
      expect(await sourceIds(cwd, 'anew')).toHaveLength(when === 'before' ? 0 : 9)
      expect(await replayRoute(route, options)).toMatchObject({ done: true, cursor: '9' })
      expect(await sourceIds(cwd, 'anew')).toEqual(['1', '2', '3', '4', '5', '6', '7', '8', '9'])
    },
  )

  it("refuses a destination that has entries of others, and a route's own", async () => {
    const cwd = await shop()
    const replay = (into: string): ReturnType<typeof run> =>
      run(['replay', 'bridge.yaml', 'orders', '--into', into], { cwd })
    insertInto(join(cwd, 'log.db'), 'taken', events(1))
    const [taken, own, wrong] = [await replay('taken'), await replay('log'), await replay('no table')]
    expect(taken).toMatchObject({ code: 1, stdout: '' })
    expect(taken.stderr).toMatch(/table=taken has entries already, and they are not of this replay/)
    expect(own.code).toBe(2)
    expect(own.stderr).toContain('expected a destination that no route has')
    expect(wrong.code).toBe(2)
    expect(wrong.stderr).toContain('--into no table: table: expected letters, digits and _')
    const range = await run(['replay', 'bridge.yaml', 'orders', '--into', 'range', '--from', '4', '--to', '2'], { cwd })
    expect(range).toMatchObject({ code: 2, stderr: expect.stringMatching(/not end before it begins: from 4, to 2/) })
    expect(await sourceIds(cwd, 'log')).toEqual(['1', '2', '3', '4', '5'])
  })
})

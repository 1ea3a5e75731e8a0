import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openSqlite } from '../../src/adapters/sqlite/index.ts'
import { events, insertInto, jsonLines, newFolder, run } from './command.ts'
import { forwardAll } from './forward-all.ts'

/** A folder in which the route `orders` has forwarded so many events from `shop.db` to `log.db`, and `bridge.yaml`. */
async function forwarded(count: number, more = ''): Promise<string> {
  const folder = newFolder()
  insertInto(join(folder, 'shop.db'), 'events', events(count))
  const routes = '  orders: { source: { url: sqlite:shop.db }, sink: { url: sqlite:log.db, table: log } }\n'
  writeFileSync(join(folder, 'bridge.yaml'), `createTables: true\nroutes:\n${routes}`)
  await forwardAll(join(folder, 'bridge.yaml'))
  writeFileSync(join(folder, 'bridge.yaml'), `routes:\n${routes}${more}`)
  return folder
}

function inLog(folder: string, sql: string): void {
  using database = openSqlite(join(folder, 'log.db'))
  database.exec(sql)
}

const verify = (cwd: string, ...args: string[]): ReturnType<typeof run> =>
  run(['verify', 'bridge.yaml', ...args], { cwd })
const plain = (text: string, cwd: string): string => text.replaceAll(cwd, '').replace(/ in [\d.]+ m?s:/, ':')

describe('verify, of a configuration', () => {
  it('says that all is well, and exits with 0', async () => {
    const cwd = await forwarded(2500)
    insertInto(join(cwd, 'shop.db'), 'events', events(3, 2500)) // still to be forwarded
    const { code, stdout, stderr } = await verify(cwd)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(plain(stdout, cwd).split('\n')).toEqual([
      'orders: ok',
      '  sqlite:/shop.db?table=events -> sqlite:/log.db?table=log',
      '  2,500 events up to 2500: 2,500 delivered, 0 lost',
      '',
    ])
  })

  it('prints what is wrong with ids and what to do, as text and as JSON, and exits with 1', async () => {
    const cwd = await forwarded(50)
    inLog(cwd, 'delete from log where id in (7, 8, 9)')
    inLog(cwd, "update log set metadata = x'00' where id = 20")
    inLog(
      cwd,
      'insert into log (foreign_id, type, timestamp, metadata, headers) select foreign_id, type, timestamp, metadata, headers from log where id = 30',
    )
    const [text, json, part] = await Promise.all([
      verify(cwd),
      verify(cwd, '--json', '--to', 'head'),
      verify(cwd, 'orders', '--from', '9', '--to', '19', '--json'),
    ])
    expect(text.code).toBe(1)
    expect(plain(text.stdout, cwd).split('\n').slice(2)).toEqual([
      '  50 events up to 50: 47 delivered, 3 lost, 1 duplicated, 1 different',
      '      lost: 7, 8, 9',
      '      duplicated: 30 (sqlite:log 51)',
      '      different: 20 (sqlite:log 20): metadata',
      '  if the destination has lost its tail, --repair refills it',
      '',
    ])
    expect(json.code).toBe(1)
    expect(jsonLines(json.stdout)).toMatchObject([
      {
        ...{ route: 'orders', ok: false, from: '', to: '50', lost: ['7', '8', '9'] },
        counts: { source: 50, delivered: 47, lost: 3, duplicated: 1, different: 1, reordered: 0, unknown: 0 },
        duplicated: [{ id: '30', destination: 'sqlite:log', at: '51' }],
        different: [{ id: '20', parts: ['metadata'] }],
      },
    ])
    expect(jsonLines(part.stdout)).toMatchObject([{ ok: true, from: '9', to: '19', counts: { source: 10, lost: 0 } }])
    expect(part.code).toBe(0)
  })

  it('refuses to repair what may be at work, and says how to stop it', async () => {
    const cwd = await forwarded(5)
    inLog(cwd, 'delete from log where id > 3')
    const { code, stdout } = await verify(cwd, '--repair')
    expect(code).toBe(1)
    expect(stdout).toMatch(/the route orders is left as it is: .*Stop it first \(reflex-bridge stop CONFIG orders\)/)
    expect(stdout).toContain('lost: 4, 5')
  })

  it('looks at the others where one cannot be looked at', async () => {
    const cwd = await forwarded(
      5,
      '  gone: { source: { url: sqlite:gone.db }, sink: { url: sqlite:log.db }, checkpoints: { url: sqlite:shop.db } }\n',
    )
    const { code, stdout } = await verify(cwd, '--json')
    expect(jsonLines(stdout)).toMatchObject([
      { route: 'orders', ok: true },
      { route: 'gone', ok: false, code: 'FILE_MISSING' },
    ])
    expect(code).toBe(2)
    expect((await verify(cwd, 'orders')).code).toBe(0)
  })

  it('refuses routes, ranges and options that mean nothing', async () => {
    const cwd = await forwarded(
      5,
      '  more: { source: { url: sqlite:shop.db }, sink: { url: sqlite:log.db, table: more } }\n',
    )
    const cases: [string[], RegExp][] = [
      [['bridge.yaml', 'order'], /there is no route "order": did you mean orders\?/],
      [['bridge.yaml', '--from', '1'], /--from and --to are positions of one source: name the one route that is meant/],
      [['bridge.yaml', '--runs', '5', '--seed', '1'], /--runs, --seed can only be used with a module/],
      [['adapter.ts', '--repair'], /--repair can only be used with a configuration/],
      [['adapter.ts', 'orders'], /expected one module, found also orders/],
      [['none.yaml'], /none\.yaml: there is no such file/],
    ]
    const all = cases.map(async ([args, message]) => {
      const { code, stdout, stderr } = await run(['verify', ...args], { cwd })
      expect(stderr).toMatch(message)
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    })
    await Promise.all(all)
    const beyond = await verify(cwd, 'orders', '--to', '6')
    expect(beyond.stdout).toContain('6 lies beyond its end, 5')
    expect(beyond.code).toBe(2)
  })
})

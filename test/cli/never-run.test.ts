import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openSqlite, sqliteDeadLetters } from '../../src/adapters/sqlite/index.ts'
import type { Event } from '../../src/core/event.ts'
import { events, jsonLines, run } from './command.ts'
import { sqliteShop } from './sqlite-shop.ts'

/** As `sqliteShop`, with dead letters; nothing has run. */
function shop(createTables: boolean): string {
  const more = `  other: { source: { url: sqlite:shop.db }, sink: { url: sqlite:log.db, table: other }, deadLetters: { url: sqlite:late.db } }\n`
  return sqliteShop(3, { createTables, more })
}

describe('what only looks, before anything has run', () => {
  it.each([
    [
      ['log'],
      'orders: no event was skipped, and nothing was reset\nother: no event was skipped, and nothing was reset\n',
    ],
    [['dlq', 'list'], 'other: no dead letter is open\n'],
    [['dlq', 'list', 'bridge.yaml', 'other'], 'other: no dead letter is open\n'],
    [['dlq', 'retry', 'bridge.yaml', 'other'], 'other: no dead letter is open\n'],
    [['dlq', 'drop', 'bridge.yaml', 'other', '3'], 'other: there is no open letter of event 3\n'],
  ])('finds nothing where run creates what is missing, and creates nothing (%j)', async ([...args], stdout) => {
    const cwd = shop(true)
    const named = args.includes('bridge.yaml') ? args : [...args, 'bridge.yaml']
    const [text, json] = await Promise.all([run(named, { cwd }), run([...named, '--json'], { cwd })])
    expect(text).toEqual({ code: 0, stdout, stderr: '' })
    expect(json).toMatchObject({ code: 0, stderr: '' })
    expect(jsonLines(json.stdout)).toEqual(args.includes('3') ? [{ route: 'other', eventId: '3', dropped: false }] : [])
    expect(['log.db', 'late.db'].filter((name) => existsSync(join(cwd, name)))).toEqual([])
  })

  it('is told that the routes are new', async () => {
    const cwd = shop(true)
    const { code, stdout } = await run(['status', 'bridge.yaml', '--json'], { cwd })
    expect(code).toBe(0)
    const status = { checkpoint: null, head: '3', backlog: { count: '3' }, problems: [] }
    expect(jsonLines(stdout)).toMatchObject([status, status])
    expect((await run(['status', 'bridge.yaml', 'orders'], { cwd })).stdout).toMatch(/^orders: new\n/)
  })

  it.each([
    [['log', 'bridge.yaml']],
    [['dlq', 'list', 'bridge.yaml']],
    [['status', 'bridge.yaml']],
    [['skip', 'bridge.yaml', 'orders', '1', '--why', 'x']],
  ])('is told how to create what is missing where run does not (%j)', async (args) => {
    const cwd = shop(false)
    const { code, stdout, stderr } = await run(args, { cwd })
    expect(code).toBeGreaterThan(0)
    expect(stdout + stderr).toContain('create it with reflex-bridge run CONFIG --create-tables')
    expect(stdout + stderr).not.toContain('createTable()')
  })

  it('shows letters that are there where their source is not', async () => {
    const cwd = shop(true)
    using database = openSqlite(join(cwd, 'late.db'))
    const letters = sqliteDeadLetters(database)
    letters.createTable()
    await letters.record('other', new Error('no such customer'), { ...events(1)[0], id: '1' } as Event)
    for (const end of ['', '-wal', '-shm']) rmSync(join(cwd, `shop.db${end}`), { force: true })
    const list = ['dlq', 'list', 'bridge.yaml', 'other']
    expect((await run(list, { cwd })).stdout).toMatch(/^other: event 1 of .*: no such customer\n$/)
    const { code, stderr } = await run(['dlq', 'drop', 'bridge.yaml', 'other', '1'], { cwd })
    expect([code, stderr]).toEqual([1, expect.stringContaining('has not passed it yet')])
  })

  it('takes a destination that has gone for what it is', async () => {
    const cwd = shop(true)
    await run(['run', 'bridge.yaml', '--once'], { cwd })
    for (const end of ['', '-wal', '-shm']) rmSync(join(cwd, `log.db${end}`), { force: true })
    const { code, stdout } = await run(['status', 'bridge.yaml', 'orders', '--json'], { cwd })
    expect(code).toBe(1)
    expect(jsonLines(stdout)).toMatchObject([{ checkpoint: '3', problems: [{ part: 'sink', code: 'FILE_MISSING' }] }])
  })
})

it('says that no route has dead letters', async () => {
  expect(await run(['dlq', 'list', 'bridge.yaml'], { cwd: sqliteShop(1) })).toEqual({
    ...{ code: 0, stderr: '', stdout: 'no route has dead letters\n' },
  })
})

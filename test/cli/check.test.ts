import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { createPool } from 'mysql2/promise'
import { describe, expect, inject, it, onTestFinished } from 'vitest'
import { mysqlCursors, mysqlEvents, mysqlOptions } from '../../src/adapters/mysql/index.ts'
import { openSqlite } from '../../src/adapters/sqlite/index.ts'
import { events, insertInto, jsonLines, newFolder, run, start } from './command.ts'
import { fresh } from './logs.ts'
import { inTable, sqliteShop } from './sqlite-shop.ts'

describe('check', () => {
  it('finds what is missing, changes nothing, and exits with 1', async () => {
    const cwd = sqliteShop(3, { createTables: false })
    const { code, stdout } = await run(['check', 'bridge.yaml'], { cwd })
    expect(code).toBe(1)
    expect(stdout.split('\n').map((line) => line.replaceAll(cwd, '').replace(/ {2,}/g, '  '))).toEqual([
      'orders: FAILED',
      '  source  sqlite:/shop.db?table=events  head 3, backlog 3 positions',
      '  sink  sqlite:/log.db?table=log  FAILED',
      '  there is no file /log.db: if it is not just misspelled, create it with reflex-bridge run CONFIG --create-tables',
      '  checkpoints  sqlite:/shop.db?table=cursors  FAILED',
      '  sqlite:cursors: no such table: cursors: if it is not just misspelled, create it with reflex-bridge run CONFIG --create-tables',
      '0 routes right, 1 wrong',
      '',
    ])
    expect(existsSync(join(cwd, 'log.db'))).toBe(false)
  })

  it('takes what run will create for granted, and tells where a route stands', async () => {
    const cwd = sqliteShop(3)
    const check = async (): Promise<Record<string, unknown>[]> => {
      const { code, stdout } = await run(['check', 'bridge.yaml', '--json'], { cwd })
      expect(code).toBe(0)
      return jsonLines(stdout)
    }
    const later = { findings: [{ severity: 'warning', text: 'it is not there yet: run creates it' }] }
    expect(await check()).toMatchObject([
      { route: 'orders', ok: true, parts: [{ part: 'source' }, later, later] },
      { right: 1, wrong: 0 },
    ])
    expect(existsSync(join(cwd, 'log.db'))).toBe(false)
    await run(['run', 'bridge.yaml', '--once'], { cwd })
    insertInto(join(cwd, 'shop.db'), 'events', events(1, 3))
    expect((await check())[0]).toMatchObject({
      parts: [{ found: 'head 4, backlog 1 positions' }, { part: 'sink', ok: true }, { found: 'checkpoint 3' }],
    })
  })

  it('does not even prepare a file for writing', async () => {
    const cwd = sqliteShop(3)
    await run(['run', 'bridge.yaml', '--once'], { cwd })
    const modes = (mode: string): unknown[] =>
      ['shop.db', 'log.db'].map((file) => {
        using database = new DatabaseSync(join(cwd, file))
        return database.prepare(`pragma journal_mode${mode}`).get()?.['journal_mode']
      })
    expect(modes(' = delete')).toEqual(['delete', 'delete'])
    expect((await run(['check', 'bridge.yaml'], { cwd })).code).toBe(0)
    expect(modes('')).toEqual(['delete', 'delete'])
  })

  it('leaves a route that is at work alone', async () => {
    const cwd = sqliteShop(3)
    const running = start(['run', 'bridge.yaml'], { cwd })
    await running.printed(/open from/)
    expect((await run(['check', 'bridge.yaml'], { cwd })).code).toBe(0)
    insertInto(join(cwd, 'shop.db'), 'events', events(1, 3))
    while ((await inTable(join(cwd, 'log.db'), 'log')).length < 4) expect(running.child.exitCode).toBeNull()
    running.child.kill('SIGINT')
    const { code, stdout } = await running.ended
    expect(code).toBe(0)
    expect(jsonLines(stdout).every(({ level }) => level === 'info')).toBe(true)
  })

  it('finds a checkpoint that cannot be resumed from', async () => {
    const cwd = sqliteShop(3)
    await run(['run', 'bridge.yaml', '--once'], { cwd })
    using database = openSqlite(join(cwd, 'shop.db'))
    insertInto(join(cwd, 'shop.db'), 'events', events(1, 3))
    database.exec('delete from events where id <= 3')
    const { code, stdout } = await run(['check', 'bridge.yaml'], { cwd })
    expect(code).toBe(1)
    expect(stdout).toContain('points at entries that have been removed')
    expect(stdout).toContain('the checkpoint of this route is kept in')
  })
})

describe('check, of MySQL', () => {
  it('says what mends a table, an account and a destination, of each route, and counts', async () => {
    const { mysql, redis } = inject('servers')
    const name = fresh('check')
    const admin = createPool({ ...mysqlOptions, uri: mysql.url, multipleStatements: true })
    onTestFinished(() => admin.end())
    await admin.query(`create database ${name}; create user ${name}`)
    onTestFinished(async () => void (await admin.query(`drop database ${name}; drop user ${name}`)))
    const pool = createPool({ ...mysqlOptions, uri: mysql.url, database: name })
    onTestFinished(() => pool.end())
    await mysqlEvents(pool).createTable()
    await mysqlCursors(pool).createTable()
    await admin.query(`create table ${name}.slow like ${name}.events; alter table ${name}.slow engine = MyISAM`)
    await admin.query(`grant select on ${name}.* to ${name}`)
    const cwd = newFolder()
    const source = (user: string, table: string): object => ({
      url: `mysql://${user}@${mysql.host}:${mysql.port}/${name}`,
      table,
    })
    const sink = (key: string): object => ({ url: redis.url, key: `${name}:${key}` })
    const routes = {
      good: { source: source('root', 'events'), sink: sink('good') },
      slow: { source: source('root', 'slow'), sink: sink('slow') },
      none: { source: source('root', 'none'), sink: sink('none') },
      clerk: { source: source(name, 'events'), sink: sink('clerk') },
    }
    writeFileSync(join(cwd, 'bridge.json'), JSON.stringify({ routes }))
    const checked = await run(['check', 'bridge.json', '--json'], { cwd })
    expect(checked).toMatchObject({ code: 1, stderr: '' })
    const lines = jsonLines(checked.stdout)
    expect(lines).toMatchObject([
      { route: 'good', ok: true },
      { route: 'slow', ok: false, parts: [{ part: 'source', ok: false }, { ok: true }, { ok: true }] },
      { route: 'none', ok: false, parts: [{ part: 'source', ok: false, code: 'TABLE_MISSING' }, {}, {}] },
      { route: 'clerk', ok: false, parts: [{}, { ok: true }, { part: 'checkpoints', ok: false }] },
      { right: 1, wrong: 3 },
    ])
    const statements = lines.slice(1, 4).map((line) => JSON.stringify(line).replaceAll('\\n', ' '))
    expect(statements[0]).toContain('ALTER TABLE `slow` ENGINE = InnoDB')
    expect(statements[1]).toMatch(/create table.*none/i)
    expect(statements[2]).toContain(`GRANT SELECT, INSERT, UPDATE ON \`${name}\`.\`cursors\` TO '${name}'@'%'`)

    const one = await run(['check', 'bridge.json', 'slow'], { cwd })
    expect(one.stdout).toMatch(
      /^slow: FAILED\n.*\n[\s\S]* {8}mend with: ALTER TABLE `slow` ENGINE = InnoDB\n[\s\S]*\n0 routes right, 1 wrong\n$/,
    )
  })
})

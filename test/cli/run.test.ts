// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the references to the environment are not template strings
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createPool } from 'mysql2/promise'
import { describe, expect, inject, it, onTestFinished } from 'vitest'
import { mysqlEvents, mysqlOptions } from '../../src/adapters/mysql/index.ts'
import { openSqlite, sqliteCursors, sqliteSink } from '../../src/adapters/sqlite/index.ts'
import type { Event } from '../../src/core/event.ts'
import { tcpProxy } from '../../src/testing/servers/index.ts'
import { argv, events, insertInto, jsonLines, newFolder, run, start } from './command.ts'
import { fresh, mysqlLog, redisLog } from './logs.ts'
import { inTable, sqliteShop } from './sqlite-shop.ts'

/** The source ids in the order in which they were forwarded. */
function sourceIds(forwarded: readonly Event[]): unknown[] {
  return forwarded.map(({ headers }) => headers['reflex-source-id'])
}

const upTo = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i + 1))
const messages = (stdout: string): unknown[] => jsonLines(stdout).map(({ msg }) => msg)

describe('run, from SQLite to SQLite', () => {
  it('forwards what is there with --once, creates what is missing, and goes on from the checkpoint', async () => {
    const cwd = sqliteShop(2500)
    const first = await run(['run', 'bridge.yaml', '--once'], { cwd })
    expect(first).toMatchObject({ code: 0, stderr: '' })
    expect(jsonLines(first.stdout)).toMatchObject([
      { level: 'info', route: 'orders', msg: `sqlite:${cwd}/shop.db?table=events -> sqlite:${cwd}/log.db?table=log` },
      { level: 'info', route: 'orders', cursor: '', msg: 'open from the earliest event' },
      {
        level: 'info',
        route: 'orders',
        forwarded: 2500,
        position: '2500',
        msg: 'reached the head: 2,500 events forwarded',
      },
    ])
    insertInto(join(cwd, 'shop.db'), 'events', events(10, 2500))
    const second = await run(['run', 'bridge.yaml', '--once', '--json'], { cwd })
    expect(messages(second.stdout)).toContain('open after 2500')
    expect(messages(second.stdout)).toContain('reached the head: 10 events forwarded')

    const forwarded = await inTable(join(cwd, 'log.db'), 'log')
    expect(sourceIds(forwarded)).toEqual(upTo(2510))
    const original = await inTable(join(cwd, 'shop.db'), 'events')
    const plain = ({ type, foreignId, timestamp, metadata }: Event): unknown => ({
      type,
      foreignId,
      timestamp,
      metadata,
    })
    expect(forwarded.map(plain)).toEqual(original.map(plain))
  })

  it.each(['SIGINT', 'SIGTERM'] as const)(
    'drains and exits with 0 on %s, with nothing lost or twice',
    async (signal) => {
      const cwd = sqliteShop(100)
      const running = start(['run', 'bridge.yaml'], { cwd })
      await running.printed(/open from/)
      for (let i = 100; i < 20_000; i += 1000) insertInto(join(cwd, 'shop.db'), 'events', events(1000, i))
      running.child.kill(signal) // most of it is still to come
      const { code, stdout, stderr } = await running.ended
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(messages(stdout).at(-1)).toMatch(/^stopped: [\d,]+ events forwarded$/)
      const forwarded = Number(jsonLines(stdout).at(-1)?.['forwarded'])
      expect(sourceIds(await inTable(join(cwd, 'log.db'), 'log'))).toEqual(upTo(forwarded))

      await run(['run', 'bridge.yaml', '--once'], { cwd })
      expect(sourceIds(await inTable(join(cwd, 'log.db'), 'log'))).toEqual(upTo(20_100))
    },
  )

  it('lets the other routes go on when one ends for good, says what to do, and exits with 1', async () => {
    const cwd = sqliteShop(3, {
      more: '  lost: { source: { url: sqlite:missing.db }, sink: { url: sqlite:log.db }, checkpoints: { url: sqlite:log.db } }\n',
      createTables: false,
    })
    insertInto(join(cwd, 'log.db'), 'log', [])
    const prepared = join(cwd, 'prepared.yaml')
    writeFileSync(
      prepared,
      'createTables: true\nroutes:\n  orders: { source: { url: sqlite:shop.db }, sink: { url: sqlite:log.db, table: log } }\n',
    )
    await run(['run', prepared, '--once'])

    const running = start(['run', 'bridge.yaml'], { cwd })
    await running.printed(/ended for good/)
    insertInto(join(cwd, 'shop.db'), 'events', events(3, 3))
    while ((await inTable(join(cwd, 'log.db'), 'log')).length < 6) expect(running.child.exitCode).toBeNull()
    running.child.kill('SIGTERM')
    const { code, stdout } = await running.ended
    expect(code).toBe(1)
    const end = jsonLines(stdout).find(({ level }) => level === 'error')
    expect(end).toMatchObject({ route: 'lost', code: 'FILE_MISSING' })
    expect(end?.['msg']).toMatch(/there is no file .*missing\.db.*run CONFIG --create-tables/)
    expect(messages(stdout).at(-1)).toBe('stopped: 3 events forwarded')
  })

  it('ends by itself when every route has ended for good', async () => {
    const cwd = newFolder()
    const route = '{ source: { url: sqlite:shop.db }, sink: { url: sqlite:log.db } }'
    writeFileSync(join(cwd, 'bridge.yaml'), `routes:\n  orders: ${route}\n`)
    const { code, stdout } = await run(['run', 'bridge.yaml'], { cwd })
    expect(code).toBe(1)
    expect(messages(stdout).at(-1)).toMatch(/^ended for good: there is no file .*shop\.db/)
  })

  it('waits for a destination that is not there, says what to do, and goes on when it is', async () => {
    const cwd = sqliteShop(3, { createTables: false })
    sqliteCursors(openSqlite(join(cwd, 'shop.db'))).createTable()
    const running = start(['run', 'bridge.yaml'], { cwd })
    await running.printed(/there is no file .*log\.db: .*--create-tables; trying again/)
    const log = openSqlite(join(cwd, 'log.db'))
    await running.printed(/there is no table log in this database.*trying again/)
    sqliteSink(log, { table: 'log' }).createTable()
    log.close()
    await running.printed(/"msg":"open from the earliest event"/)
    while ((await inTable(join(cwd, 'log.db'), 'log')).length < 3)
      await new Promise((resolve) => setTimeout(resolve, 20))
    running.child.kill('SIGTERM')
    expect((await running.ended).code).toBe(0)
  })

  it('starts a new route at the head with fromHead', async () => {
    const cwd = sqliteShop(5)
    const config = `createTables: true\nroutes:\n  orders: { source: { url: sqlite:shop.db }, sink: { url: sqlite:log.db }, fromHead: true }\n`
    writeFileSync(join(cwd, 'bridge.yaml'), config)
    const once = ['run', 'bridge.yaml', '--once']
    expect(messages((await run(once, { cwd })).stdout)).toContain('open from the head')
    insertInto(join(cwd, 'shop.db'), 'events', events(2, 5))
    expect((await run(once, { cwd })).code).toBe(0)
    expect(sourceIds(await inTable(join(cwd, 'log.db'), 'events'))).toEqual(['6', '7'])
  })

  it('stops when the reader of its log goes away', async () => {
    const cwd = sqliteShop(5)
    const command = `${argv.join(' ')} run bridge.yaml | head -n 1; exit \${PIPESTATUS[0]}`
    const shell = spawn('bash', ['-c', command], { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [shell.stdout, shell.stderr]) stream.on('data', (chunk) => (output += chunk))
    const [code] = await once(shell, 'close')
    expect(code).toBe(0)
    expect(jsonLines(output)).toHaveLength(1)
  })

  it('logs as much as logLevel says, and stacks with --debug', async () => {
    const cwd = sqliteShop(1, { more: 'logLevel: silent\n' })
    expect((await run(['run', 'bridge.yaml', '--once'], { cwd })).stdout).toBe('')
    writeFileSync(join(cwd, 'log.db'), 'this is no database, but long enough to be taken for a broken one')
    const { code, stdout } = await run(['run', 'bridge.yaml', '--debug'], { cwd })
    expect(code).toBe(1)
    expect(jsonLines(stdout).at(-1)?.['stack']).toMatch(/\n {4}at .*\ncaused by: /)
  })
})

describe('run, with servers', () => {
  it('forwards everything, through lost connections, and stops cleanly', async () => {
    const source = await mysqlLog()
    const { redis } = inject('servers')
    await using proxy = await tcpProxy({ host: redis.host, port: redis.port })
    const sink = await redisLog()
    const folder = newFolder()
    const config = {
      createTables: true,
      routes: {
        orders: {
          source: { url: source.url },
          sink: { url: `redis://127.0.0.1:${proxy.port}`, ...sink.keys, ids: 'source', maxRefill: 10 },
        },
      },
    }
    writeFileSync(join(folder, 'bridge.json'), JSON.stringify(config))
    await source.append(events(50))
    const running = start(['run', 'bridge.json'], { cwd: folder })
    while ((await sink.read()).length < 50) expect(running.child.exitCode).toBeNull()
    proxy.cut()
    await source.append(events(50, 50))
    await running.printed(/trying again in/)
    proxy.restore()
    while ((await sink.read()).length < 100) expect(running.child.exitCode).toBeNull()
    running.child.kill('SIGINT')
    const { code, stdout } = await running.ended
    expect(code).toBe(0)
    expect((await sink.read()).map(({ id }) => id)).toEqual(upTo(100).map((id) => `${id}-0`))
    expect(jsonLines(stdout).find(({ code }) => code === 'REDIS_CONNECTION')).toMatchObject({
      route: 'orders',
      code: 'REDIS_CONNECTION',
      failures: 1,
    })
  })

  it('ends at once with 130 on a second Ctrl-C, but not on one that comes twice, and appends nothing twice after it', async () => {
    const { redis } = inject('servers')
    await using proxy = await tcpProxy({ host: redis.host, port: redis.port })
    const sink = await redisLog()
    const folder = newFolder()
    insertInto(join(folder, 'shop.db'), 'events', events(2))
    const config = {
      createTables: true,
      routes: {
        orders: { source: { url: 'sqlite:shop.db' }, sink: { url: `redis://127.0.0.1:${proxy.port}`, ...sink.keys } },
      },
    }
    writeFileSync(join(folder, 'bridge.json'), JSON.stringify(config))
    const running = start(['run', 'bridge.json'], { cwd: folder })
    while ((await sink.read()).length < 2) expect(running.child.exitCode).toBeNull()
    proxy.stallReplies()
    insertInto(join(folder, 'shop.db'), 'events', events(1, 2))
    while ((await sink.read()).length < 3) expect(running.child.exitCode).toBeNull()
    running.child.kill('SIGINT') // while it waits to hear of the third
    await running.printed(/stopping/)
    running.child.kill('SIGINT') // npm hands it on a second time
    const later = AbortSignal.timeout(400) // a person is not quicker
    await once(later, 'abort')
    expect(running.child.exitCode).toBeNull()
    running.child.kill('SIGINT')
    expect((await running.ended).code).toBe(130)

    proxy.restore()
    expect((await run(['run', 'bridge.json', '--once'], { cwd: folder })).code).toBe(0)
    expect(sourceIds(await sink.read())).toEqual(upTo(3))
  })

  it('fails at once with --once where a server is down', async () => {
    const folder = newFolder()
    const config =
      'routes:\n  a: { source: { url: mysql://u:hunter2@127.0.0.1:1/d }, sink: { url: redis://127.0.0.1:1, key: k } }\n'
    writeFileSync(join(folder, 'bridge.yaml'), config)
    const { code, stdout } = await run(['run', 'bridge.yaml', '--once', '--debug'], { cwd: folder })
    expect(code).toBe(1)
    expect(messages(stdout).at(-1)).toMatch(/^ended for good: .*ECONNREFUSED/)
    expect(stdout).not.toContain('hunter2')
  })

  it('logs in with secrets from the environment, and never shows them', async () => {
    const secret = 'p@ss/w:rd#1%?'
    const { mysql, redis } = inject('servers')
    const name = fresh('secret')
    const admin = createPool({ ...mysqlOptions, uri: mysql.url, multipleStatements: true })
    onTestFinished(() => admin.end())
    await admin.query(
      `create database ${name}; create user ${name} identified by '${secret}'; grant all on *.* to ${name}`,
    )
    onTestFinished(async () => void (await admin.query(`drop database ${name}; drop user ${name}`)))
    const pool = createPool({ ...mysqlOptions, uri: mysql.url, database: name })
    onTestFinished(() => pool.end())
    const log = mysqlEvents(pool)
    await log.createTable()
    const folder = newFolder()
    writeFileSync(
      join(folder, 'bridge.yaml'),
      `createTables: true
routes:
  beside:
    source: { url: 'mysql://${name}@${mysql.host}:${mysql.port}/${name}', password: '\${PASSWORD}' }
    sink: { url: '${redis.url}', key: '${name}:1' }
  inside:
    source: { url: 'mysql://${name}:\${ENCODED}@${mysql.host}:${mysql.port}/${name}' }
    sink: { url: '${redis.url}', key: '${name}:2' }
`,
    )
    const runWith = (password: string, command: string, ...options: string[]): ReturnType<typeof run> =>
      run([command, 'bridge.yaml', '--debug', ...options], {
        cwd: folder,
        env: { PASSWORD: password, ENCODED: encodeURIComponent(password) },
      })
    const [checked, good, bad] = [
      await runWith(secret, 'check', '--create-tables'),
      await runWith(secret, 'run', '--once'),
      await runWith(`wrong ${secret}`, 'run', '--once'),
    ]
    expect([checked.code, good.code, bad.code]).toEqual([0, 0, 1])
    expect(jsonLines(bad.stdout).filter(({ level }) => level === 'error')).toMatchObject([
      { code: 'MYSQL_DENIED', msg: expect.stringContaining('check the user and the password') },
      { code: 'MYSQL_DENIED' },
    ])
    const unset = await run(['run', 'bridge.yaml'], { cwd: folder, env: { PASSWORD: secret } })
    expect(unset).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining('the environment variable ENCODED is not set'),
    })
    for (const { stdout, stderr } of [checked, good, bad, unset]) {
      expect(stdout + stderr).not.toContain(secret)
      expect(stdout + stderr).not.toContain(encodeURIComponent(secret))
    }
  })
})

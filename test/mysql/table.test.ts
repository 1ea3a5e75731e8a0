import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { createConnection as createCallbackConnection } from 'mysql2'
import { createPool } from 'mysql2/promise'
import { describe, expect, inject, onTestFinished, test } from 'vitest'
import {
  type MysqlEvents,
  type MysqlEventsOptions,
  type MysqlPool,
  mysqlCursors,
  mysqlEvents,
  mysqlOptions,
} from '../../src/adapters/mysql/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import type { NewEvent } from '../../src/core/event.ts'
import type { StreamOptions } from '../../src/core/stream.ts'
import { numbered } from '../tools/numbered.ts'
import { errorOf, type Reader, reader, within } from '../tools/reader.ts'
import { type Database, testDatabase } from './database.ts'

async function table(options: MysqlEventsOptions = {}): Promise<{ database: Database; events: MysqlEvents }> {
  const database = await testDatabase()
  const events = mysqlEvents(database.pool, options)
  await events.createTable()
  return { database, events }
}

async function open({ source }: MysqlEvents, after = '', options: StreamOptions = {}): Promise<Reader> {
  const opened = reader(await source.stream(after, options), after)
  onTestFinished(() => opened[Symbol.asyncDispose]())
  return opened
}

describe('insert', () => {
  test('is part of the transaction of the connection it is given', async () => {
    const { database, events } = await table()
    await database.sql('create table orders (id int primary key)')
    await using connection = await database.pool.getConnection()
    for (const outcome of ['rollback', 'commit'] as const) {
      await connection.beginTransaction()
      await connection.query('insert into orders values (7)')
      await events.insert(connection, { type: 1, foreignId: '7' })
      await connection[outcome]()
      expect(await database.sql('select count(*) from orders')).toEqual(
        await database.sql('select count(*) from events'),
      )
    }
    expect(await database.sql('select foreign_id from events')).toEqual([['7']])
  })

  test('takes connections of promises and of callbacks, alone or of a pool', async () => {
    const { database, events } = await table()
    const { host, port } = inject('servers').mysql
    const callbacks = createCallbackConnection({ ...mysqlOptions, host, port, user: 'root', database: database.name })
    onTestFinished(() => callbacks.destroy())
    await using pooled = await database.pool.getConnection()
    const ids: string[] = []
    for (const connection of [
      callbacks,
      callbacks.promise(),
      await database.connect(),
      pooled,
      pooled.connection as never,
    ]) {
      ids.push(...(await events.insert(connection, { type: 1, foreignId: 'a' })).ids)
    }
    expect(ids).toEqual(['1', '2', '3', '4', '5'])
  })

  test('returns the ids of many events as they are read, whatever the step between ids is', async () => {
    const { database, events } = await table()
    const connection = await database.connect()
    for (const step of [1, 3]) {
      await connection.query(`set auto_increment_increment = ${step}`)
      await connection.beginTransaction()
      const { ids } = await events.insert(connection, ...numbered(1200))
      await connection.commit()
      const found = await database.sql('select id, foreign_id from events order by id')
      expect(found.slice(-1200)).toEqual(ids.map((id, i) => [id, `e${i}`]))
    }
  })

  test('says now by the clock of the server where there is no timestamp, in UTC', async () => {
    const { database, events } = await table()
    const connection = await database.connect()
    await connection.query("set time_zone = '+05:00'")
    const before = Date.now()
    await events.insert(
      connection,
      { type: 1, foreignId: 'a' },
      { type: 1, foreignId: 'b', timestamp: 1_767_225_600_123.456 },
    )
    const stream = await open(events)
    const [now, given] = await stream.take(2)
    expect(now?.timestamp).toBeGreaterThan(before - 1000)
    expect(now?.timestamp).toBeLessThan(Date.now() + 1000)
    expect(given?.timestamp).toBe(1_767_225_600_123.456)
  })

  test('works in a session with any sql_mode, character set and database', async () => {
    const { database, events } = await table()
    const connection = await database.connect()
    const foreignId = `a'"\\ \n\u0000 ключ 🪵 `
    const event = { type: 1, foreignId, metadata: Buffer.from(`\\'\u0000`), headers: { [foreignId]: [foreignId, ''] } }
    await connection.query("set sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI', names latin1")
    await connection.query('use information_schema')
    await events.insert(connection, event)
    const stream = await open(events)
    expect(await stream.take(1)).toMatchObject([event])
  })

  test('refuses what would come back as something else, and inserts nothing', async () => {
    const { database, events } = await table()
    const connection = await database.connect()
    const wrong: NewEvent[] = [
      { type: 2 ** 31, foreignId: 'a' },
      { type: 1.5, foreignId: 'a' },
      { type: 1, foreignId: 'a'.repeat(256) },
      { type: 1, foreignId: '\ud800' },
      { type: 1, foreignId: 'a', timestamp: Number.NaN },
      { type: 1, foreignId: 'a', metadata: 'text' as never },
    ]
    for (const event of wrong) {
      const error = await errorOf(events.insert(connection, { type: 1, foreignId: 'ok' }, event))
      expect(codeOf(error)).toMatch(/^(EVENT_UNENCODABLE|OPTION_INVALID)$/)
    }
    expect(await database.sql('select * from events')).toEqual([])
    expect((await events.insert(connection)).ids).toEqual([])
  })

  test('refuses a pool, and a connection without the options, by their names', async () => {
    const { database, events } = await table()
    const { host, port } = inject('servers').mysql
    const event = { type: 1, foreignId: 'a' }
    expect(codeOf(await errorOf(events.insert(database.pool, event)))).toBe('OPTION_INVALID')
    const plain = createCallbackConnection({ host, port, user: 'root', database: database.name })
    plain.on('error', () => {}) // it is ended while it connects
    onTestFinished(() => plain.destroy())
    expect(String(await errorOf(events.insert(plain, event)))).toContain('supportBigNumbers')
    expect(await database.sql('select * from events')).toEqual([])
  })
})

describe('what cannot work is refused', () => {
  test('a pool that is none, has not each of the options, or names no database', async () => {
    const database = await testDatabase()
    for (const make of [mysqlEvents, mysqlCursors]) {
      for (const [option, value] of Object.entries({
        supportBigNumbers: false,
        bigNumberStrings: false,
        dateStrings: false,
        timezone: '+01:00',
      })) {
        expect(() => make(database.poolOf({ [option]: value }))).toThrow(option)
      }
      expect(() => make(database.poolOf({ database: '' }))).toThrow('database')
      expect(() => make(database.pool.pool as unknown as MysqlPool)).toThrow('pool.promise()')
      for (const none of [undefined, null, {}, { pool: {} }])
        expect(() => make(none as unknown as MysqlPool)).toThrow('mysql2')
    }
  })

  test('names that are no plain identifiers, and other options', async () => {
    const { pool } = await testDatabase()
    for (const name of ['a`b', 'a b', 'a.b', '', "a'", '1a', 'a'.repeat(65)]) {
      expect(() => mysqlEvents(pool, { table: name })).toThrow('table name')
      expect(() => mysqlCursors(pool, { table: name })).toThrow('table name')
    }
    expect(() => mysqlEvents(pool, { barrier: 'none' as never })).toThrow('barrier')
  })

  test('a table that is missing, a view, of another engine, or without the columns or AUTO_INCREMENT', async () => {
    const database = await testDatabase()
    const columns = 'foreign_id varchar(255), timestamp datetime(6), type int'
    await database.sql(`create table plain (id bigint primary key, ${columns})`)
    await database.sql('create view view_of_it as select * from plain')
    await database.sql(`create table memory_table (id bigint auto_increment primary key, ${columns}) engine = memory`)
    await database.sql('create table short (id bigint auto_increment primary key)')
    const expected = {
      missing: ['TABLE_MISSING', 'createTable()'],
      plain: ['OPTION_INVALID', 'AUTO_INCREMENT'],
      view_of_it: ['OPTION_INVALID', 'view'],
      memory_table: ['OPTION_INVALID', 'MEMORY'],
      short: ['OPTION_INVALID', 'foreign_id, timestamp, type'],
    }
    for (const [name, [code, text]] of Object.entries(expected)) {
      const error = await errorOf(mysqlEvents(database.pool, { table: name }).source.stream('', {}))
      expect([codeOf(error), (error as { retriable?: boolean }).retriable]).toEqual([code, false])
      expect(String(error)).toContain(text)
    }
    expect(codeOf(await errorOf(mysqlCursors(database.pool, { table: 'missing' }).get('a')))).toBe('TABLE_MISSING')
  })

  test('a wrong password or database, without another try', async () => {
    const database = await testDatabase()
    for (const [options, code] of [
      [{ password: 'wrong' }, 'MYSQL_DENIED'],
      [{ database: 'there_is_none' }, 'DATABASE_MISSING'],
    ] as const) {
      const pool = database.poolOf(options)
      for (const attempt of [() => mysqlEvents(pool).source.stream('', {}), () => mysqlCursors(pool).get('a')]) {
        const error = await errorOf(attempt())
        expect([codeOf(error), (error as { retriable?: boolean }).retriable]).toEqual([code, false])
      }
    }
  })
})

describe('reading', () => {
  test('a table that has a reserved word as its name', async () => {
    const { database, events } = await table({ table: 'order' })
    await events.insert(await database.connect(), ...numbered(3))
    const stream = await open(events, '', { toHead: true })
    expect(await stream.rest()).toHaveLength(3)
    const cursors = mysqlCursors(database.pool, { table: 'select' })
    await cursors.createTable()
    await cursors.set('a', '1', '')
    expect(await cursors.get('a')).toBe('1')
  })

  test('a table of luno/reflex as it is, with or without metadata', async () => {
    const database = await testDatabase()
    await database.sql(
      'create table events (id bigint not null auto_increment, foreign_id bigint not null, timestamp datetime not null, type int not null, primary key (id))',
    )
    const events = mysqlEvents(database.pool)
    await database.sql("insert into events set foreign_id = 12, timestamp = '2026-01-02 03:04:05', type = 3")
    const bare = {
      id: '1',
      type: 3,
      foreignId: '12',
      timestamp: Date.parse('2026-01-02T03:04:05Z'),
      metadata: null,
      headers: {},
    }
    const stream = await open(events)
    expect(await stream.take(1)).toEqual([bare])
    await events.insert(await database.connect(), { type: 4, foreignId: '13' })
    expect(await stream.take(1)).toMatchObject([{ id: '2', type: 4, foreignId: '13' }])
    const error = await errorOf(
      events.insert(await database.connect(), { type: 4, foreignId: '13', metadata: Buffer.from('a') }),
    )
    expect(codeOf(error)).toBe('TABLE_LAYOUT')
  })

  test('ids above 2^53, to the last digit', async () => {
    const { database, events } = await table()
    const first = 2n ** 53n + 1n
    await database.sql(`alter table events auto_increment = ${first}`)
    const { ids } = await events.insert(await database.connect(), ...numbered(3))
    expect(ids).toEqual([first, first + 1n, first + 2n].map(String))
    const stream = await open(events)
    expect((await stream.take(3)).map(({ id }) => id)).toEqual(ids)
    const rest = await open(events, ids[1], { toHead: true })
    expect((await rest.rest()).map(({ id }) => id)).toEqual([ids[2]])
    expect(await events.source.backlog?.(ids[0] as string)).toEqual({ count: 2n, unit: 'events' })
    expect(await events.source.head?.()).toBe(ids[2])
  })

  test('rows of the mysql command line', async () => {
    const { database, events } = await table()
    const { host, port, cli } = inject('servers').mysql
    const stream = await open(events)
    const [command = '', ...prefix] = cli['mysql'] ?? []
    const sql = `insert into events (foreign_id, timestamp, type, metadata) values ('Ключ 7', '2026-01-02 03:04:05.000001', -5, x'00ff'), ('ключ 7', '2026-01-02 03:04:05', 5, '')`
    const args = [
      '-h',
      host,
      '-P',
      String(port),
      '-u',
      'root',
      '--default-character-set=utf8mb4',
      database.name,
      '-e',
      sql,
    ]
    await promisify(execFile)(command, [...prefix, ...args])
    const at = Date.parse('2026-01-02T03:04:05Z')
    expect(await stream.take(2)).toEqual([
      { id: '1', type: -5, foreignId: 'Ключ 7', timestamp: at + 0.001, metadata: Buffer.from([0, 255]), headers: {} },
      { id: '2', type: 5, foreignId: 'ключ 7', timestamp: at, metadata: Buffer.alloc(0), headers: {} },
    ])
  })

  test('stops at a row that is no event, after those before it', async () => {
    const { database, events } = await table()
    const connection = await database.connect()
    await events.insert(connection, ...numbered(2))
    await database.sql(
      `insert into events (foreign_id, timestamp, type, headers) values ('x', utc_timestamp(6), 1, '[1]')`,
    )
    const error = await errorOf(open(events, '', { toHead: true }).then((stream) => stream.rest()))
    expect(error).toMatchObject({ code: 'EVENT_UNDECODABLE', position: '3', retriable: false })
  })

  test('a batch has about batchBytes at most, however large rows suddenly are', async () => {
    const { database, events } = await table({ batchBytes: 1_000_000 })
    const connection = await database.connect()
    await events.insert(connection, ...numbered(150))
    await events.insert(connection, ...numbered(12).map((event) => ({ ...event, metadata: Buffer.alloc(400_000, 1) })))
    await using stream = await events.source.stream('', { toHead: true })
    let count = 0
    for await (const batch of stream) {
      count += batch.events.length
      expect(batch.events.reduce((sum, { metadata }) => sum + (metadata?.length ?? 0), 0)).toBeLessThan(1_500_000)
    }
    expect(count).toBe(162)
  })

  test('takes no connection of the pool', async () => {
    const database = await testDatabase()
    const pool = database.poolOf({ connectionLimit: 1 })
    const events = mysqlEvents(pool)
    await events.createTable()
    await using connection = await pool.getConnection()
    const streams = await Promise.all([open(events), open(events), open(events)])
    await events.insert(connection, { type: 1, foreignId: 'a' })
    for (const stream of streams) expect(await stream.take(1)).toHaveLength(1)
  })

  test('a connection that is killed ends the stream with an error, and leaves the next one alone', async () => {
    const { database, events } = await table()
    const stream = await open(events)
    const waiting = errorOf(stream.take(1), 5000, 'noticing that the connection was killed')
    const ours = await database.sql(
      'select id from information_schema.processlist where db = ? and id <> connection_id()',
      [database.name],
    )
    for (const [id] of ours) await database.sql(`kill ${id}`).catch(() => {})
    expect(String(await waiting)).toMatch(/connection|ECONNRESET/i)
    await events.insert(await database.connect(), { type: 1, foreignId: 'a' })
    expect(await (await open(events)).take(1)).toHaveLength(1)
  })

  test('a wake-up is never lost', async () => {
    const { database, events } = await table({ pollMs: { min: 60_000, max: 60_000 } })
    const connection = await database.connect()
    const stream = await open(events)
    for (let round = 0; round < 60; round++) {
      const waiting = stream.take(1)
      if (round % 3 > 0) await sleep(round % 7) // at different points of the reader's query
      const { wake } = await events.insert(connection, { type: 1, foreignId: String(round) })
      wake()
      expect(await within(waiting, 5000, 'being woken')).toMatchObject([{ foreignId: String(round) }])
    }
  })

  test('settings of the server and of the pool do not matter', async () => {
    const database = await testDatabase()
    const pool = database.poolOf({
      rowsAsArray: true,
      nestTables: '_',
      namedPlaceholders: true,
      typeCast: () => 'x',
      charset: 'latin1',
    })
    const events = mysqlEvents(pool)
    await events.createTable()
    const cursors = mysqlCursors(pool)
    await cursors.createTable()
    const connection = await pool.getConnection()
    await events.insert(connection, { type: 1, foreignId: 'ключ', metadata: Buffer.from('a') })
    connection.release()
    const stream = await open(events)
    expect(await stream.take(1)).toMatchObject([{ id: '1', type: 1, foreignId: 'ключ', metadata: Buffer.from('a') }])
    await cursors.set('ключ', '🪵', '')
    expect(await cursors.list?.()).toEqual(new Map([['ключ', '🪵']]))
  })
})

test('a pool that is exhausted or cannot connect fails a cursor store within 5 s, and is left as it was', async () => {
  const database = await testDatabase()
  const pool = database.poolOf({ connectionLimit: 1 })
  const cursors = mysqlCursors(pool)
  await cursors.createTable()
  const connection = await pool.getConnection()
  const error = await errorOf(cursors.set('a', '1', ''), 5000, 'noticing that no connection becomes free')
  expect(codeOf(error)).toBe('SERVER_UNRESPONSIVE')
  connection.release()
  await cursors.set('a', '1', '')
  expect(await cursors.get('a')).toBe('1')
  const nowhere = createPool({ ...mysqlOptions, host: '127.0.0.1', port: 1, user: 'root', database: 'x' })
  onTestFinished(() => nowhere.end())
  expect(String(await errorOf(mysqlCursors(nowhere).get('a')))).toContain('ECONNREFUSED')
})

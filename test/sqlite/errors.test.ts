import { copyFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openSqlite, sqliteCursors, sqliteEvents, sqliteSink } from '../../src/adapters/sqlite/index.ts'
import { loadSqlite } from '../../src/adapters/sqlite/load-sqlite.ts'
import { codeOf, isRetriable } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import { sqliteConnections } from '../subjects/sqlite.ts'
import { errorOf, reader, within } from '../tools/reader.ts'
import { newFile } from './new-file.ts'

function openNew(file = newFile()): { file: string; database: DatabaseSync } {
  const database = openSqlite(file)
  onTestFinished(() => {
    if (database.isOpen) database.close()
  })
  return { file, database }
}

const thrown = (work: () => unknown): Promise<unknown> => errorOf((async () => work())())
const event: Event = { id: '1', type: 1, foreignId: 'a', timestamp: 1, metadata: null, headers: {} }
const route = { route: 'r', source: 's' }

test.for([
  ['22.22.0', true],
  ['22.23.1', true],
  ['24.0.0', true],
  ['26.1.0', true],
  ['22.21.9', false],
  ['22.5.0', false],
  ['23.11.0', false],
  ['20.20.2', false],
  ['18.0.0', false],
] as const)('on Node %s, is usable: %s', async ([version, usable]) => {
  if (usable) return expect(loadSqlite(version).DatabaseSync).toBe(DatabaseSync)
  const error = await thrown(() => loadSqlite(version))
  expect(error).toMatchObject({ code: 'NODE_TOO_OLD', retriable: false })
  expect(String(error)).toContain(version)
})

describe('says what to do about', () => {
  test('a missing table: createTable()', async () => {
    const { database } = openNew()
    const errors = [
      await errorOf(sqliteEvents(database).source.stream('', {})),
      await errorOf(sqliteEvents(database).source.head?.() ?? Promise.resolve()),
      await errorOf(sqliteCursors(database).get('a')),
      await errorOf(sqliteCursors(database).set('a', '1', '')),
      await thrown(() => sqliteEvents(database).insert(database, event)),
    ]
    for (const error of errors) {
      expect(error).toMatchObject({ code: 'TABLE_MISSING', retriable: false })
      expect(String(error)).toContain('createTable()')
    }
    const destination = await errorOf(sqliteSink(database).open(route)) // is waited for
    expect(destination).toMatchObject({
      code: 'TABLE_MISSING',
      retriable: true,
      message: expect.stringContaining('createTable()'),
    })
  })

  test('a table without AUTOINCREMENT, which gives the id of a deleted row again', async () => {
    const { database } = openNew()
    database.exec(
      'create table events (id integer primary key, foreign_id text, timestamp real, type integer, metadata blob, headers text)',
    )
    for (const opening of [sqliteEvents(database).source.stream('', {}), sqliteSink(database).open(route)])
      expect(codeOf(await errorOf(opening))).toBe('OPTION_INVALID')
  })

  test('a table with other columns', async () => {
    const { database } = openNew()
    database.exec('create table events (id integer primary key autoincrement, foreign_id text)')
    expect(codeOf(await errorOf(sqliteEvents(database).source.stream('', {})))).toBe('TABLE_LAYOUT')
  })

  test('a table name that could not stand in a statement', async () => {
    const { database } = openNew()
    for (const table of ['a b', 'a;drop table b', '', '1a', 'a"'])
      for (const make of [
        () => sqliteEvents(database, { table }),
        () => sqliteCursors(database, { table }),
        () => sqliteSink(database, { table }),
      ])
        expect(codeOf(await thrown(make))).toBe('OPTION_INVALID')
  })

  test('a path that is no file', async () => {
    for (const path of ['', ':memory:', 'file:x?mode=memory'])
      expect(codeOf(await thrown(() => sqliteEvents(path)))).toBe('OPTION_INVALID')
  })

  test('a file that is missing: reading does not create it', async () => {
    const file = newFile()
    expect(codeOf(await errorOf(sqliteEvents(file).source.stream('', {})))).toBe('SQLITE_CANNOT_OPEN')
    expect(codeOf(await thrown(() => openSqlite(file, { readOnly: true })))).toBe('SQLITE_CANNOT_OPEN')
    expect(codeOf(await thrown(() => openSqlite(`${file}/x/y`)))).toBe('SQLITE_CANNOT_OPEN')
  })

  test('a file that is no database, and one that is damaged', async () => {
    const text = newFile()
    writeFileSync(text, 'This is a text and no database. '.repeat(100))
    expect(await thrown(() => openSqlite(text))).toMatchObject({ code: 'SQLITE_CORRUPT', retriable: false })
    const { file, database } = openNew()
    const events = sqliteEvents(database)
    events.createTable()
    events.insert(database, ...Array.from({ length: 2000 }, () => ({ ...event, metadata: new Uint8Array(100) })))
    database.close()
    truncateSync(file, 20_000)
    const opening = (async () => {
      await using all = reader(await sqliteEvents(file).source.stream('', { toHead: true }))
      await all.rest()
    })()
    expect(codeOf(await errorOf(opening))).toBe('SQLITE_CORRUPT')
  })

  test('a full disk: nothing of the transaction is written, and later it goes on', async () => {
    const { database } = openNew()
    const events = sqliteEvents(database)
    events.createTable()
    database.exec('pragma max_page_count = 20')
    const large = { ...event, metadata: new Uint8Array(50_000) }
    const error = await thrown(() => events.insert(database, event, large, large, large))
    expect(codeOf(error)).toBe('SQLITE_FULL')
    expect(isRetriable(error)).toBe(true)
    expect(await events.source.head?.()).toBe('0')
    database.exec('pragma max_page_count = 20000')
    expect(events.insert(database, event, large).ids).toEqual(['1', '2'])
  })

  test('a handle that was closed', async () => {
    const { database } = openNew()
    const cursors = sqliteCursors(database)
    cursors.createTable()
    database.close()
    expect(codeOf(await errorOf(cursors.get('a')))).toBe('SQLITE_CLOSED')
    expect(codeOf(await errorOf(cursors.set('a', '1', '')))).toBe('SQLITE_CLOSED')
    for (const make of [sqliteEvents, sqliteCursors, sqliteSink])
      expect(codeOf(await thrown(() => make(database)))).toBe('SQLITE_CLOSED')
  })
})

describe('another connection that holds the lock', () => {
  test('is waited for without blocking the process, by cursors and sink', async () => {
    const { file, database } = openNew()
    const cursors = sqliteCursors(database)
    const sink = sqliteSink(database)
    cursors.createTable()
    sink.createTable()
    await using writer = await sink.open(route)
    const other = openSqlite(file)
    onTestFinished(() => other.close())
    other.exec('begin immediate')
    const work = [
      cursors.set('a', '1', ''),
      cursors.reset('b', '2'),
      writer.append([event], '1'),
      sink.open({ ...route, route: 'r2' }),
    ]
    await new Promise((resolve) => setTimeout(resolve, 30)) // this process can still end the transaction
    other.exec('commit')
    const [, , mark, second] = await within(Promise.all(work), 5000, 'getting the lock')
    expect(mark).toBe('1')
    await (second as AsyncDisposable)[Symbol.asyncDispose]()
    expect(database.prepare('pragma busy_timeout').get()).toEqual({ timeout: 5000 })
  })

  test('for too long is an error that can pass, within 5 s; an abort ends the waiting before', async () => {
    const { file, database } = openNew()
    const sink = sqliteSink(database)
    sink.createTable()
    const other = openSqlite(file)
    onTestFinished(() => other.close())
    other.exec('begin immediate')
    const controller = new AbortController()
    const aborted = errorOf(sink.open({ ...route, signal: controller.signal }))
    const waiting = errorOf(sink.open(route), 5000)
    const reason = new Error('enough')
    controller.abort(reason)
    expect(await aborted).toBe(reason)
    expect(await waiting).toMatchObject({ code: 'SQLITE_BUSY', retriable: true })
  })

  test('in a file without WAL blocks readers too, and they wait as well', async () => {
    const file = newFile()
    const database = new DatabaseSync(file)
    onTestFinished(() => database.close())
    const events = sqliteEvents(database)
    events.createTable()
    events.insert(database, event)
    await using idle = reader(await events.source.stream('', {}))
    await idle.take(1)
    const controller = new AbortController()
    await using other = await events.source.stream('', { signal: controller.signal })
    database.exec('begin exclusive')
    const waiting = idle.take(1)
    const aborted = errorOf(other[Symbol.asyncIterator]().next())
    await new Promise((resolve) => setTimeout(resolve, 20))
    const reason = new Error('enough')
    controller.abort(reason)
    expect(await aborted).toBe(reason)
    events.insert(database, event)
    database.exec('commit')
    expect((await waiting)[0]?.id).toBe('2')
  })

  test("in the application's own handle: its transaction is waited for, and never joined", async () => {
    const { database } = openNew()
    const cursors = sqliteCursors(database)
    cursors.createTable()
    database.exec('begin')
    const saving = cursors.set('a', '1', '')
    await new Promise((resolve) => setTimeout(resolve, 20))
    database.exec('rollback')
    await saving
    expect(await cursors.get('a')).toBe('1')
  })
})

describe('a file that is replaced', () => {
  test('under a reader, a writer and a cursor store is an error, and not a wait for ever', async () => {
    const { file, database } = openNew()
    const events = sqliteEvents(database)
    const cursors = sqliteCursors(database)
    const sink = sqliteSink(database)
    for (const each of [events, cursors, sink]) each.createTable()
    events.insert(database, event)
    await using idle = reader(await events.source.stream('', {}))
    await using writer = await sink.open(route)
    await idle.take(1)
    const waiting = errorOf(idle.take(1), 5000)
    database.exec('pragma wal_checkpoint(truncate)')
    copyFileSync(file, `${file}.copy`)
    renameSync(`${file}.copy`, file)
    expect(codeOf(await waiting)).toBe('SQLITE_REPLACED')
    expect(codeOf(await errorOf(writer.append([event], '1')))).toBe('SQLITE_REPLACED')
    expect(await errorOf(cursors.set('a', '1', ''))).toMatchObject({ code: 'SQLITE_REPLACED', retriable: false })
    // The application still writes the old file: a new reader must not read the new one beside it.
    for (const opening of [events.source.stream('', {}), sink.open(route)])
      expect(codeOf(await errorOf(opening))).toBe('SQLITE_REPLACED')
  })

  test('by an older copy is seen by the cursor: it lies beyond the end', async () => {
    const { file, database } = openNew()
    const events = sqliteEvents(file)
    events.createTable()
    events.insert(database, event, event)
    database.exec(`vacuum into '${file}.copy'`)
    events.insert(database, event)
    database.close()
    for (const end of ['-wal', '-shm']) rmSync(file + end, { force: true })
    renameSync(`${file}.copy`, file)
    expect(await errorOf(events.source.stream('3', {}))).toMatchObject({ code: 'CURSOR_AHEAD', reason: 'beyond' })
  })
})

test('a stream, a lookup and a writer leave no connection behind', async ({ skip }) => {
  const { file, database } = openNew()
  const events = sqliteEvents(database)
  const sink = sqliteSink(database)
  sink.createTable()
  skip(process.platform !== 'linux', 'this system does not tell')
  const before = sqliteConnections(file)
  for (let i = 0; i < 3; i++) {
    const writer = await sink.open(route)
    await writer.append([event], String(i))
    expect(sqliteConnections(file)).toBe(before + 1)
    await writer[Symbol.asyncDispose]()
    await events.source.head?.()
    await events.source.at?.(0)
    await events.source.backlog?.('1')
    const stream = await events.source.stream('', {})
    expect(sqliteConnections(file)).toBe(before + 1)
    await stream[Symbol.asyncDispose]()
    await errorOf(events.source.stream('99', {}))
    await errorOf(sqliteEvents(database, { table: 'missing' }).source.stream('', {}))
    await errorOf(sink.open({ ...route, source: 'another' }))
    expect(sqliteConnections(file)).toBe(before)
  }
})

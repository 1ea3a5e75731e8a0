import { DatabaseSync } from 'node:sqlite'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  openSqlite,
  type SqliteEvents,
  type SqliteEventsOptions,
  sqliteCursors,
  sqliteEvents,
  sqliteSink,
} from '../../src/adapters/sqlite/index.ts'
import { preparePage } from '../../src/adapters/sqlite/read-page.ts'
import { codeOf } from '../../src/core/errors.ts'
import type { Event, NewEvent } from '../../src/core/event.ts'
import type { TableRow } from '../../src/sql/table-reader.ts'
import { arbitraryEvent, comparable } from '../tools/arbitrary-event.ts'
import { errorOf, reader } from '../tools/reader.ts'
import { newFile } from './new-file.ts'

/** A new table in a file, and a handle of it. */
function newTable(options: SqliteEventsOptions = {}): { file: string; database: DatabaseSync; events: SqliteEvents } {
  const file = newFile()
  const database = openSqlite(file)
  onTestFinished(() => database.close())
  const events = sqliteEvents(database, options)
  events.createTable()
  return { file, database, events }
}

async function readAll({ source }: SqliteEvents, after = ''): Promise<Event[]> {
  await using all = reader(await source.stream(after, { toHead: true }), after)
  return await all.rest()
}

const ids = (events: readonly Event[]): string[] => events.map(({ id }) => id)
const event = (foreignId: string, more: Partial<NewEvent> = {}): NewEvent => ({ type: 1, foreignId, ...more })

describe('an insert', () => {
  test('is in the transaction of the caller: invisible before the commit, gone after a rollback', async () => {
    const { database, events } = newTable()
    database.exec('begin immediate')
    expect(events.insert(database, event('a'), event('b')).ids).toEqual(['1', '2'])
    expect(await readAll(events)).toEqual([])
    database.exec('rollback')
    expect(await readAll(events)).toEqual([])
    database.exec('begin immediate')
    expect(events.insert(database, event('c')).ids).toEqual(['1']) // a rollback takes the ids back
    database.exec('commit')
    expect((await readAll(events)).map(({ foreignId }) => foreignId)).toEqual(['c'])
  })

  test('without a transaction inserts all of its events, or none', async () => {
    const { database, events } = newTable()
    database.exec(
      "create trigger refuse before insert on events when new.foreign_id = 'x' begin select raise(abort, 'no'); end",
    )
    expect(() => events.insert(database, event('a'), event('x'), event('b'))).toThrow('no')
    expect(database.isTransaction).toBe(false)
    expect(await readAll(events)).toEqual([])
    expect(events.insert(database, event('a'), event('b')).ids).toEqual(['1', '2'])
    expect(events.insert(database).ids).toEqual([])
  })

  test('of what is a no-op in a MySQL table is of an event like every other', async () => {
    const { database, events } = newTable()
    events.insert(database, event('0', { type: 0 }), event('a'))
    expect((await readAll(events)).map(({ foreignId }) => foreignId)).toEqual(['0', 'a'])
  })

  test('takes now as the time, null as the payload and no headers where nothing else is said', async () => {
    const { database, events } = newTable()
    const before = Date.now()
    events.insert(database, event('a'))
    const [read] = await readAll(events)
    expect(read).toMatchObject({ id: '1', type: 1, foreignId: 'a', metadata: null, headers: {} })
    expect(read?.timestamp).toBeGreaterThanOrEqual(before)
    expect(read?.timestamp).toBeLessThanOrEqual(Date.now())
  })

  test.for<[string, NewEvent]>([
    ['a type beyond 32 bits', event('a', { type: 2 ** 31 })],
    ['a type that is no integer', event('a', { type: 1.5 })],
    ['a foreignId with half a surrogate pair, which SQLite would change', event('a\ud800')],
    ['a header with half a surrogate pair', event('a', { headers: { a: ['b', '\udc00'] } })],
    ['the name of a header with half a surrogate pair', event('a', { headers: { '\udc00': 'a' } })],
    ['a header that is no text', event('a', { headers: { a: 1 } as never })],
    ['a time that is none', event('a', { timestamp: Number.NaN })],
    ['a time after the year 9999', event('a', { timestamp: 253_402_300_800_000 })],
  ])('refuses %s, and inserts none of the others', async ([, wrong]) => {
    const { database, events } = newTable()
    expect(codeOf(await errorOf((async () => events.insert(database, event('b'), wrong))()))).toBe('EVENT_UNENCODABLE')
    expect(await readAll(events)).toEqual([])
  })
})

describe('a table', () => {
  test('keeps ids exact up to the largest', async () => {
    const { database, events } = newTable()
    const top = 2n ** 63n - 1n
    database.prepare("insert into sqlite_sequence values ('events', ?)").run(top - 3n)
    const inserted = events.insert(database, event('a'), event('b'), event('c')).ids
    expect(inserted).toEqual([top - 2n, top - 1n, top].map(String))
    expect(ids(await readAll(events))).toEqual(inserted)
    expect(ids(await readAll(events, String(top - 1n)))).toEqual([String(top)])
    expect(await events.source.head?.()).toBe(String(top))
    expect(() => events.insert(database, event('d'))).toThrow(/full/)
  })

  test('keeps times exact to the µs, and to the ms from the year 0 to 9999', async () => {
    const { database, events } = newTable()
    const times = [
      0, 0.001, -0.001, -1, 1_763_721_385_123.456, 4_102_444_800_000.999, -62_167_219_200_000, 253_402_300_799_999,
    ]
    events.insert(database, ...times.map((timestamp) => event('a', { timestamp })))
    expect((await readAll(events)).map(({ timestamp }) => timestamp)).toEqual(times)
  })

  test.for<[string, string | undefined, string]>([
    ['of this package', undefined, 'UTF-8'],
    ['that is not strict', 'not strict', 'UTF-8'],
    ['in UTF-16', undefined, 'UTF-16'],
  ])('%s gives back whatever was inserted', async ([, loose, encoding]) => {
    const database = new DatabaseSync(newFile())
    onTestFinished(() => database.close())
    database.exec(`pragma encoding = '${encoding}'`)
    const events = sqliteEvents(database)
    if (loose === undefined) events.createTable()
    else
      database.exec(
        'create table events (id integer primary key autoincrement, foreign_id, timestamp, type, metadata, headers)',
      )
    const payload = fc.oneof(fc.constant(null), fc.constant(new Uint8Array(0)), fc.uint8Array({ maxLength: 50 }))
    await fc.assert(
      fc.asyncProperty(
        fc.array(arbitraryEvent(), { maxLength: 6 }),
        fc.array(payload, { maxLength: 6 }),
        async (bodies, payloads) => {
          const sent = [...bodies, ...payloads.map((metadata) => event('p', { metadata, timestamp: 1 }))]
          const after = (await events.source.head?.()) ?? ''
          events.insert(database, ...sent)
          expect((await readAll(events, after)).map(comparable)).toEqual(sent.map(comparable))
        },
      ),
      { numRuns: 40 },
    )
  })

  test('gives back large payloads, within the bytes of a batch', async () => {
    const { database, events } = newTable({ batchBytes: 1_000_000 })
    const sizes = Array.from({ length: 130 }, (_, i) => (i < 100 ? i : 300_000 + i))
    const sent = sizes.map((size, i) => event('a', { timestamp: i, metadata: new Uint8Array(size).fill(i + 1) }))
    events.insert(database, ...sent)
    await using stream = await events.source.stream('', { toHead: true })
    const read: Event[] = []
    for await (const { events: batch } of stream) {
      const bytes = batch.map(({ metadata }) => metadata?.length ?? 0)
      if (batch.length > 2) expect(bytes.reduce((sum, each) => sum + each)).toBeLessThanOrEqual(1_000_000)
      read.push(...batch)
    }
    expect(read.map(comparable)).toEqual(sent.map(comparable))
  })

  test('is read by pages of one moment: rows that go meanwhile do not shift the payloads of others', async () => {
    const { file, database, events } = newTable()
    events.insert(database, ...['a', 'b', 'c'].map((each) => event(each, { metadata: Buffer.from(each) })))
    const reading = openSqlite(file)
    onTestFinished(() => reading.close())
    const prepare = reading.prepare.bind(reading)
    reading.prepare = (sql) => {
      const statement = prepare(sql)
      const all = statement.all.bind(statement)
      statement.all = (...values: never[]) => {
        const rows = all(...values)
        database.exec('delete from events where id = 2')
        return rows
      }
      return statement
    }
    const page = preparePage('test', reading, 'events', { alone: false })
    const eventsOf = (rows: readonly TableRow[]): Event[] => rows as Event[]
    const texts = eventsOf(page(1n, 10, 1000)).map(({ metadata }) => Buffer.from(metadata ?? []).toString())
    expect(texts).toEqual(['a', 'b', 'c'])
    expect(ids(eventsOf(page(1n, 10, 1000)))).toEqual(['1', '3'])
  })

  test('is read by an application too: the columns say what they hold', () => {
    const { database, events } = newTable()
    events.insert(database, event('ключ', { timestamp: 1_763_721_385_123.5, headers: { a: ['1', '2'] } }))
    expect(
      database
        .prepare(
          "select id, foreign_id, datetime(timestamp / 1000, 'unixepoch') as at, type, metadata, headers ->> '$.a[1]' as a from events",
        )
        .get(),
    ).toEqual({ id: 1, foreign_id: 'ключ', at: '2025-11-21 10:36:25', type: 1, metadata: null, a: '2' })
  })

  test.for([
    ['a type that is no integer', "'a', 1, 'x', null, null"],
    ['a type beyond 32 bits', "'a', 1, 2147483648, null, null"],
    ['a foreign id that is no text', '7, 1, 1, null, null'],
    ['a time that is none', "'a', 'now', 1, null, null"],
    ['a payload that is no blob', "'a', 1, 1, 'text', null"],
    ['headers that are no JSON', "'a', 1, 1, null, 'x'"],
    ['headers that are no object', "'a', 1, 1, null, '[]'"],
    ['headers that are not strings', `'a', 1, 1, null, '{"a":1}'`],
  ] as const)('with %s fails the stream at that row, and skips nothing', async ([, values]) => {
    const database = openSqlite(newFile())
    onTestFinished(() => database.close())
    database.exec(
      'create table events (id integer primary key autoincrement, foreign_id, timestamp, type, metadata, headers)',
    )
    const events = sqliteEvents(database, { batchSize: 1 })
    events.insert(database, event('good'))
    database.exec(`insert into events (foreign_id, timestamp, type, metadata, headers) values (${values})`)
    expect(await errorOf(readAll(events))).toMatchObject({ code: 'EVENT_UNDECODABLE', position: '2' })
  })

  test('is used through handles of any options', async () => {
    const file = newFile()
    for (const path of [file, ':memory:']) {
      const database = new DatabaseSync(path, { readBigInts: true, returnArrays: true, timeout: 77 })
      onTestFinished(() => database.close())
      const events = sqliteEvents(database)
      const cursors = sqliteCursors(database)
      const sink = sqliteSink(database)
      for (const each of [cursors, sink]) each.createTable()
      expect(events.insert(database, event('a'), event('b')).ids).toEqual(['1', '2'])
      await cursors.set('a', '1', '')
      expect(codeOf(await errorOf(cursors.set('a', '2', 'x')))).toBe('CURSOR_CONFLICT')
      expect(await cursors.list?.()).toEqual(new Map([['a', '1']]))
      const read = await readAll(events)
      await using writer = await sink.open({ route: 'r', source: 's' })
      expect(await writer.append(read, '2')).toBe('4')
      expect(ids(await readAll(events, await events.source.at?.(0)))).toEqual(['1', '2', '3', '4'])
      expect(Object.values(database.prepare('pragma busy_timeout').get() ?? {})).toEqual([77n])
    }
  })

  test('may be in a file of any name', async () => {
    const file = `${newFile()} a?b#c%41&mode=memory'é.db`
    const database = openSqlite(file)
    onTestFinished(() => database.close())
    for (const events of [sqliteEvents(database), sqliteEvents(file)]) {
      events.createTable()
      const inserted = events.insert(database, event('a')).ids
      expect(ids(await readAll(events))).toContain(inserted[0])
    }
  })

  test('is made by path as by handle, and any number of times', async () => {
    const file = newFile()
    const byPath = sqliteEvents(file, { table: 'orders' })
    byPath.createTable()
    byPath.createTable()
    const database = openSqlite(file)
    onTestFinished(() => database.close())
    byPath.insert(database, event('a'))
    expect((await readAll(byPath)).map(({ foreignId }) => foreignId)).toEqual(['a'])
    expect((await readAll(sqliteEvents(database, { table: 'orders' }))).map(({ foreignId }) => foreignId)).toEqual([
      'a',
    ])
    expect(byPath.source.name).toBe('sqlite:orders')
  })
})

describe('an open file', () => {
  test('is in WAL mode with synchronous FULL, waits for locks and does not check foreign keys', () => {
    const { database } = newTable()
    const pragma = (name: string): unknown => Object.values(database.prepare(`pragma ${name}`).get() ?? {})[0]
    expect(['journal_mode', 'synchronous', 'busy_timeout', 'foreign_keys'].map(pragma)).toEqual(['wal', 2, 5000, 0])
  })

  test('that is opened readOnly is read, and not written', async () => {
    const { file, database, events } = newTable()
    events.insert(database, event('a'))
    const readOnly = openSqlite(file, { readOnly: true })
    onTestFinished(() => readOnly.close())
    const seen = sqliteEvents(readOnly)
    expect(ids(await readAll(seen))).toEqual(['1'])
    expect(codeOf(await errorOf((async () => seen.insert(readOnly, event('b')))()))).toBe('SQLITE_READONLY')
  })
})

test('a time is found in a table of any length, over holes and out of order', async () => {
  const { database, events } = newTable()
  events.insert(database, ...Array.from({ length: 12_000 }, (_, i) => event('a', { timestamp: 1000 + i })))
  events.insert(database, event('late', { timestamp: 500 }))
  database.exec('delete from events where id between 5000 and 5002')
  const at = async (timestamp: number): Promise<string | undefined> => events.source.at?.(timestamp)
  expect(await at(0)).toBe('0')
  expect(await at(1000)).toBe('0')
  expect(await at(1001)).toBe('1')
  expect(await at(1000 + 5000)).toBe('4999') // the rows of ids 5000 to 5002 are gone
  expect(await at(1000 + 11_999)).toBe('11999')
  expect(await at(1000 + 12_000)).toBe('12001')
})

describe('waiting at the head', () => {
  test('ends at once when this process inserts and says so', async () => {
    const { database, events } = newTable({ pollMs: { min: 600_000, max: 600_000 } })
    await using idle = reader(await events.source.stream('', {}))
    for (const foreignId of ['a', 'b']) {
      const waiting = idle.take(1)
      await new Promise((resolve) => setTimeout(resolve, 20)) // it waits by now; if not, it finds the event without
      database.exec('begin immediate')
      events.insert(database, event(foreignId))
      database.exec('commit')
      events.wake()
      expect((await waiting)[0]?.foreignId).toBe(foreignId)
    }
    const waiting = idle.take(1)
    await new Promise((resolve) => setTimeout(resolve, 20))
    events.insert(database, event('c')) // a transaction of its own wakes by itself
    expect((await waiting)[0]?.foreignId).toBe('c')
  })

  test('sees what is committed, through this handle or another', async () => {
    const { file, database, events } = newTable({ pollMs: { min: 1, max: 1 } })
    events.insert(database, event('a', { metadata: new Uint8Array(1000) }))
    await using idle = reader(await events.source.stream('', {}))
    await idle.take(1)
    for (const handle of [database, openSqlite(file)]) {
      const waiting = idle.take(1)
      await new Promise((resolve) => setTimeout(resolve, 20))
      handle.prepare("insert into events (foreign_id, timestamp, type) values ('b', 1, 1)").run()
      expect((await waiting)[0]?.foreignId).toBe('b')
      if (handle !== database) handle.close()
    }
  })

  test('over a database in memory, never sees what the application has not committed', async () => {
    const database = openSqlite(':memory:')
    onTestFinished(() => database.close())
    const events = sqliteEvents(database)
    events.createTable()
    await using idle = reader(await events.source.stream('', {}))
    const waiting = idle.take(1)
    database.exec('begin')
    events.insert(database, event('rolled back'))
    events.wake()
    await new Promise((resolve) => setTimeout(resolve, 50))
    database.exec('rollback')
    events.insert(database, event('kept'))
    expect((await waiting)[0]?.foreignId).toBe('kept')
  })
})

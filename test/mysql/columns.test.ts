import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { eventColumns } from '../../src/adapters/mysql/event-columns.ts'
import { type EventColumns, type MysqlEvents, mysqlEvents } from '../../src/adapters/mysql/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import type { Event, NewEvent } from '../../src/core/event.ts'
import { type Server, startServer } from '../../src/testing/servers/index.ts'
import { errorOf, type Reader, reader } from '../tools/reader.ts'
import { type Database, testDatabase } from './database.ts'

/** Names that are all others than the usual ones, some of them reserved words. */
const NAMES: EventColumns = {
  id: 'Position',
  foreignId: 'order',
  timestamp: 'happened_at',
  type: 'select',
  metadata: 'payload',
  headers: 'key',
  trace: 'group',
}

async function open({ source }: MysqlEvents, after = '', toHead = true): Promise<Reader> {
  const opened = reader(await source.stream(after, { toHead }), after)
  onTestFinished(() => opened[Symbol.asyncDispose]())
  return opened
}

async function all(events: MysqlEvents): Promise<Event[]> {
  return (await open(events)).rest()
}

/** A table as a service in Go has made it. */
async function foreign(columns: string): Promise<{ database: Database; events: MysqlEvents }> {
  const database = await testDatabase()
  await database.sql(`create table events (${columns}) character set utf8mb4`)
  return { database, events: mysqlEvents(database.pool) }
}

describe('the names of the columns', () => {
  test('are used to create, to insert, to read, and to find the head, the backlog and a time', async () => {
    const { pool, connect, sql, name } = await testDatabase()
    const events = mysqlEvents(pool, { columns: NAMES })
    await events.createTable()
    const start = Date.parse('2026-01-02T03:04:05.000006Z')
    const given = ['a', 'b', 'c'].map((foreignId, i) => ({
      type: i + 1,
      foreignId,
      timestamp: start + i * 1000,
      metadata: Buffer.from(foreignId),
      headers: { h: foreignId },
    }))
    const { ids } = await events.insert(await connect(), ...given)
    const found = given.map((event, i) => ({ ...event, id: ids[i] }))
    expect(await all(events)).toEqual(found)
    expect(await (await open(events, '1')).rest()).toEqual(found.slice(1))
    expect(await events.source.head?.()).toBe('3')
    expect(await events.source.backlog?.('1')).toEqual({ count: 2n, unit: 'events' })
    expect(await events.source.at?.(start + 1500)).toBe('2')
    const columns = await sql(
      'select column_name from information_schema.columns where table_schema = ? order by ordinal_position',
      [name],
    )
    const { trace: _, ...created } = NAMES
    expect(columns.flat()).toEqual(Object.values(created))
  })

  test('may be given in part, and in other letters than the server has', async () => {
    const { database, events } = await foreign(
      'ID bigint auto_increment primary key, entity varchar(64) not null, Timestamp datetime(6) not null, type int not null, Metadata blob, Trace varchar(9)',
    )
    const named = mysqlEvents(database.pool, { columns: { foreignId: 'ENTITY' } })
    await named.insert(await database.connect(), { type: 1, foreignId: 'a', metadata: Buffer.from('x') })
    expect(await all(named)).toMatchObject([{ id: '1', foreignId: 'a', metadata: Buffer.from('x') }])
    const error = await errorOf(events.source.stream('', {}))
    expect(codeOf(error)).toBe('OPTION_INVALID')
    expect(String(error)).toMatch(/no column foreign_id: name its columns with the option columns/)
  })

  test('are refused if they are no plain identifiers, unknown, or given twice', async () => {
    const { pool } = await testDatabase()
    for (const [columns, message] of [
      [{ id: 'a b' }, 'a column name must be letters'],
      [{ type: '' }, 'a column name must be letters'],
      [{ payload: 'metadata' } as Partial<EventColumns>, 'found payload'],
      [{ type: 'kind', metadata: 'KIND' }, 'type and metadata are both'],
    ] as const) {
      expect(() => mysqlEvents(pool, { columns })).toThrow(message)
    }
  })
})

describe('a table that is shared with a service in Go', () => {
  test('has integer or text foreign ids, and ids beyond 2^53', async () => {
    for (const [type, ids] of [
      ['int', ['0', '-7', '2147483647']],
      ['int unsigned', ['4294967295']],
      ['tinyint', ['-128']],
      ['bigint', ['9007199254740993', '-9223372036854775808']],
      ['bigint unsigned', ['18446744073709551615']],
      ['varchar(40)', ['9007199254740993', 'ключ', '', ' 7']],
      ['text', ['012', 'x'.repeat(300)]],
    ] as const) {
      const { database, events } = await foreign(
        `id bigint unsigned not null auto_increment primary key, foreign_id ${type} not null, timestamp datetime not null, type int not null`,
      )
      await database.sql('alter table events auto_increment = 9007199254740993')
      for (const id of ids)
        await database.sql('insert into events set foreign_id = ?, timestamp = now(), type = 1', [id])
      const { ids: inserted } = await events.insert(
        await database.connect(),
        ...ids.map((foreignId) => ({ type: 2, foreignId })),
      )
      const found = await all(events)
      expect(found.map(({ foreignId }) => foreignId)).toEqual([...ids, ...ids])
      expect(found[0]?.id).toBe('9007199254740993')
      expect(found.slice(ids.length).map(({ id }) => id)).toEqual(inserted)
    }
  })

  test('has small ids, types as bigint, and foreign ids that are refused where they would be changed', async () => {
    const { database, events } = await foreign(
      'id int unsigned not null auto_increment primary key, foreign_id bigint not null, timestamp datetime(3) not null, type bigint not null, metadata blob',
    )
    const connection = await database.connect()
    for (const foreignId of ['007', '1.5', ' 7', '7 ', '1e3', 'x', '', '-0', '+1']) {
      const error = await errorOf(events.insert(connection, { type: 1, foreignId }))
      expect([codeOf(error), String(error).includes('integer')]).toEqual(['EVENT_UNENCODABLE', true])
    }
    expect(codeOf(await errorOf(events.insert(connection, { type: 1, foreignId: '9'.repeat(19) })))).toBe(
      'EVENT_UNENCODABLE',
    )
    await events.insert(connection, { type: -5, foreignId: '7' })
    await database.sql(
      "insert into events set foreign_id = 8, timestamp = '2026-01-02 03:04:05.678', type = 4294967296",
    )
    const stream = await open(events, '', false)
    expect(await stream.take(1)).toMatchObject([{ id: '1', type: -5, foreignId: '7' }])
    expect(await errorOf(stream.take(1))).toMatchObject({ code: 'EVENT_UNDECODABLE', position: '2' })
  })

  test('has a payload of any type, and null is not empty', async () => {
    for (const [type, exact] of [
      ['tinyblob', true],
      ['varbinary(255)', true],
      ['longtext character set utf8mb4', true],
      ['varchar(255) character set utf8mb4', true],
      ['json', false],
    ] as const) {
      const { database, events } = await foreign(
        `id bigint not null auto_increment primary key, foreign_id bigint not null, timestamp datetime(6) not null, type int not null, metadata ${type} null`,
      )
      const payloads = ['{"a": 1, "ключ": "🪵"}', ...(exact ? [''] : []), '[]']
      for (const each of payloads)
        await database.sql('insert into events set foreign_id = 1, timestamp = now(6), type = 1, metadata = ?', [each])
      await database.sql('insert into events set foreign_id = 1, timestamp = now(6), type = 1, metadata = null')
      const connection = await database.connect()
      const metadata = [...payloads.map((each) => Buffer.from(each)), null]
      await events.insert(connection, ...metadata.map((each) => ({ type: 1, foreignId: '1', metadata: each })))
      await events.insert(connection, { type: 1, foreignId: '1' })
      const found = (await all(events)).map((event) => event.metadata && Buffer.from(event.metadata).toString())
      expect(found.map((each) => (each && !exact ? JSON.stringify(JSON.parse(each)) : each))).toEqual(
        [...payloads, null, ...payloads, null, null].map((each) =>
          each && !exact ? JSON.stringify(JSON.parse(each)) : each,
        ),
      )
    }
  })

  test('refuses a payload that its column would change', async () => {
    for (const [type, metadata] of [
      ['longtext character set utf8mb4', Buffer.from([0xff, 0xfe])],
      ['longtext character set latin1', Buffer.from('ключ')],
      ['json', Buffer.from('{')],
      ['tinyblob', Buffer.alloc(256)],
      ['blob not null', null],
    ] as const) {
      const { database, events } = await foreign(
        `id bigint not null auto_increment primary key, foreign_id bigint not null, timestamp datetime(6) not null, type int not null, metadata ${type}`,
      )
      const connection = await database.connect()
      await connection.query("set sql_mode = ''")
      const error = await errorOf(events.insert(connection, { type: 1, foreignId: '1', metadata }))
      expect(codeOf(error), `${type}: ${error}`).toBe('EVENT_UNENCODABLE')
      expect(await database.sql('select * from events')).toEqual([])
    }
  })

  test('has datetime or timestamp with any fraction, in UTC', async () => {
    const at = Date.parse('2026-07-02T03:04:05Z')
    for (const [type, fraction] of [
      ['datetime(6)', 678.912],
      ['datetime(3)', 678],
      ['datetime', 0],
      ['timestamp(6)', 678.912],
      ['timestamp(3)', 678],
      ['timestamp', 0],
    ] as const) {
      const { database, events } = await foreign(
        `id bigint not null auto_increment primary key, foreign_id bigint not null, timestamp ${type} not null, type int not null`,
      )
      const connection = await database.connect()
      await connection.query("set time_zone = '-03:30', sql_mode = ''")
      const before = Date.now()
      await events.insert(connection, { type: 1, foreignId: '1', timestamp: at + 678.912 }, { type: 1, foreignId: '1' })
      const [given, now] = await all(events)
      expect([type, given?.timestamp]).toEqual([type, at + fraction])
      expect(now?.timestamp).toBeGreaterThan(before - 2000)
      expect(now?.timestamp).toBeLessThan(Date.now() + 1000)
      expect(await events.source.at?.(at + 1000)).toBe('1')
    }
  })

  test('ends a stream at a date that is none', async () => {
    const { database, events } = await foreign(
      'id bigint not null auto_increment primary key, foreign_id bigint not null, timestamp datetime null, type int not null',
    )
    await database.sql("set session sql_mode = ''")
    for (const timestamp of ["'0000-00-00'", 'null']) {
      await database.sql(`insert into events set foreign_id = 1, timestamp = ${timestamp}, type = 1`)
      expect(await errorOf(all(events))).toMatchObject({ code: 'EVENT_UNDECODABLE' })
      await database.sql('delete from events')
    }
  })
})

test('any event comes back as it was, whatever the names of the columns and the types are', async () => {
  const database = await testDatabase()
  const connection = await database.connect()
  const text = fc.string({ unit: 'binary', maxLength: 60 })
  const event: fc.Arbitrary<NewEvent> = fc
    .record({
      type: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      foreignId: text,
      timestamp: fc
        .tuple(fc.integer({ min: 0, max: 4e12 }), fc.integer({ min: 0, max: 999 }))
        .map(([ms, micros]) => (ms * 1000 + micros) / 1000),
      metadata: fc.option(fc.uint8Array({ maxLength: 300 }).map((each) => Buffer.from(each))),
      headers: fc.dictionary(text, fc.oneof(text, fc.array(text))),
    })
    .filter(({ type, foreignId }) => type !== 0 || foreignId !== '0')
  let made = 0
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        named: fc.boolean(),
        id: fc.constantFrom('bigint', 'int unsigned', 'bigint unsigned'),
        foreignId: fc.constantFrom(
          'varchar(255) collate utf8mb4_bin',
          'text',
          'varchar(120) collate utf8mb4_general_ci',
        ),
        type: fc.constantFrom('int', 'bigint'),
        metadata: fc.constantFrom('blob', 'longblob', 'varbinary(400)'),
        headers: fc.constantFrom('longtext', 'mediumtext', 'longblob'),
      }),
      fc.array(event, { minLength: 1, maxLength: 8 }),
      async ({ named, ...types }, given) => {
        const table = `events_${made++}`
        const columns = named ? NAMES : undefined
        const of = eventColumns(columns)
        await database.sql(
          `create table ${table} (\`${of.id}\` ${types.id} not null auto_increment primary key,
          \`${of.headers}\` ${types.headers} character set utf8mb4 null, \`${of.metadata}\` ${types.metadata} null,
          \`${of.type}\` ${types.type} not null, \`${of.timestamp}\` datetime(6) not null,
          \`${of.foreignId}\` ${types.foreignId.replace(' ', ' character set utf8mb4 ')} not null) character set utf8mb4`.replace(
            'longblob character set utf8mb4',
            'longblob',
          ),
        )
        const events = mysqlEvents(database.pool, { table, ...(columns === undefined ? {} : { columns }) })
        const { ids } = await events.insert(connection, ...given)
        expect(await all(events)).toEqual(given.map((each, i) => ({ ...each, id: ids[i] })))
        await database.sql(`drop table ${table}`)
      },
    ),
    {
      numRuns: 25,
      // A time that a minute and a fraction do not add up to, when each is rounded.
      examples: [
        [
          { named: false, id: 'bigint', foreignId: 'text', type: 'int', metadata: 'blob', headers: 'longtext' },
          [{ type: 1, foreignId: 'a', timestamp: 61314.554, metadata: null, headers: {} }],
        ],
      ],
    },
  )
})

describe('a server with odd defaults', () => {
  let server: Server | undefined
  const start = async (): Promise<Server> => {
    server = await startServer('mysql', { from: ['docker', 'native'] })
    onTestFinished(async () => server?.[Symbol.asyncDispose]())
    return server
  }

  test('is read like every other: time zone, sql_mode, collation and isolation are ours', async () => {
    const database = await testDatabase(await start())
    const variables =
      "time_zone = '+09:00', sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH,ONLY_FULL_GROUP_BY', character_set_server = latin1, collation_server = latin1_german2_ci"
    for (const each of variables.split(/, (?=\w+ =)/)) await database.sql(`set global ${each}`)
    await database.sql('set global transaction isolation level serializable')
    for (const flags of [[], ['-FOUND_ROWS']]) {
      const table = `events_${flags.length}`
      const events = mysqlEvents(database.poolOf({ flags }), { table })
      await events.createTable()
      const timestamp = Date.parse('2026-01-02T03:04:05.678912Z') + 0.912
      const event = {
        type: 1,
        foreignId: `ключ' "\\ `,
        timestamp,
        metadata: Buffer.from("\\'"),
        headers: { ö: `'"\\` },
      }
      const connection = await database.poolOf({ flags }).getConnection()
      await events.insert(connection, event)
      connection.release()
      expect(await all(events)).toEqual([{ ...event, id: '1' }])
      expect(await events.source.at?.(timestamp + 1)).toBe('1')
      expect(await events.source.at?.(timestamp)).toBe('0')
    }
  })
})

import fc from 'fast-check'
import { createPool as createCallbackPool } from 'mysql2'
import { describe, expect, inject, onTestFinished, test } from 'vitest'
import { type MysqlEvents, type MysqlEventsOptions, mysqlEvents, mysqlOptions } from '../../src/adapters/mysql/index.ts'
import { defineEvents } from '../../src/core/define-events.ts'
import { codeOf } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import { codec, json, none } from '../../src/core/payload.ts'
import { numbered } from '../tools/numbered.ts'
import { errorOf, type Reader, reader, within } from '../tools/reader.ts'
import { type Database, testDatabase } from './database.ts'

async function table(options: MysqlEventsOptions = {}): Promise<{ database: Database; events: MysqlEvents }> {
  const database = await testDatabase()
  const events = mysqlEvents(database.pool, options)
  await events.createTable()
  return { database, events }
}

/** A table with these columns besides the four that each has. */
async function tableWith(columns: string): Promise<{ database: Database; events: MysqlEvents }> {
  const database = await testDatabase()
  await database.sql(
    `create table events (id bigint auto_increment primary key, foreign_id varchar(255) not null, timestamp datetime(6) not null, type int not null${columns}) character set utf8mb4`,
  )
  return { database, events: mysqlEvents(database.pool) }
}

async function open({ source }: MysqlEvents, toHead: boolean): Promise<Reader> {
  const opened = reader(await source.stream('', { toHead }))
  onTestFinished(() => opened[Symbol.asyncDispose]())
  return opened
}

const all = async (events: MysqlEvents): Promise<Event[]> => (await open(events, true)).rest()

describe('in the session of the caller', () => {
  test('inserts what was given, whatever the settings are, and leaves them as they were', async () => {
    const { database, events } = await table()
    await database.sql(`create table go_events (id int auto_increment primary key, foreign_id int not null,
      timestamp timestamp(6) not null, type int not null, metadata json null, headers text character set utf8mb4 null)`)
    const go = mysqlEvents(database.pool, { table: 'go_events' })
    const modes = ['ANSI', 'NO_BACKSLASH_ESCAPES', 'NO_AUTO_VALUE_ON_ZERO', 'PAD_CHAR_TO_FULL_LENGTH', 'IGNORE_SPACE']
    const session = fc.record({
      time_zone: fc.constantFrom('+00:00', '-11:30', '+13:00', 'SYSTEM'),
      sql_mode: fc.subarray([...modes, 'HIGH_NOT_PRECEDENCE', 'NO_ZERO_DATE', 'ALLOW_INVALID_DATES']).map(String),
      names: fc.constantFrom('utf8mb4', 'latin1', 'binary', 'cp1251', 'sjis'),
      transaction_isolation: fc.constantFrom('READ-UNCOMMITTED', 'READ-COMMITTED', 'REPEATABLE-READ', 'SERIALIZABLE'),
      autocommit: fc.constantFrom('0', '1'),
      sql_quote_show_create: fc.constantFrom('0', '1'),
    })
    const plain = {
      time_zone: '+00:00',
      sql_mode: '',
      transaction_isolation: 'REPEATABLE-READ',
      autocommit: '1',
      sql_quote_show_create: '1',
    }
    await fc.assert(
      fc.asyncProperty(session, async ({ names, transaction_isolation, ...settings }) => {
        const connection = await database.connect()
        for (const [name, value] of Object.entries({
          ...settings,
          [database.mariadb ? 'tx_isolation' : 'transaction_isolation']: transaction_isolation,
        })) {
          await connection.query(`set session ${name} = ${/^\d$/.test(value) ? value : `'${value}'`}`)
        }
        await connection.query(`set names ${names}`)
        const state = async (): Promise<unknown> =>
          (await connection.query('select @@time_zone, @@sql_mode, @@character_set_client, @@autocommit'))[0]
        const before = await state()
        const text = `a'"\\ ключ 🪵`
        const timestamp = Date.parse('2026-03-29T01:30:00.123Z') + 0.456
        const event = {
          type: -1,
          foreignId: text,
          timestamp,
          metadata: Buffer.from(text),
          headers: { [text]: [text, ''] },
        }
        const goEvent = {
          ...event,
          foreignId: '-7',
          metadata: Buffer.from(JSON.stringify({ text })),
          headers: { text },
        }
        const sent = Date.now()
        const { ids } = await events.insert(connection, event, { type: 1, foreignId: '' })
        const { ids: goIds } = await go.insert(connection, goEvent, { type: 1, foreignId: '0' })
        expect(await state()).toEqual(before)
        await connection.query('commit')
        connection.destroy()
        const found = async (of: MysqlEvents, some: readonly string[]): Promise<Event[]> => {
          await using stream = reader(await of.source.stream(String(Number(some[0]) - 1), { toHead: true }))
          return await stream.rest()
        }
        const [first, now] = await found(events, ids)
        expect(first).toEqual({ ...event, id: ids[0] })
        const [goFirst, goNow] = await found(go, goIds)
        expect({ ...goFirst, metadata: JSON.parse(String(goFirst?.metadata)) }).toEqual({
          ...goEvent,
          id: goIds[0],
          metadata: { text },
        })
        for (const each of [now, goNow]) {
          expect(each?.timestamp).toBeGreaterThan(sent - 1000)
          expect(each?.timestamp).toBeLessThan(Date.now() + 1000)
        }
      }),
      { numRuns: 20, examples: ['binary', 'sjis'].map((names) => [{ ...plain, names }]) },
    )
  })

  test('cuts nothing off where the session would', async () => {
    const { database, events } = await table()
    await database.sql('alter table events modify foreign_id tinytext, modify metadata tinyblob, modify type tinyint')
    const connection = await database.connect()
    await connection.query("set sql_mode = ''")
    for (const event of [
      { type: 1, foreignId: 'x'.repeat(256) },
      { type: 1, foreignId: 'a', metadata: Buffer.alloc(256) },
      { type: 128, foreignId: 'a' },
    ]) {
      const error = await errorOf(events.insert(connection, { type: 1, foreignId: 'before' }, event))
      expect(error).toMatchObject({ code: 'EVENT_UNENCODABLE', retriable: false })
      expect(String(error)).toContain('check()')
    }
    expect(await database.sql('select * from events')).toEqual([])
  })

  test('does not begin the snapshot of its transaction', async () => {
    const { database, events } = await table()
    await database.sql('create table stock (item int primary key)')
    const connection = await database.connect()
    await connection.query('set session transaction isolation level repeatable read')
    for (let item = 1; item <= 2; item++) {
      await connection.beginTransaction()
      await mysqlEvents(database.pool).insert(connection, { type: 1, foreignId: 'a' }) // one that has not looked yet
      await database.sql(`insert into stock values (${item})`)
      expect((await connection.query('select item from stock'))[0]).toHaveLength(item)
      await connection.commit()
    }
    expect(await all(events)).toHaveLength(2)
  })

  test('ends with a savepoint, and with an XA transaction', async () => {
    const { database, events } = await table()
    const connection = await database.connect()
    await connection.beginTransaction()
    await events.insert(connection, { type: 1, foreignId: 'kept' })
    await connection.query('savepoint here')
    await events.insert(connection, ...numbered(3))
    await connection.query('rollback to savepoint here')
    await connection.commit()
    await connection.query(`xa start '${database.name}'`)
    await events.insert(connection, { type: 1, foreignId: 'xa' })
    for (const step of ['end', 'prepare', 'commit']) await connection.query(`xa ${step} '${database.name}'`)
    expect((await all(events)).map(({ foreignId }) => foreignId)).toEqual(['kept', 'xa'])
  })

  test('needs no privilege but INSERT, and that on the columns only', async () => {
    const { database, events } = await table()
    for (const privilege of ['insert', 'insert (foreign_id, timestamp, type, metadata, headers)']) {
      const { user, quoted } = await database.account()
      await database.sql(`grant ${privilege} on ${database.name}.events to ${quoted}`)
      const writer = mysqlEvents(database.poolOf({ user }))
      expect(await writer.append({ type: 1, foreignId: privilege, headers: { a: 'b' } })).toHaveLength(1)
    }
    expect(await all(events)).toMatchObject([{ headers: { a: 'b' } }, { headers: { a: 'b' } }])
    const { user } = await database.account()
    expect(codeOf(await errorOf(mysqlEvents(database.poolOf({ user })).append(...numbered(1))))).toBe('MYSQL_DENIED')
  })

  test('sees a table that was altered', async () => {
    const { database, events } = await tableWith('')
    const connection = await database.connect()
    const event = { type: 1, foreignId: 'a', metadata: Buffer.from('a') }
    expect(codeOf(await errorOf(events.insert(connection, event)))).toBe('TABLE_LAYOUT')
    await database.sql('alter table events add column metadata blob')
    await events.insert(connection, event)
    await database.sql('alter table events drop column metadata')
    expect(codeOf(await errorOf(events.insert(connection, event)))).toBe('TABLE_LAYOUT')
    await events.insert(connection, { type: 1, foreignId: 'b' })
    expect((await all(events)).map(({ foreignId }) => foreignId)).toEqual(['a', 'b'])
  })
})

describe('the wake-up', () => {
  test('that insert returns reaches a stream that waits at the head, and so does append', async () => {
    const { database, events } = await table({ pollMs: { min: 60_000, max: 60_000 } })
    const connection = await database.connect()
    const stream = await open(events, false)
    for (const foreignId of ['a', 'b', 'c']) {
      const waiting = stream.take(1)
      await connection.beginTransaction()
      const { wake } = await events.insert(connection, { type: 1, foreignId })
      await connection.commit()
      wake()
      expect(await within(waiting, 5000, 'being woken')).toMatchObject([{ foreignId }])
    }
    const waiting = stream.take(1)
    await events.append({ type: 1, foreignId: 'd' })
    expect(await within(waiting, 5000, 'being woken')).toMatchObject([{ foreignId: 'd' }])
  })
})

describe('a pool', () => {
  test('is refused, with the reason and with what to do', async () => {
    const { database, events } = await table()
    const { host, port } = inject('servers').mysql
    const callbacks = createCallbackPool({ ...mysqlOptions, host, port, user: 'root', database: database.name })
    onTestFinished(() => callbacks.promise().end())
    for (const pool of [database.pool, database.pool.pool, callbacks, callbacks.promise()]) {
      const error = await errorOf(events.insert(pool as never, { type: 1, foreignId: 'a' }))
      expect(codeOf(error)).toBe('OPTION_INVALID')
      expect(String(error)).toMatch(/pool: each of its queries may run on another connection.*getConnection.*append/)
    }
    expect(await database.sql('select * from events')).toEqual([])
  })

  test('is what append uses: all events or none, on one connection that goes back', async () => {
    const { database } = await table()
    const pool = database.poolOf({ connectionLimit: 1 })
    const events = mysqlEvents(pool)
    await database.sql("alter table events add constraint no_x check (foreign_id <> 'x')")
    const tooLate = [...numbered(1100), { type: 1, foreignId: 'x' }]
    expect(codeOf(await errorOf(events.append(...tooLate)))).toBe('EVENT_UNENCODABLE')
    expect(await database.sql('select * from events')).toEqual([])
    const ids = await events.append(...numbered(1100))
    expect(await database.sql('select id, foreign_id from events order by id')).toEqual(
      ids.map((id, i) => [id, `e${i}`]),
    )
    expect(await events.append()).toEqual([])
  })
})

test('the no-op of luno/reflex is refused, and nothing else that looks like it', async () => {
  const { database, events } = await table()
  const connection = await database.connect()
  const error = await errorOf(events.insert(connection, ...numbered(1), { type: 0, foreignId: '0' }))
  expect(error).toMatchObject({ code: 'EVENT_UNENCODABLE', retriable: false })
  expect(await database.sql('select * from events')).toEqual([])
  const near = [
    { type: 0, foreignId: '00' },
    { type: 0, foreignId: '' },
    { type: 1, foreignId: '0' },
  ]
  await events.insert(connection, ...near)
  expect(await all(events)).toMatchObject(near)
})

describe('the trace context', () => {
  const ids = ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7'] as const
  const traceparent = `00-${ids.join('-')}-01`
  /** As Go's library writes `Trace { string trace_id = 1; string span_id = 2 }`. */
  const go = Buffer.concat([
    Buffer.from([10, 32]),
    Buffer.from(ids[0], 'latin1'),
    Buffer.from([18, 16]),
    Buffer.from(ids[1], 'latin1'),
  ])

  test('stands in the headers, and in a column trace as luno/reflex writes it', async () => {
    const { database, events } = await tableWith(', headers text, trace blob')
    const headers = { traceparent, tracestate: 'a=1', other: 'x' }
    await events.insert(await database.connect(), { type: 1, foreignId: 'a', headers }, { type: 1, foreignId: 'b' })
    expect(await database.sql('select trace from events')).toEqual([[go], [null]])
    expect(await all(events)).toMatchObject([{ headers }, { headers: {} }])
  })

  test('comes back from a column trace alone, with its flags', async () => {
    const { database, events } = await tableWith(', trace varbinary(100)')
    const connection = await database.connect()
    const flags = ['00', '01', '7f', '80', 'ff', '03']
    const given = flags.map((each) => ({
      type: 1,
      foreignId: 'a',
      headers: { traceparent: `00-${ids.join('-')}-${each}` },
    }))
    await events.insert(connection, ...given)
    expect(await all(events)).toMatchObject(given)
    for (const headers of [
      { traceparent, other: 'x' },
      { traceparent: 'of another version' },
      { traceparent: [traceparent, traceparent] },
    ]) {
      expect(codeOf(await errorOf(events.insert(connection, { type: 1, foreignId: 'a', headers })))).toBe(
        'TABLE_LAYOUT',
      )
    }
  })

  test('is read where Go has written it, and what is none is left alone', async () => {
    const { database, events } = await tableWith(', headers text, trace blob')
    const row = "insert into events set foreign_id = 'a', timestamp = now(6), type = 1, trace ="
    for (const trace of [
      `x'${go.toString('hex')}'`,
      `x'${go.toString('hex')}', headers = '{"traceparent":"own"}'`,
      "''",
      "x'0a01ff'",
      `x'${go.subarray(0, 40).toString('hex')}'`,
      `repeat('x', 60)`,
    ]) {
      await database.sql(`${row} ${trace}`)
    }
    const found = (await all(events)).map(({ headers }) => headers)
    expect(found).toEqual([{ traceparent }, { traceparent: 'own' }, {}, {}, {}, {}])
  })

  test('leaves a column of that name alone that is not of bytes', async () => {
    for (const type of ['int', "varchar(10) default 'own'"]) {
      const { database, events } = await tableWith(`, headers text, trace ${type}`)
      await events.insert(await database.connect(), { type: 1, foreignId: 'a', headers: { traceparent } })
      expect(await all(events)).toMatchObject([{ headers: { traceparent } }])
    }
  })
})

/** `message Order { string customer = 1; uint32 total = 2; }`, below 128, as a generator's codec does it. */
const order = codec<{ customer: string; total: number }, { customer: string; total: number }>({
  encode: ({ customer, total }) => {
    const text = Buffer.from(customer)
    return Buffer.concat([Buffer.from([10, text.length]), text, Buffer.from([16, total])])
  },
  decode: (bytes) => {
    const [tag, length = 0] = bytes
    if (tag !== 10) throw new TypeError(`expected the field customer, but found tag ${tag}`)
    return { customer: Buffer.from(bytes.subarray(2, 2 + length)).toString(), total: bytes[3 + length] ?? 0 }
  },
})

test('typed events are inserted and handled, Protobuf included', async () => {
  const { database, events } = await table()
  const orders = defineEvents({
    placed: { type: 1, payload: order },
    noted: { type: 2, payload: json<{ text: string }>() },
    cancelled: { type: 3, payload: none },
  })
  const connection = await database.connect()
  await connection.beginTransaction()
  await events.insert(
    connection,
    await orders.create('placed', { foreignId: '7', data: { customer: 'Жук', total: 12 }, headers: { a: 'b' } }),
    await orders.create('noted', { foreignId: '7', data: { text: 'ü' } }),
    await orders.create('cancelled', { foreignId: '7', data: undefined }),
    { type: 1, foreignId: '8', metadata: Buffer.from('x') },
  )
  await connection.commit()
  expect((await database.sql('select hex(metadata) from events limit 1'))[0]).toEqual(['0A06D096D183D0BA100C'])
  const handled: unknown[] = []
  const { handle, types } = orders.handlers({
    placed: (data, { foreignId, headers }) => void handled.push([foreignId, data, headers]),
    noted: (data) => void handled.push(data),
    cancelled: (data) => void handled.push(data),
  })
  const found = await all(events)
  expect([...types]).toEqual([1, 2, 3])
  const context = { signal: new AbortController().signal }
  for (const event of found.slice(0, 3)) await handle(event, context)
  expect(handled).toEqual([['7', { customer: 'Жук', total: 12 }, { a: 'b' }], { text: 'ü' }, undefined])
  const error = await errorOf((async () => handle(found[3] as Event, context))())
  expect(error).toMatchObject({ code: 'PAYLOAD_INVALID', retriable: false })
})

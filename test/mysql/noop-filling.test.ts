import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection } from 'mysql2/promise'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type MysqlEvents, type MysqlEventsOptions, mysqlCursors, mysqlEvents } from '../../src/adapters/mysql/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import type { StreamOptions } from '../../src/core/stream.ts'
import { type Server, startServer } from '../../src/testing/servers/index.ts'
import { errorOf, eventually, reader } from '../tools/reader.ts'
import { type Database, testDatabase } from './database.ts'

const older = process.env['REFLEX_BRIDGE_SERVERS'] === 'older'
const ROW = "('x', utc_timestamp(6), 1)"
const INTO = 'insert into events (foreign_id, timestamp, type)'
const NOOP = ['0', 0]

let server: Server
beforeAll(async () => {
  server = await startServer('mysql', { from: ['docker', 'native'] })
})
afterAll(() => server[Symbol.asyncDispose]())

/** A table that is filled, by an account with a proof or by one that can have none. */
async function table(
  privileges: 'proof' | 'no proof' | 'no insert',
  options: MysqlEventsOptions = {},
): Promise<{
  readonly database: Database
  readonly events: MysqlEvents
  readonly first: Connection
  readonly second: Connection
}> {
  const database = await testDatabase(server)
  await mysqlEvents(database.pool).createTable()
  const [first, second] = [await database.connect(), await database.connect()]
  let user = 'root'
  if (privileges !== 'proof') {
    const account = await database.account()
    user = account.user
    const dml = privileges === 'no insert' ? 'select' : 'select, insert'
    await database.sql(`grant ${dml} on ${database.name}.* to ${account.quoted}`)
    await database.sql(`grant ${older ? 'slave monitor' : 'replication client'} on *.* to ${account.quoted}`)
  }
  const events = mysqlEvents(database.poolOf({ user }), { gaps: 'fill', fillAfterMs: 0, ...options })
  return { database, events, first, second }
}

async function rollBack(connection: Connection, rows = ROW): Promise<void> {
  await connection.beginTransaction()
  await connection.query(`${INTO} values ${rows}`)
  await connection.rollback()
}

/** All rows of the table: id, foreign id and type. */
const rowsOf = async ({ sql }: Database): Promise<unknown[][]> =>
  (await sql('select id, foreign_id, type from events order by id')).map(([id, foreignId, type]) => [
    Number(id),
    foreignId,
    type,
  ])

async function idsRead(
  { source }: MysqlEvents,
  after = '',
  options: StreamOptions = { toHead: true },
): Promise<string[]> {
  await using stream = reader(await source.stream(after, options), after)
  return (await stream.rest()).map(({ id }) => id)
}

async function whileSlow(database: Database, work: () => Promise<unknown>): Promise<void> {
  const sleeping = `select count(*) from information_schema.processlist where db = '${database.name}' and state = 'User sleep'`
  await eventually(
    async () => Number((await database.sql(sleeping))[0]?.[0]) > 0,
    10_000,
    'an INSERT in its second row',
  )
  await work()
}

const SLOWLY = `${INTO} values ${ROW}, (concat('slow', sleep(1)), utc_timestamp(6), 1), ${ROW}`

describe.each(['proof', 'no proof'] as const)('filling with %s', (privileges) => {
  test('puts no-ops in the place of ids that were rolled back, never at the tail, and hands none on', async () => {
    const { database, events, first, second } = await table(privileges)
    expect((await events.check()).proof).toBe(
      privileges === 'proof' ? (older ? 'barrier' : 'metadata-locks') : 'filling',
    )
    await second.query(`${INTO} values ${ROW}`)
    await rollBack(first, `${ROW}, ${ROW}`)
    await second.query(`${INTO} values ${ROW}`)
    await rollBack(first)
    expect(await idsRead(events)).toEqual(['1', '4'])
    expect(await rowsOf(database)).toEqual([
      [1, 'x', 1],
      [2, ...NOOP],
      [3, ...NOOP],
      [4, 'x', 1],
    ])
    const [[age, metadata] = []] = await database.sql(
      'select abs(timestampdiff(second, timestamp, utc_timestamp())), metadata from events where id = 2',
    )
    expect([Number(age) < 60, metadata]).toEqual([true, null])
    await second.query(`${INTO} values ${ROW}`)
    expect(await idsRead(events, '4')).toEqual(['6'])
    expect((await rowsOf(database)).at(-2)).toEqual([5, ...NOOP])
  })

  test('waits for an id that a transaction has inserted, and reads what it commits', async () => {
    const { database, events, first, second } = await table(privileges)
    await second.query(`${INTO} values ${ROW}`)
    await first.beginTransaction()
    await first.query(`${INTO} values ${ROW}, ${ROW}`)
    await second.query(`${INTO} values ${ROW}`)
    await using stream = reader(await events.source.stream('', {}))
    expect((await stream.take(1)).map(({ id }) => id)).toEqual(['1'])
    const read = stream.take(3)
    for (let look = 0; look < 30; look++) expect(await rowsOf(database)).toHaveLength(2)
    await first.commit()
    expect((await read).map(({ id, foreignId }) => [id, foreignId])).toEqual([
      ['2', 'x'],
      ['3', 'x'],
      ['4', 'x'],
    ])
  })

  test('fills thousands of ids, around rows that are there, by several readers at once', async () => {
    const { database, events, first, second } = await table(privileges)
    await second.query(`${INTO} values ${ROW}`)
    for (let gap = 0; gap < 3; gap++) {
      await rollBack(first, Array.from({ length: 1500 }, () => ROW).join(', '))
      await second.query(`${INTO} values ${ROW}`)
    }
    const committed = ['1', '1502', '3003', '4504']
    const all = await Promise.all([idsRead(events), idsRead(events), idsRead(events)])
    expect(all).toEqual([committed, committed, committed])
    const [[rows, newest] = []] = await database.sql('select count(*), max(id) from events')
    expect([Number(rows), Number(newest)]).toEqual([4504, 4504])
  })

  test('leaves alone what a Go service has filled', async () => {
    const { database, events, first, second } = await table(privileges)
    await second.query(`${INTO} values ${ROW}`)
    await rollBack(first, `${ROW}, ${ROW}`)
    await second.query(`${INTO} values ${ROW}`)
    await database.sql("insert into events set id = 2, foreign_id = 0, timestamp = '2026-01-02', type = 0")
    expect(await idsRead(events)).toEqual(['1', '4'])
    expect(await rowsOf(database)).toHaveLength(4)
    expect(await database.sql('select date(timestamp) from events where id = 2')).toEqual([['2026-01-02']])
  })

  test('leaves alone what was purged', async () => {
    const { database, events, first, second } = await table(privileges)
    for (let i = 0; i < 5; i++) await second.query(`${INTO} values ${ROW}`)
    const cursors = mysqlCursors(database.pool)
    await cursors.createTable()
    await cursors.set('slow', '2', '')
    await cursors.set('fast', '5', '')
    await rollBack(first)
    await second.query(`${INTO} values ${ROW}`)
    await mysqlEvents(database.pool).purge({ cursors })
    await cursors.set('slow', '5', '2')
    await mysqlEvents(database.pool).purge({ cursors })
    const left = await rowsOf(database)
    await idsRead(events)
    expect(await rowsOf(database)).toEqual([...left.slice(0, -1), [6, ...NOOP], left.at(-1)])
  })
})

describe('an INSERT that is slow to use its ids', () => {
  test('fails with error 1062 where they are filled without a proof: the risk of it', async () => {
    const { database, events, first, second } = await table('no proof')
    await second.query(`${INTO} values ${ROW}`)
    const failing = errorOf(first.query(SLOWLY))
    await whileSlow(database, () => second.query(`${INTO} values ${ROW}`))
    const read = await idsRead(events)
    expect(await failing).toMatchObject({ errno: 1062 })
    expect(read).toEqual(['1', '5'])
  })

  test('lives where it ends within fillAfterMs', async () => {
    const { database, events, first, second } = await table('no proof', { fillAfterMs: 30_000 })
    await second.query(`${INTO} values ${ROW}`)
    const slow = first.query(SLOWLY)
    await whileSlow(database, () => second.query(`${INTO} values ${ROW}`))
    expect(await idsRead(events)).toEqual(['1', '2', '3', '4', '5'])
    await slow
  })

  test('lives where its ids are proven first', async () => {
    const { database, events, first, second } = await table('proof')
    await second.query(`${INTO} values ${ROW}`)
    await rollBack(first)
    const slow = first.query(SLOWLY)
    await whileSlow(database, () => second.query(`${INTO} values ${ROW}`))
    expect(await idsRead(events)).toEqual(['1', '3', '4', '5', '6'])
    await slow
    expect((await rowsOf(database))[1]).toEqual([2, ...NOOP])
  })
})

test('no-ops of Go services are never handed on, whatever the option, and move the position', async () => {
  const { database, events, second } = await table('proof', { gaps: 'pass', fillAfterMs: undefined as never })
  await second.query(`${INTO} values ${ROW}`)
  await database.sql('insert into events set foreign_id = 0, timestamp = now(), type = 0')
  for (const types of [undefined, [0]]) {
    await using stream = reader(await events.source.stream('1', { toHead: true, ...(types && { types }) }), '1')
    expect(await stream.rest()).toEqual([])
    expect(stream.cursor).toBe('2')
  }
  await database.sql("insert into events set foreign_id = '00', timestamp = now(), type = 0")
  expect(await idsRead(events)).toEqual(['1', '3'])
})

test('a table of Go services, with ids and columns of its own, is filled as it is', async () => {
  const database = await testDatabase(server)
  await database.sql(
    'create table shop_events (id bigint not null auto_increment, foreign_id bigint not null, timestamp datetime not null, type int not null, metadata blob not null, shard int not null default 3, note text, primary key (id))',
  )
  const into = 'insert into shop_events (foreign_id, timestamp, type, metadata) values'
  const connection = await database.connect()
  await connection.query(`${into} (7, now(), 1, 'a')`)
  await connection.query(`${into} (7, now(), 1, 'a')`)
  await connection.query(`${into} (7, now(), 1, 'a')`)
  await database.sql('delete from shop_events where id = 2')
  const events = mysqlEvents(database.pool, { table: 'shop_events', gaps: 'fill' })
  expect(await idsRead(events)).toEqual(['1', '3'])
  expect(
    await database.sql('select foreign_id, type, length(metadata), shard, note from shop_events where id = 2'),
  ).toEqual([['0', 0, expect.anything(), 3, null]])
})

describe('what cannot be filled is refused', () => {
  test('without INSERT, with the statement that grants it', async () => {
    const { database, events } = await table('no insert')
    const error = await errorOf(events.source.stream('', {}))
    expect(error).toMatchObject({ code: 'GAP_PROOF_UNAVAILABLE', retriable: false })
    const { proof, grants } = await events.check()
    expect([proof, grants.length]).toEqual([undefined, 1])
    await database.sql(grants[0] as string)
    expect((await events.check()).proof).toBe('filling')
  })

  test('a column that must be given', async () => {
    const { database, events } = await table('proof')
    await database.sql('alter table events add column tenant int not null')
    const error = await errorOf(events.source.stream('', {}))
    expect([codeOf(error), String(error)]).toEqual(['TABLE_LAYOUT', expect.stringContaining('tenant')])
  })

  test('a hole that no rollback made', async () => {
    const { database, events } = await table('no proof')
    await database.sql(`${INTO} values ${ROW}`)
    await database.sql('alter table events auto_increment = 5000000')
    await database.sql(`${INTO} values ${ROW}`)
    const error = await errorOf(idsRead(events))
    expect([codeOf(error), String(error)]).toEqual(['GAP_TOO_LARGE', expect.stringContaining('2 to 4999999')])
  })

  test('what needs a proof, without one', async () => {
    const { events } = await table('no proof')
    expect(codeOf(await errorOf(events.source.stream('', { fromHead: true })))).toBe('GAP_PROOF_UNAVAILABLE')
    expect(codeOf(await errorOf(events.source.head?.() as Promise<string>))).toBe('GAP_PROOF_UNAVAILABLE')
  })

  test('a failure of the INSERT that is not of the id', async () => {
    const { database, events, first, second } = await table('proof')
    await database.sql(
      "alter table events add column reference varchar(9) not null default '', add unique key (reference)",
    )
    await second.query("insert into events set foreign_id = 'x', timestamp = now(), type = 1")
    await rollBack(first).catch(() => {}) // its reference is taken: the id is lost
    await first.rollback()
    await second.query("insert into events set foreign_id = 'x', timestamp = now(), type = 1, reference = 'b'")
    expect(await errorOf(idsRead(events))).toMatchObject({ errno: 1062 })
  })

  test('options that do not go together', async () => {
    const { pool } = await testDatabase(server)
    expect(() => mysqlEvents(pool, { gaps: 'skip' as never })).toThrow('gaps')
    expect(() => mysqlEvents(pool, { fillAfterMs: 5 })).toThrow("gaps: 'fill'")
    expect(() => mysqlEvents(pool, { gaps: 'fill', fillAfterMs: -1 })).toThrow('fillAfterMs')
  })
})

test('an abort ends the wait for an id, and nothing is filled afterwards', async () => {
  const { database, events, first, second } = await table('no proof', { fillAfterMs: 1500 })
  await second.query(`${INTO} values ${ROW}`)
  await rollBack(first)
  await second.query(`${INTO} values ${ROW}`)
  const stopped = new AbortController()
  await using stream = reader(await events.source.stream('1', { signal: stopped.signal }), '1')
  const reading = errorOf(stream.take(1))
  await sleep(50)
  stopped.abort(new Error('enough'))
  expect(String(await reading)).toContain('enough')
  await sleep(1700)
  expect(await rowsOf(database)).toHaveLength(2)
})

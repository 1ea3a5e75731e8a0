import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import {
  GapBlockedError,
  type MysqlEvents,
  type MysqlEventsOptions,
  mysqlEvents,
} from '../../src/adapters/mysql/index.ts'
import { codeOf, isRetriable } from '../../src/core/errors.ts'
import { statusObserver } from '../../src/core/observer.ts'
import { type Server, startServer } from '../../src/testing/servers/index.ts'
import { errorOf, eventually, type Reader, reader } from '../tools/reader.ts'
import { type Database, testDatabase } from './database.ts'

const INSERT = "insert into events (foreign_id, timestamp, type) values ('x', utc_timestamp(6), 1)"

// `information_schema.innodb_trx` is renewed only while nobody on the server reads it.
let server: Server
beforeAll(async () => {
  server = await startServer('mysql', { from: ['docker', 'native'] })
})
afterAll(() => server[Symbol.asyncDispose]())

/** A table whose id 1 is held by an open transaction, and whose id 2 is committed. */
async function withOpenTransaction(database: Database, events: MysqlEvents) {
  await events.createTable()
  const [holder, other] = [await database.connect(), await database.connect()]
  await holder.beginTransaction()
  await holder.query(INSERT)
  await other.query(INSERT)
  return holder
}

async function open({ source }: MysqlEvents, after = ''): Promise<Reader> {
  const stream = reader(await source.stream(after, {}), after)
  onTestFinished(() => stream[Symbol.asyncDispose]())
  return stream
}

test('a source that waits for a transaction says so, and whose it is; at the head it does not', async () => {
  const database = await testDatabase(server)
  const events = mysqlEvents(database.pool)
  const { source } = events
  const before = Date.now()
  const holder = await withOpenTransaction(database, events)
  const observer = statusObserver(source)
  expect(source.blocked?.()).toBeUndefined()

  const stream = await open(events)
  const read = stream.take(2)
  const blocked = () => source.blocked?.()
  await eventually(() => blocked()?.transactionStartedAt !== undefined, 9000, 'who is in the way')
  const connectionId = String(holder.threadId)
  const { blockedMs, ...about } = (await observer.status()).blocked ?? { blockedMs: 0 }
  expect(about).toMatchObject({ connectionId, user: expect.stringMatching(/^root@./) })
  expect(about).toMatchObject({ holder: expect.stringContaining(`connection ${connectionId} of root@`) })
  expect(blockedMs).toBeGreaterThanOrEqual(1000)
  const startedAt = blocked()?.transactionStartedAt as number
  expect(startedAt).toBeGreaterThan(before - 2000) // in seconds
  expect(startedAt).toBeLessThan(Date.now() + 1000)

  await holder.commit()
  expect((await read).map(({ id }) => id)).toEqual(['1', '2'])
  const atHead = stream.take(1)
  expect(blocked()).toBeUndefined()
  await holder.query(INSERT)
  expect((await atHead).map(({ id }) => id)).toEqual(['3'])
})

test('who is in the way is told as far as the account may know', async () => {
  const database = await testDatabase(server)
  const { user, quoted } = await database.account()
  await database.sql(`grant select, lock tables on ${database.name}.* to ${quoted}`)
  await database.sql(`grant ${database.mariadb ? 'slave monitor' : 'replication client'} on *.* to ${quoted}`)
  const holder = await withOpenTransaction(database, mysqlEvents(database.pool))
  const told = Promise.withResolvers<unknown>()
  const events = mysqlEvents(database.poolOf({ user }), { onBlocked: told.resolve })
  const stream = await open(events)
  const read = stream.take(2)
  const blocked = { name: events.source.name, holder: expect.stringContaining('events'), blockedMs: expect.any(Number) }
  expect(await Promise.race([told.promise, read])).toEqual(blocked)
  await holder.commit()
  expect((await read).map(({ id }) => id)).toEqual(['1', '2'])
})

test('gapTimeoutMs: a stream that waits for longer ends with GAP_BLOCKED, and goes on where it was when it is started again', async () => {
  const database = await testDatabase(server)
  const events = mysqlEvents(database.pool, { gapTimeoutMs: 3000 }) // statements that run by the way are over by then
  const holder = await withOpenTransaction(database, events)
  const started = performance.now()
  const stream = await open(events)
  const error = (await errorOf(stream.take(1))) as GapBlockedError
  expect(performance.now() - started).toBeGreaterThanOrEqual(3000)
  expect([codeOf(error), isRetriable(error), error instanceof GapBlockedError]).toEqual(['GAP_BLOCKED', true, true])
  expect(error.message).toContain(`KILL ${holder.threadId}`)
  expect(error.blocked).toMatchObject({ name: events.source.name, connectionId: String(holder.threadId) })
  expect(events.source.blocked?.()).toBeUndefined()

  await holder.commit()
  const again = await open(events, stream.cursor)
  expect((await again.take(2)).map(({ id }) => id)).toEqual(['1', '2'])
})

test('gapTimeoutMs that is not above 0 is refused', async () => {
  const { pool } = await testDatabase(server)
  for (const gapTimeoutMs of [0, -1, Number.NaN]) {
    const options: MysqlEventsOptions = { gapTimeoutMs }
    expect(() => mysqlEvents(pool, options)).toThrow('gapTimeoutMs must be more than 0 ms')
  }
})

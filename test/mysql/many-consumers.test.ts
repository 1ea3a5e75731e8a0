import { expect, onTestFinished, test } from 'vitest'
import { type MysqlEvents, mysqlEvents } from '../../src/adapters/mysql/index.ts'
import { startServer } from '../../src/testing/servers/index.ts'
import { errorOf, eventually, type Reader, reader } from '../tools/reader.ts'
import { type Database, testDatabase } from './database.ts'

const COUNT = 20
const EVENTS = 200

async function open({ source }: MysqlEvents, count: number, after = ''): Promise<Reader[]> {
  const streams = await Promise.all(
    Array.from({ length: count }, async () => reader(await source.stream(after, {}), after, 30_000)),
  )
  onTestFinished(async () => void (await Promise.all(streams.map((each) => each[Symbol.asyncDispose]()))))
  return streams
}

async function insert(database: Database, events: MysqlEvents, count: number): Promise<void> {
  await using connection = await database.pool.getConnection()
  for (let left = count; left > 0; left--) {
    await events.insert(connection, { type: 1, foreignId: 'a' })
    events.wake()
  }
}

/** Selects that the server was sent, by anybody. */
async function selects(database: Database): Promise<number> {
  const [status] = await database.sql("show global status like 'Com_select'")
  return Number(status?.[1])
}

/** How many selects the server was sent while so many consumers took each event as it came. */
async function costOf(database: Database, table: string, consumers: number): Promise<number> {
  const events = mysqlEvents(database.pool, { table })
  await events.createTable()
  await insert(database, events, 1)
  const streams = await open(events, consumers)
  await Promise.all(streams.map((each) => each.take(1)))
  const reads = streams.map((each) => each.take(EVENTS))
  const before = await selects(database)
  await insert(database, events, EVENTS)
  for (const read of reads) expect((await read).at(-1)?.id).toBe(String(EVENTS + 1))
  return (await selects(database)) - before
}

/** Connections that are not of the pool. */
async function readersOf(database: Database): Promise<number> {
  return (await database.connections()) - pooled(database)
}

function pooled({ pool }: Database): number {
  return (pool.pool as unknown as { _allConnections: { length: number } })._allConnections.length
}

test('twenty consumers near the head cost less than twice the queries of one, and one connection', async () => {
  const server = await startServer('mysql', { from: ['docker', 'native'] }) // its own, as all selects are counted
  onTestFinished(() => server[Symbol.asyncDispose]())
  const database = await testDatabase(server)
  const one = await costOf(database, 'one', 1)
  const before = await readersOf(database)
  const twenty = await costOf(database, 'twenty', COUNT)
  expect(twenty).toBeLessThan(2 * one)
  await eventually(async () => (await readersOf(database)) - before === 1, 5000, 'one connection for all')
}, 60_000)

async function threeAtHead() {
  const database = await testDatabase()
  const events = mysqlEvents(database.pool)
  await events.createTable()
  await insert(database, events, 1)
  const streams = await open(events, 3)
  await Promise.all(streams.map((each) => each.take(1)))
  return { database, events, streams }
}

test('the last of them to close closes the connection', async () => {
  const { database, events, streams } = await threeAtHead()
  await eventually(async () => (await readersOf(database)) === 1, 5000, 'one connection for all')
  const [last, ...others] = streams as [Reader, ...Reader[]]
  for (const each of others) await each[Symbol.asyncDispose]()
  const read = last.take(1)
  await insert(database, events, 1)
  expect((await read).map(({ id }) => id)).toEqual(['2'])
  await last[Symbol.asyncDispose]()
  await eventually(async () => (await readersOf(database)) === 0, 1000, 'none is left')
})

test('a connection that is lost fails all that share it, and the next to open starts anew', async () => {
  const { database, events, streams } = await threeAtHead()
  const failing = streams.map((each) => errorOf(each.take(1), 5000))
  await eventually(async () => (await readersOf(database)) === 1, 5000, 'one connection for all')
  const all = 'select id from information_schema.processlist where db = ? and id <> connection_id()'
  for (const [id] of await database.sql(all, [database.name])) await database.sql(`kill ${id}`)
  for (const error of await Promise.all(failing))
    expect(error).toMatchObject({ code: 'MYSQL_CONNECTION', retriable: true })
  const again = await open(events, 2, '1')
  const reads = again.map((each) => each.take(1))
  await insert(database, events, 1)
  for (const read of reads) expect((await read).map(({ id }) => id)).toEqual(['2'])
})

test('a consumer that is slow holds no other up, and gets all', async () => {
  const database = await testDatabase()
  const events = mysqlEvents(database.pool, { batchSize: 10 })
  await events.createTable()
  await insert(database, events, 1)
  const [fast, slow] = (await open(events, 2)) as [Reader, Reader]
  await Promise.all([fast.take(1), slow.take(1)])
  for (let left = 10; left > 0; left--) {
    const read = fast.take(20)
    await insert(database, events, 20)
    await read
  }
  expect((await slow.take(200)).map(({ id }) => id)).toEqual(Array.from({ length: 200 }, (_, i) => String(i + 2)))
})

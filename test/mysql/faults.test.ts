import type { Connection } from 'mysql2/promise'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { mysqlEvents } from '../../src/adapters/mysql/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import { type Server, startServer } from '../../src/testing/servers/index.ts'
import { errorOf, eventually, type Reader, reader, within } from '../tools/reader.ts'
import { type Database, hastyClock, newDatabase, testDatabase } from './database.ts'
import { writeMuch } from './write-much.ts'

const older = process.env['REFLEX_BRIDGE_SERVERS'] === 'older'
const ROW = "('x', utc_timestamp(6), 1)"
const INSERT = `insert into events (foreign_id, timestamp, type) values ${ROW}`

async function testServer(args: readonly string[] = []): Promise<Server> {
  const server = await startServer('mysql', { from: ['docker', 'native'], args })
  onTestFinished(() => server[Symbol.asyncDispose]())
  return server
}

async function open(database: Database, onBlocked?: () => void): Promise<Reader> {
  const events = mysqlEvents(database.pool, onBlocked === undefined ? {} : { onBlocked, clock: hastyClock })
  const stream = reader(await events.source.stream('', {}))
  onTestFinished(() => stream[Symbol.asyncDispose]())
  return stream
}

/** Tells of each time that a stream was blocked. */
function blockedTimes(): { readonly onBlocked: () => void; next(): Promise<void> } {
  let told = Promise.withResolvers<void>()
  return {
    onBlocked: () => {
      told.resolve()
      told = Promise.withResolvers()
    },
    next: () => told.promise,
  }
}

test('the first XA transaction of a server: its id is waited for while its lock moves, and after kill -9', async () => {
  const server = await testServer()
  const before = await newDatabase(server)
  await mysqlEvents(before.pool).createTable()
  const { onBlocked, next } = blockedTimes()
  const { first, second, stream } = await passOneGap(before, onBlocked)
  await first.query("xa start 'x'")
  await first.query(INSERT)
  await second.query(INSERT)
  const { cursor } = stream
  const failing = errorOf(stream.take(1), 20_000, 'noticing the dead server')
  await next()
  await first.query("xa end 'x'")
  await first.query("xa prepare 'x'")
  await Promise.race([next(), failing])
  await server.process?.kill()
  const killed = performance.now()
  expect(String(await failing)).toMatch(/connection|ECONNRESET/i)
  expect(performance.now() - killed).toBeLessThan(5000)
  await server.process?.start()

  const after = await newDatabase(server)
  onTestFinished(() => after[Symbol.asyncDispose]())
  const again = blockedTimes()
  const events = mysqlEvents(after.poolOf({ database: before.name }), { onBlocked: again.onBlocked, clock: hastyClock })
  await using resumed = reader(await events.source.stream(cursor, {}), cursor)
  const read = resumed.take(2)
  await Promise.race([again.next(), read])
  await after.sql("xa commit 'x'")
  expect((await read).map(({ id }) => id)).toEqual(['3', '4'])
})

test('kill -9 of the server amid commits: what is handed on before and after it is what is there in the end', async () => {
  const server = await testServer(older ? ['--plugin-load-add=metadata_lock_info'] : [])
  const database = await newDatabase(server)
  onTestFinished(() => database[Symbol.asyncDispose]())
  const events = mysqlEvents(database.pool, { pollMs: { min: 1, max: 5 } })
  await events.createTable()
  const committed: string[] = [] // those that were told so
  const handled: string[] = []
  let cursor = ''
  const read = async (until: () => bigint): Promise<void> => {
    await using stream = await events.source.stream(cursor, {})
    for await (const batch of stream) {
      handled.push(...batch.events.map(({ id, foreignId }) => `${id} ${foreignId}`))
      cursor = batch.cursor
      if (BigInt(cursor) >= until()) return
    }
  }
  const write = async (name: string): Promise<never> => {
    const connection = await database.connect()
    for (let i = 0; ; i++) {
      const foreignId = `${name} ${i}`
      await connection.beginTransaction()
      await connection.query(
        `insert into events (foreign_id, timestamp, type) values ('${foreignId}', now(6), 1), ${ROW}`,
      )
      await connection.query(i % 4 === 0 ? 'rollback' : 'commit')
      if (i % 4 > 0) committed.push(foreignId)
    }
  }
  for (let round = 0; round < 3; round++) {
    const { length } = committed
    const ended = [
      errorOf(
        read(() => 2n ** 63n),
        60_000,
        'the end of the stream',
      ),
      ...Array.from({ length: 8 }, (_, i) => errorOf(write(`${round} ${i}`), 60_000, 'the end of a writer')),
    ]
    await eventually(() => committed.length >= length + 40, 30_000, 'commits')
    await server.process?.kill()
    for (const error of await Promise.all(ended)) {
      const { code, message } = error as { readonly code?: string; readonly message: string }
      expect(`${code} ${message}`).toMatch(/CONNECTION|ECONNRESET|EPIPE|closed state/)
    }
    await server.process?.start()
  }
  await database.sql(INSERT)
  const there = (await database.sql('select id, foreign_id from events order by id')) as [string, string][]
  const newest = BigInt(there.at(-1)?.[0] as string)
  await within(
    read(() => newest),
    20_000,
    'reading all',
  )
  expect(handled).toEqual(there.map(([id, foreignId]) => `${id} ${foreignId}`))
  const foreignIds = new Set(there.map(([, foreignId]) => foreignId))
  expect(committed.filter((each) => !foreignIds.has(each))).toEqual([])
}, 120_000)

if (!older)
  test('a member of a replication group is refused', async () => {
    const group = 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee'
    const database = await testDatabase(
      await testServer(['--plugin-load-add=group_replication.so', `--group-replication-group-name=${group}`]),
    )
    const events = mysqlEvents(database.pool)
    await events.createTable()
    const error = await errorOf(events.source.stream('', {}))
    expect(error).toMatchObject({ code: 'GAP_PROOF_UNAVAILABLE', retriable: false, grants: [] })
    expect(String(error)).toContain('replication group')
  })

if (older) describe('the metadata lock instrument of MariaDB', ofMariadb)
else describe('the metadata lock instrument of MySQL', ofMysql)

function ofMysql(): void {
  let server: Server // on which locks are soon without room
  beforeAll(async () => {
    server = await startServer('mysql', {
      from: ['docker', 'native'],
      args: ['--performance-schema-max-metadata-locks=20'],
    })
  })
  afterAll(() => server[Symbol.asyncDispose]())

  const instrument = (enabled: string): string =>
    `update performance_schema.setup_instruments set enabled = '${enabled}' where name = 'wait/lock/metadata/sql/mdl'`

  test('off: the proof is a table lock, also amid writers that overlap', async () => {
    const database = await testDatabase(server)
    const events = mysqlEvents(database.pool)
    await events.createTable()
    await database.sql(instrument('NO'))
    try {
      expect(await events.check()).toMatchObject({ proof: 'barrier', reason: expect.stringContaining('is off') })
      await readsAllOf(database)
    } finally {
      await database.sql(instrument('YES'))
    }
  })

  test('switched on late: locks that it does not show are waited for, with or without LOCK TABLES', async () => {
    const database = await testDatabase(server)
    await mysqlEvents(database.pool).createTable()
    const { user, quoted } = await database.account()
    await database.sql(`grant select on *.* to ${quoted}`)
    await database.sql(`grant process on *.* to ${quoted}`)
    for (const [account, first] of [
      ['root', 1],
      [user, 3],
    ] as const) {
      await database.sql(instrument('NO'))
      const [late, other] = [await database.connect(), await database.connect()]
      await late.beginTransaction()
      await late.query(INSERT)
      await other.query(INSERT)
      await database.sql(instrument('YES'))
      const { onBlocked, next } = blockedTimes()
      const events = mysqlEvents(database.poolOf({ user: account }), { onBlocked, clock: hastyClock })
      expect((await events.check()).proof).toBe('metadata-locks')
      const after = first === 1 ? '' : String(first - 1)
      await using stream = reader(await events.source.stream(after, {}), after)
      const read = stream.take(2)
      await Promise.race([next(), read])
      await late.commit()
      expect((await read).map(({ id }) => Number(id))).toEqual([first, first + 1])
    }
  })

  test('switched off under a stream: its next gap is an error, not a guess', async () => {
    const database = await testDatabase(server)
    await mysqlEvents(database.pool).createTable()
    const { first, second, stream } = await passOneGap(database)
    await database.sql(instrument('NO'))
    try {
      const failing = errorOf(stream.take(1))
      await first.beginTransaction()
      await first.query(INSERT)
      await first.rollback()
      await second.query(INSERT)
      const error = await failing
      expect([codeOf(error), (error as { retriable?: boolean }).retriable]).toEqual(['GAP_PROOF_LOST', true])
    } finally {
      await database.sql(instrument('YES'))
    }
  })

  test('without room for a lock: its transaction is waited for', async () => {
    const database = await testDatabase(server)
    await mysqlEvents(database.pool).createTable()
    const tables = Array.from({ length: 40 }, (_, i) => `t${i}`)
    for (const each of tables) await database.sql(`create table ${each} (id int)`)
    const { onBlocked, next } = blockedTimes()
    const { first, second, stream } = await passOneGap(database, onBlocked)
    const full = await database.connect()
    await full.beginTransaction()
    for (const each of tables) await full.query(`select * from ${each}`)
    await first.beginTransaction()
    await first.query(INSERT)
    await second.query(INSERT)
    const read = stream.take(2)
    await Promise.race([next(), read])
    await first.commit()
    expect((await read).map(({ id }) => id)).toEqual(['3', '4'])
  })

  test('without room for every lock: none is lost, and it is not waited for ever', async () => {
    const database = await testDatabase(server)
    const events = mysqlEvents(database.pool)
    await events.createTable()
    expect((await events.check()).proof).toBe('metadata-locks')
    await readsAllOf(database)
    const status = await database.sql("show global status like 'Performance_schema_metadata_lock_lost'")
    expect(Number(status[0]?.[1])).toBeGreaterThan(0)
  })
}

function ofMariadb(): void {
  test('is not used: without the plugin the proof is a table lock, also amid writers that overlap', async () => {
    const database = await testDatabase(
      await testServer(['--performance-schema=ON', '--performance-schema-instrument=wait/lock/metadata/sql/mdl=ON']),
    )
    const events = mysqlEvents(database.pool)
    await events.createTable()
    const reason = expect.stringContaining('METADATA_LOCK_INFO')
    expect(await events.check()).toMatchObject({ proof: 'barrier', reason })
    await readsAllOf(database)
  })

  test('the plugin installed late: locks from before it are waited for', async () => {
    const database = await testDatabase(await testServer())
    await mysqlEvents(database.pool).createTable()
    const [late, other] = [await database.connect(), await database.connect()]
    await late.beginTransaction()
    await late.query(INSERT)
    await other.query(INSERT)
    await database.sql("install soname 'metadata_lock_info'")
    const { onBlocked, next } = blockedTimes()
    const stream = await open(database, onBlocked)
    const read = stream.take(2)
    await Promise.race([next(), read])
    await late.commit()
    expect((await read).map(({ id }) => id)).toEqual(['1', '2'])
  })
}

/** Reads while 12 writers overlap, and finds all that they committed. */
async function readsAllOf(database: Database): Promise<void> {
  const stream = await open(database)
  const all: string[] = []
  let written = false
  const reading = (async () => {
    // The newest row is not rolled back: that of the last one to write.
    for (let newest = 0n; newest === 0n || BigInt(all.at(-1) ?? 0) < newest; ) {
      all.push(...(await stream.take(1)).map(({ id }) => id))
      if (written) newest = BigInt((await database.sql('select max(id) from events'))[0]?.[0] as string)
    }
  })()
  await writeMuch(database, { writers: 12, forMs: 1500 })
  written = true
  await database.sql(INSERT) // or a reader that has read all by now would wait for one more
  await within(reading, 20_000, 'reading all')
  expect(all).toEqual((await database.sql('select id from events order by id')).map(([id]) => id))
}

/** A stream that stands at id 2, after id 1 was rolled back: its first gap, which is not proven as the later ones are. */
async function passOneGap(
  database: Database,
  onBlocked?: () => void,
): Promise<{ readonly first: Connection; readonly second: Connection; readonly stream: Reader }> {
  const [first, second] = [await database.connect(), await database.connect()]
  await first.beginTransaction()
  await first.query(INSERT)
  await first.rollback()
  await second.query(INSERT)
  const stream = await open(database, onBlocked)
  expect((await stream.take(1)).map(({ id }) => id)).toEqual(['2'])
  return { first, second, stream }
}

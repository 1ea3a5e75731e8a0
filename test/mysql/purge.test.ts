import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type MysqlEvents, mysqlCursors, mysqlEvents, type PurgeOptions } from '../../src/adapters/mysql/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { run } from '../../src/core/run.ts'
import { startServer } from '../../src/testing/servers/index.ts'
import { errorOf, eventually, reader } from '../tools/reader.ts'
import { type Database, newDatabase, testDatabase } from './database.ts'
import { writeMuch } from './write-much.ts'

const ROW = "('x', utc_timestamp(6), 1)"
const INTO = 'insert into events (foreign_id, timestamp, type) values'

interface Table {
  readonly database: Database
  readonly events: MysqlEvents
  readonly cursors: ReturnType<typeof mysqlCursors>
  /** The ids that are there. */
  ids(): Promise<number[]>
  /** What is recorded of the table. */
  mark(): Promise<readonly number[] | undefined>
}

/** A table of so many rows, and a store in which consumers have these cursors. */
async function table(count: number, read: Readonly<Record<string, string>>): Promise<Table> {
  const database = await testDatabase()
  const events = mysqlEvents(database.pool)
  await events.createTable()
  const cursors = mysqlCursors(database.pool)
  await cursors.createTable()
  await insert(database, count)
  for (const [name, cursor] of Object.entries(read)) await cursors.reset(name, cursor)
  return {
    database,
    events,
    cursors,
    ids: async () => (await database.sql('select id from events order by id')).map(([id]) => Number(id)),
    mark: async () => {
      const [found] = await database.sql('select purged_to, next_id from event_purges')
      return found?.map(Number)
    },
  }
}

async function insert(database: Database, count: number): Promise<void> {
  for (let left = count; left > 0; left -= 1000) {
    await database.sql(`${INTO} ${Array.from({ length: Math.min(1000, left) }, () => ROW).join(', ')}`)
  }
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i)

describe('purge', () => {
  test('removes what every consumer has read, but for the row of the smallest cursor, and says whose it is', async () => {
    const { events, cursors, ids, mark } = await table(3000, { slow: '1200', fast: '2900' })
    expect(await events.purge({ cursors })).toEqual({ removed: 1199, to: '1199', heldBy: 'slow' })
    expect(await ids()).toEqual(range(1200, 3000))
    expect(await mark()).toEqual([1199, 1200])
    expect(await events.purge({ cursors })).toEqual({ removed: 0, to: '0', heldBy: 'slow' })
    await cursors.set('slow', '1300', '1200')
    expect(await events.purge({ cursors })).toMatchObject({ removed: 100, to: '1299' })
    expect(await mark()).toEqual([1299, 1300])
    await using again = reader(await events.source.stream('1300', { toHead: true }), '1300')
    expect((await again.rest()).map(({ id }) => Number(id))).toEqual(range(1301, 3000))
  })

  test('never removes the newest row, nor anything behind a consumer that has read nothing', async () => {
    const { events, cursors, ids } = await table(10, { a: '10' })
    expect((await events.purge({ cursors })).removed).toBe(9)
    expect(await ids()).toEqual([10])
    const other = await table(10, { a: '9', none: '' })
    expect(await other.events.purge({ cursors: other.cursors })).toEqual({ removed: 0, to: '0', heldBy: 'none' })
    const empty = await table(0, { a: '0' })
    expect(await empty.events.purge({ cursors: empty.cursors })).toEqual({ removed: 0, to: '0', heldBy: 'a' })
  })

  test('keeps what is younger than keepMs by the clock of the server, and all that follows', async () => {
    const { database, events, cursors, ids } = await table(0, {})
    for (const age of [3000, 2000, 10, 2500, 0]) {
      await database.sql(`${INTO} ('x', utc_timestamp(6) - interval ${age} second, 1)`)
    }
    await cursors.reset('a', '5')
    expect((await events.purge({ cursors, keepMs: 1_000_000 })).removed).toBe(2)
    expect(await ids()).toEqual([3, 4, 5])
  })

  test('passes over ids that are missing, and keeps a row of its own for each cursor', async () => {
    const { database, events, cursors, ids, mark } = await table(10, { a: '8' })
    await database.sql('delete from events where id in (1, 4, 6, 7)')
    expect((await events.purge({ cursors })).removed).toBe(3)
    expect(await ids()).toEqual([8, 9, 10])
    expect(await mark()).toEqual([5, 8])
  })

  test('never takes back what is recorded, not even for a row that has come late below it', async () => {
    const { database, events, cursors, ids, mark } = await table(20, { a: '10' })
    await events.purge({ cursors })
    await database.sql(`insert into events (id, foreign_id, timestamp, type) values (4, 'late', utc_timestamp(6), 1)`)
    expect(await events.purge({ cursors })).toMatchObject({ removed: 1, to: '4' })
    expect(await ids()).toEqual(range(10, 20))
    expect(await mark()).toEqual([9, 10])
  })

  test('goes in transactions of stepRows at most, records each before it, and tells of each', async () => {
    const { database, events, cursors, mark } = await table(500, { a: '451' })
    await database.sql('create table log (removed int, recorded int)')
    await database.sql(
      'create trigger seen before delete on events for each row insert into log values (old.id, (select purged_to from event_purges))',
    )
    const told: unknown[] = []
    const result = await events.purge({ cursors, stepRows: 30, pauseMs: 0, onProgress: (each) => told.push(each) })
    expect(result).toEqual({ removed: 450, to: '450', heldBy: 'a' })
    expect(told.at(-1)).toEqual({ removed: 450, to: '450' })
    expect(told.length).toBeGreaterThanOrEqual(15)
    const steps = await database.sql('select recorded, count(*), max(removed) from log group by recorded')
    expect(steps).toHaveLength(told.length)
    for (const [recorded, count, last] of steps) {
      expect(Number(count)).toBeLessThanOrEqual(30)
      expect(last).toBe(recorded)
    }
    expect(await mark()).toEqual([450, 451])
  })

  test('a dry run says what would go, and changes nothing', async () => {
    const { database, events, cursors, ids } = await table(300, { a: '200' })
    expect(await events.purge({ cursors, dryRun: true })).toEqual({ removed: 199, to: '199', heldBy: 'a' })
    expect(await ids()).toHaveLength(300)
    expect(await database.sql("show tables like 'event_purges'")).toEqual([])
  })

  test('a bridge counts with the cursor of its checkpoint, and a position that is kept elsewhere as a cursor', async () => {
    const { events, cursors, ids } = await table(10, { a: '9', bridge: JSON.stringify({ cursor: '5', mark: 'x' }) })
    expect(await events.purge({ cursors, positions: { 'at the destination': '3' } })).toMatchObject({
      removed: 2,
      heldBy: 'at the destination',
    })
    expect(await events.purge({ cursors })).toMatchObject({ removed: 2, heldBy: 'bridge' })
    expect(await ids()).toEqual(range(5, 10))
  })

  test('follows consumers while it runs, and ends with the rows that were there at the start', async () => {
    const { database, events, cursors, ids } = await table(400, { a: '101', b: '400' })
    let steps = 0
    const following = {
      list: async () => {
        if (++steps === 4) {
          await cursors.set('a', '400', '101')
          await insert(database, 5)
          await cursors.set('a', '405', '400')
          await cursors.set('b', '405', '400')
        }
        return (await cursors.list?.()) as ReadonlyMap<string, string>
      },
    }
    expect(await events.purge({ cursors: following, stepRows: 40, pauseMs: 0 })).toMatchObject({ removed: 399 })
    expect(await ids()).toEqual(range(400, 405))
  })
})

describe('purge is refused, and nothing is deleted,', () => {
  test.each([
    ['a word', 'CURSOR_INVALID'],
    ['{"mark":"x"}', 'CURSOR_INVALID'],
    ['17', 'CURSOR_AHEAD'],
    ['4', 'CURSOR_TRIMMED'],
  ])('for a cursor that is not of the table, with the name of its consumer: %s', async (cursor, code) => {
    const { database, events, cursors, ids } = await table(10, { a: '8', stray: cursor })
    await database.sql('delete from events where id = 4')
    const error = await errorOf(events.purge({ cursors }))
    expect([codeOf(error), String(error).includes('"stray"')]).toEqual([code, true])
    expect(await ids()).toHaveLength(9)
    expect(await events.purge({ cursors, except: ['stray'] })).toMatchObject({ removed: 6, heldBy: 'a' })
  })

  test('for a consumer that has no cursor, for stores without one, and for one that cannot list', async () => {
    const { events, cursors, ids } = await table(10, { a: '8' })
    const empty = memoryCursors()
    const { get, set, reset } = empty
    const refused: [PurgeOptions, RegExp][] = [
      [{ cursors, consumers: ['a', 'b'] }, /no cursor of the consumer "b" is stored/],
      [{ cursors, except: ['a'] }, /no cursor of any consumer/],
      [{ cursors: [] }, /the table cursors holds the cursor of "a"/],
      [{ cursors: { get, set, reset } as PurgeOptions['cursors'] }, /a cursor store that has list\(\)/],
      [{} as PurgeOptions, /a cursor store that has list\(\)/],
    ]
    for (const [options, message] of refused) {
      const error = await errorOf(events.purge(options))
      expect([codeOf(error), String(error)]).toEqual(['OPTION_INVALID', expect.stringMatching(message)])
    }
    expect(await ids()).toHaveLength(10)
  })

  test('where a cursors table of the database has a consumer that no store lists, also one of luno/reflex', async () => {
    const { database, events, cursors, ids } = await table(10, { a: '8' })
    await database.sql(
      'create table `go ``cursors` (id varchar(255) primary key, last_event_id bigint not null, updated_at datetime(6))',
    )
    await database.sql("insert into `go ``cursors` values ('service', 3, utc_timestamp(6))")
    const error = await errorOf(events.purge({ cursors }))
    expect(codeOf(error)).toBe('OPTION_INVALID')
    expect(String(error)).toContain('the table go `cursors holds the cursor of "service"')
    const elsewhere = memoryCursors()
    await elsewhere.reset('b', '6')
    expect(codeOf(await errorOf(events.purge({ cursors: elsewhere })))).toBe('OPTION_INVALID')
    expect(await ids()).toHaveLength(10)
    const service = { list: async () => new Map([['service', '3']]) }
    expect(await events.purge({ cursors: [cursors, service] })).toMatchObject({ removed: 2, heldBy: 'service' })
    expect(await events.purge({ cursors: [cursors, elsewhere], except: ['service'] })).toMatchObject({ heldBy: 'b' })
  })

  test.each([{ keepMs: -1 }, { keepMs: 0.5 }, { stepRows: 0 }, { stepRows: Number.NaN }, { pauseMs: -1 }])(
    'for an option that is out of its range: %j',
    async (wrong) => {
      const { events, cursors } = await table(3, { a: '2' })
      const error = await errorOf(events.purge({ cursors, ...wrong }))
      expect([codeOf(error), String(error)]).toEqual([
        'OPTION_INVALID',
        expect.stringContaining(`${Object.keys(wrong)[0]} must be`),
      ])
    },
  )

  test('to an account that lacks a privilege, with the statements that grant it, and they do', async () => {
    const { database, cursors, ids } = await table(10, { a: '8' })
    const { user, quoted } = await database.account()
    await database.sql(`grant select on ${database.name}.* to ${quoted}`)
    const events = mysqlEvents(database.poolOf({ user }))
    const error = await errorOf(events.purge({ cursors }))
    expect(error).toMatchObject({ code: 'MYSQL_DENIED', retriable: false })
    const grants = String((error as Error).message).match(/GRANT .*(?=;)/g) ?? []
    expect(grants).toEqual([
      `GRANT SELECT, DELETE ON \`${database.name}\`.\`events\` TO ${quoted}`,
      `GRANT CREATE, SELECT, INSERT, UPDATE ON \`${database.name}\`.\`event_purges\` TO ${quoted}`,
    ])
    expect(await ids()).toHaveLength(10)
    for (const grant of grants) await database.sql(grant)
    const allowed = mysqlEvents(database.poolOf({ user }))
    expect((await allowed.purge({ cursors })).removed).toBe(7)
    await database.sql(`revoke create on ${database.name}.event_purges from ${quoted}`)
    await cursors.set('a', '9', '8')
    expect((await mysqlEvents(database.poolOf({ user })).purge({ cursors })).removed).toBe(1)
  })
})

describe('purge beside others', () => {
  test('no INSERT waits for it, whatever its isolation, not even one with ids in between that were given long ago', async () => {
    const { database, events, cursors } = await table(200, { a: '190' })
    await database.sql('delete from events where id <= 100')
    for (const id of [1, 2, 30, 99, 100]) {
      await database.sql(
        `insert into events (id, foreign_id, timestamp, type) values (${id}, 'x', utc_timestamp(6), 1)`,
      )
    }
    const late = await database.connect()
    await late.query('set innodb_lock_wait_timeout = 1, lock_wait_timeout = 1')
    // A step that stops while it has its locks.
    await database.sql(
      'create trigger slow before delete on events for each row set @x = if(old.id = 101, sleep(2), 0)',
    )
    const purging = events.purge({ cursors, stepRows: 6 })
    const sleeping = async (): Promise<boolean> =>
      (
        await database.sql('select 1 from information_schema.processlist where db = ? and state = ?', [
          database.name,
          'User sleep',
        ])
      ).length === 1
    await eventually(sleeping, 10_000, 'a step under way')
    for (const isolation of ['read committed', 'repeatable read', 'serializable']) {
      await late.query(`set session transaction isolation level ${isolation}`)
      await late.query(`${INTO} ${ROW}, ${ROW}`)
      await late.query(`${INTO} ${ROW} on duplicate key update type = 2`)
      await late.query(`insert into events (foreign_id, timestamp, type) select 's', utc_timestamp(6), 2`)
      await late.beginTransaction()
      for (const id of [-5, 3, 29, 31, 98]) {
        await late.query(
          `insert into events (id, foreign_id, timestamp, type) values (${id}, 'late', utc_timestamp(6), 1)`,
        )
      }
      await late.rollback()
    }
    expect(await sleeping()).toBe(true)
    await purging
  })

  test('writers, readers with gaps to wait for, and two purges at once: nothing is lost, nobody fails', async () => {
    const { database, events, cursors } = await table(0, {})
    await database.sql('create table log (id bigint primary key)')
    await database.sql('create trigger logged after insert on events for each row insert into log values (new.id)')
    const handled: Record<string, string[]> = { a: [], b: [] }
    const stopped = new AbortController()
    const runs = Object.entries(handled).map(([name, ids]) =>
      run(
        { stream: events.source.stream, cursors, consumer: { name, handle: ({ id }) => void ids.push(id) } },
        { signal: stopped.signal },
      ),
    )
    let written = false
    let removed = 0
    const purging = [1, 2].map(async () => {
      while (!written) {
        await sleep(5)
        if ((await cursors.list?.())?.size !== 2) continue
        const done = await events.purge({ cursors, consumers: ['a', 'b'], stepRows: 20, pauseMs: 1 })
        removed += done.removed
      }
    })
    const writing = async (): Promise<void> => {
      for (let round = 0; removed < 100 && round < 20; round++) await writeMuch(database, { writers: 6, forMs: 1000 })
      written = true
    }
    await Promise.race([writing(), Promise.all(runs), Promise.all(purging)])
    await Promise.all(purging)
    const committed = (await database.sql('select id from log order by id')).map(([id]) => id)
    const isDone = (): boolean => Object.values(handled).every((ids) => ids.at(-1) === committed.at(-1))
    await eventually(isDone, 10_000, 'reading what was written')
    stopped.abort()
    for (const { reason } of await Promise.all(runs)) expect(reason).toBe('aborted')
    for (const ids of Object.values(handled)) expect(ids).toEqual(committed)
    expect(removed).toBeGreaterThanOrEqual(100)
    expect(removed + Number((await database.sql('select count(*) from events'))[0]?.[0])).toBe(committed.length)
  })

  test('one that is killed or ended at any point has recorded what went, and the next one goes on', async () => {
    const { database, cursors, ids, mark } = await table(12_000, { a: '11801' })
    const { user, quoted } = await database.account()
    await database.sql(`grant all on ${database.name}.* to ${quoted}`)
    const events = mysqlEvents(database.poolOf({ user }))
    const stored = { list: async () => (await cursors.list?.()) as ReadonlyMap<string, string> }
    for (let round = 0; round < 12; round++) {
      const ending = new AbortController()
      const begun = Promise.withResolvers<void>()
      const options = { cursors: stored, stepRows: 20, pauseMs: 1, onProgress: () => begun.resolve() }
      const failing = errorOf(events.purge({ ...options, signal: ending.signal }))
      await begun.promise
      await sleep(Math.random() * 20)
      if (round % 2 === 0) ending.abort(new Error('enough'))
      else {
        const [[connection]] = (await database.sql('select id from information_schema.processlist where user = ?', [
          user,
        ])) as [[string]]
        await database.sql(`kill ${connection}`)
      }
      expect(String(await failing)).toMatch(/enough|connection|ECONNRESET|ended by the other party/i)
      const left = await ids() // first: the server may still be at its last statement
      const [to, next] = (await mark()) as [number, number]
      expect(left.filter((id) => id > to)).toEqual(range(to + 1, 12_000))
      expect(next).toBe(to + 1)
      expect(to).toBeLessThan(11_801)
    }
    await events.purge({ cursors })
    expect(await ids()).toEqual(range(11_801, 12_000))
  })

  test('it does not wait long for who has locked the table, or a row of it, and says so', async () => {
    const { database, events, cursors, ids } = await table(10, { a: '8' })
    const other = await database.connect()
    const lock = {
      'lock tables events write': 'unlock tables',
      'select * from events where id = 3 for update': 'rollback',
    }
    for (const [take, release] of Object.entries(lock)) {
      await other.query('set autocommit = 0')
      await other.query(take)
      expect(await errorOf(events.purge({ cursors }), 5000)).toMatchObject({ code: 'MYSQL_LOCKED', retriable: true })
      await other.query(release)
    }
    expect(await ids()).toHaveLength(10)
    expect((await events.purge({ cursors })).removed).toBe(7)
  })
})

test('what is recorded outlives kill -9 of the server, and no row above it has gone', async () => {
  const server = await startServer('mysql', { from: ['docker', 'native'] })
  onTestFinished(() => server[Symbol.asyncDispose]())
  const database = await newDatabase(server)
  await mysqlEvents(database.pool).createTable()
  await insert(database, 3000)
  const cursors = { list: async () => new Map([['a', '2801']]) }
  for (let round = 0; round < 2; round++) {
    const events = mysqlEvents(database.poolOf({}))
    const begun = Promise.withResolvers<void>()
    const failing = errorOf(events.purge({ cursors, stepRows: 20, pauseMs: 5, onProgress: () => begun.resolve() }))
    await begun.promise
    await server.process?.kill()
    expect(String(await failing)).toMatch(/connection|ECONNRESET/i)
    await server.process?.start()
    const [[to, next]] = (await database.sql('select purged_to, next_id from event_purges')) as [[string, string]]
    const left = (await database.sql(`select id from events where id > ${to} order by id`)).map(([id]) => Number(id))
    expect(left).toEqual(range(Number(next), 3000))
  }
  await mysqlEvents(database.poolOf({})).purge({ cursors })
  expect(await database.sql('select min(id), count(*) from events')).toEqual([['2801', '200']])
}, 120_000)

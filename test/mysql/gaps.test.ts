import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection } from 'mysql2/promise'
import { describe, expect, test } from 'vitest'
import { type Blocked, type MysqlEvents, mysqlEvents } from '../../src/adapters/mysql/index.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { run } from '../../src/core/run.ts'
import type { StreamOptions } from '../../src/core/stream.ts'
import { type Reader, reader, within } from '../tools/reader.ts'
import { type Database, hastyClock, newDatabase } from './database.ts'
import { proofServers } from './proof-servers.ts'
import { writeMuch } from './write-much.ts'

const older = process.env['REFLEX_BRIDGE_SERVERS'] === 'older'

/** A table that is read with one of the proofs. */
interface Table extends AsyncDisposable {
  readonly database: Database
  readonly events: MysqlEvents
  /** What the stream next says is in its way. */
  blocked(): Promise<Blocked>
  open(options?: StreamOptions): Promise<Reader>
  /** Two connections that write. */
  connect(): Promise<{ readonly first: Connection; readonly second: Connection }>
  /** A stream that stands at id 2, after id 1 was rolled back: its first gap, which is not proven as the later ones are. */
  passedOneGap(): Promise<{ readonly stream: Reader; readonly first: Connection; readonly second: Connection }>
}

const ROW = "('x', utc_timestamp(6), 1)"
const INTO = 'insert into events (foreign_id, timestamp, type)'
const insert = (connection: Connection, values = ROW): Promise<unknown> => connection.query(`${INTO} values ${values}`)
const ids = async (events: Promise<readonly { readonly id: string }[]>): Promise<string[]> =>
  (await events).map(({ id }) => id)

async function table(database: Database, user: string): Promise<Table> {
  const told: Blocked[] = []
  let next = Promise.withResolvers<void>()
  let seen = 0
  const events = mysqlEvents(database.poolOf({ user }), {
    clock: hastyClock,
    onBlocked: (blocked) => {
      told.push(blocked)
      next.resolve()
      next = Promise.withResolvers()
    },
  })
  await events.createTable()
  const readers: Reader[] = []
  const open = async (options: StreamOptions = {}): Promise<Reader> => {
    readers.push(reader(await events.source.stream('', options)))
    return readers.at(-1) as Reader
  }
  const connect = async () => ({ first: await database.connect(), second: await database.connect() })
  return {
    database,
    events,
    blocked: async () => {
      while (told.length === seen) await within(next.promise, 10_000, 'being told who is in the way')
      seen = told.length
      return told[seen - 1] as Blocked
    },
    open,
    connect,
    passedOneGap: async () => {
      const { first, second } = await connect()
      await first.beginTransaction()
      await insert(first)
      await first.rollback()
      await insert(second)
      const stream = await open()
      expect(await ids(stream.take(1))).toEqual(['2'])
      seen = told.length // of the gap that it has passed
      return { stream, first, second }
    },
    [Symbol.asyncDispose]: async () => {
      for (const each of readers) await each[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
    },
  }
}

// Servers of their own: a prepared XA transaction is in the way of every stream of a MariaDB server.
const servers = proofServers()

const proofs = {
  [older ? 'metadata-lock-info' : 'metadata-locks']: async () => table(await newDatabase(servers.own), 'root'),
  barrier: async () => {
    const database = await newDatabase(servers.plain)
    const { user, quoted } = await database.account()
    await database.sql(`grant all on ${database.name}.* to ${quoted}`)
    await database.sql(`grant ${database.mariadb ? 'slave monitor' : 'replication client'} on *.* to ${quoted}`)
    return table(database, user)
  },
}

describe.concurrent.each(Object.entries(proofs))('late commits, by %s', (kind, make) => {
  test('this proof is the one that is used', async () => {
    await using at = await make()
    expect(await at.events.check()).toMatchObject({ proof: kind })
  })

  test('none of what 8 writers commit is lost, though a reader that pages by id loses some', async () => {
    await using at = await make()
    const stopped = new AbortController()
    const naive = new Set<string>()
    const paging = (async () => {
      const connection = await at.database.connect()
      for (let last = '0'; !stopped.signal.aborted; await sleep(1)) {
        const [rows] = await connection.query(`select id from events where id > ${last} order by id limit 1000`)
        for (const { id } of rows as { id: string }[]) {
          naive.add(id)
          last = id
        }
      }
    })()
    const handled: string[] = []
    const running = run(
      {
        stream: at.events.source.stream,
        cursors: memoryCursors(),
        consumer: { name: 'all', handle: ({ id }) => void handled.push(id) },
      },
      { signal: stopped.signal },
    )
    await writeMuch(at.database, { writers: 8, forMs: 1500 })
    const committed = (await at.database.sql('select id from events order by id')).map(([id]) => id as string)
    const late = await at.open({ toHead: true })
    expect(await ids(late.rest())).toEqual(committed)
    while (handled.length < committed.length) await sleep(5)
    stopped.abort()
    expect((await running).reason).toBe('aborted')
    await paging
    expect(handled).toEqual(committed)
    expect(committed.length).toBeGreaterThan(20)
    expect(naive.size).toBeLessThan(committed.length)
  })

  test('none is lost after fromHead, by a reader that is opened amid writers', async () => {
    await using at = await make()
    const writing = writeMuch(at.database, { writers: 4, forMs: 1000 })
    while (Number((await at.database.sql('select count(*) from events'))[0]?.[0]) === 0) await sleep(5)
    const stream = await at.open({ fromHead: true })
    const { cursor } = await stream.batch()
    await writing
    const after = (await at.database.sql(`select id from events where id > ${cursor} order by id`)).map(([id]) => id)
    expect(await ids(stream.take(after.length))).toEqual(after)
    const all = await at.database.sql('select count(*) from events')
    expect(after.length).toBeLessThan(Number(all[0]?.[0]))
  })

  for (const outcome of ['commit', 'rollback', 'a lost connection', 'KILL'] as const) {
    test(`the very first id is waited for until ${outcome}`, async () => {
      await using at = await make()
      const { first, second } = await at.connect()
      await first.beginTransaction()
      await insert(first)
      await insert(second)
      const stream = await at.open()
      const read = ids(stream.take(outcome === 'commit' ? 2 : 1))
      const blocked = await at.blocked()
      expect(blocked).toMatchObject({ name: at.events.source.name, holder: expect.stringMatching(/./) })
      expect(blocked.blockedMs).toBeGreaterThanOrEqual(1000)
      if (outcome === 'a lost connection') first.destroy()
      else if (outcome === 'KILL') await second.query(`kill ${first.threadId}`)
      else await first[outcome]()
      expect(await read).toEqual(outcome === 'commit' ? ['1', '2'] : ['2'])
    })

    test(`an id in between is waited for until ${outcome}`, async () => {
      await using at = await make()
      const { stream, first, second } = await at.passedOneGap()
      await first.beginTransaction()
      await insert(first)
      await insert(second)
      const read = ids(stream.take(outcome === 'commit' ? 2 : 1))
      expect((await at.blocked()).holder).toContain('events')
      if (outcome === 'a lost connection') first.destroy()
      else if (outcome === 'KILL') await second.query(`kill ${first.threadId}`)
      else await first[outcome]()
      expect(await read).toEqual(outcome === 'commit' ? ['3', '4'] : ['4'])
    })
  }

  test('fromHead does not pin a position that a lower id may still appear under', async () => {
    await using at = await make()
    const { first, second } = await at.connect()
    await first.beginTransaction()
    await insert(first)
    await insert(second)
    let opened = false
    const opening = at.open({ fromHead: true }).then((stream) => {
      opened = true
      return stream
    })
    await at.blocked()
    expect(opened).toBe(false)
    await first.commit()
    const stream = await opening
    expect(await stream.batch()).toEqual({ events: [], cursor: '2' })
    await insert(second)
    expect(await ids(stream.take(1))).toEqual(['3'])
  })

  test('toHead does not take a gap for the head', async () => {
    await using at = await make()
    const { first, second } = await at.connect()
    await insert(second)
    await first.beginTransaction()
    await insert(first, `${ROW}, ${ROW}`)
    await insert(second)
    const stream = await at.open({ toHead: true })
    const read = ids(stream.rest())
    await at.blocked()
    await first.commit()
    expect(await read).toEqual(['1', '2', '3', '4'])
  })

  test('an INSERT that is slow keeps its ids, and does not fail', async () => {
    await using at = await make()
    const { stream, first, second } = await at.passedOneGap()
    const slowly = insert(first, `${ROW}, (concat('slow', sleep(1.5)), utc_timestamp(6), 1), ${ROW}`)
    const sleeping = `select count(*) from information_schema.processlist where db = '${at.database.name}' and state = 'User sleep'`
    while (Number((await at.database.sql(sleeping))[0]?.[0]) === 0) await sleep(5)
    await insert(second)
    const read = stream.take(4)
    await at.blocked()
    await slowly
    expect((await read).map(({ id, foreignId }) => [id, foreignId])).toEqual([
      ['3', 'x'],
      ['4', 'slow0'],
      ['5', 'x'],
      ['6', 'x'],
    ])
  })

  const selected = "select 's', utc_timestamp(6), 2 from (select 1 union select 2 union select 3) three"
  const low = 'low_priority into events (foreign_id, timestamp, type)'
  const three = `${INTO} values ${ROW}, ${ROW}, ${ROW}`
  const unique = 'alter table events add once int unique'
  const once = 'insert into events (foreign_id, timestamp, type, once)'
  const begin = 'start transaction'
  const statements: Record<string, { setup?: string[]; before: string[]; after: string[] }> = {
    'INSERT … SELECT': { before: [begin, `${INTO} ${selected}`], after: ['commit'] },
    'INSERT LOW_PRIORITY': { before: [begin, `insert ${low} values ${ROW}`], after: ['commit'] },
    'REPLACE LOW_PRIORITY': { before: [begin, `replace ${low} values ${ROW}`], after: ['commit'] },
    'a session with low_priority_updates': {
      before: ['set low_priority_updates = 1', begin, three],
      after: ['commit'],
    },
    'INSERT … ON DUPLICATE KEY UPDATE, also of a row that was there,': {
      setup: [unique, `${once} values ('x', now(), 1, 1), ('x', now(), 1, 7)`], // 1: the gap before 7 is locked
      before: [
        'set session transaction isolation level read committed', // or it locks the gap behind it
        begin,
        `${once} values ('x', now(), 1, 8), ('x', now(), 1, 7), ('x', now(), 1, 9) on duplicate key update once = values(once)`,
      ],
      after: ['commit'],
    },
    'a transaction that goes back to a savepoint': {
      before: [begin, `${INTO} values ${ROW}`, 'savepoint a', `${INTO} values ${ROW}`],
      after: ['rollback to savepoint a', 'commit'],
    },
    'a transaction that another transaction of its session follows': {
      before: [begin, three, 'rollback and chain', three],
      after: ['commit and chain', 'rollback'],
    },
    'autocommit = 0': { before: ['set autocommit = 0', three], after: ['commit'] },
    'a partitioned table': {
      setup: ['alter table events partition by hash (id) partitions 4'],
      before: [begin, three],
      after: ['commit'],
    },
    'a table that a trigger writes to': {
      setup: [
        'create table orders (id int primary key)',
        `create trigger told after insert on orders for each row ${INTO} values ${ROW}`,
      ],
      before: [begin, 'insert into orders values (1), (2)'],
      after: ['commit'],
    },
  }
  for (const isolation of ['read uncommitted', 'read committed', 'repeatable read', 'serializable'])
    statements[`an INSERT of many rows under ${isolation.toUpperCase()}`] = {
      before: [`set session transaction isolation level ${isolation}`, begin, three],
      after: ['commit'],
    }
  for (const [what, { setup = [], before, after }] of Object.entries(statements)) {
    test(`the ids of ${what} are held until its end`, async () => {
      await using at = await make()
      const { stream, first, second } = await at.passedOneGap()
      for (const sql of setup) await at.database.sql(sql)
      for (const sql of before) await first.query(sql)
      await insert(second)
      const [[newest]] = (await at.database.sql('select max(id) from events')) as [[string]]
      const read = (async () => {
        const found: string[] = []
        while (found.at(-1) !== newest) found.push(...(await ids(stream.take(1))))
        return found
      })()
      await at.blocked()
      for (const sql of after) await first.query(sql)
      const committed = await at.database.sql('select id from events where id > 2 order by id')
      expect(await read).toEqual(committed.map(([id]) => id))
      expect(committed.length).toBeGreaterThan(1)
    })
  }

  test('ids with steps between them are read, whoever gives which', async () => {
    await using at = await make()
    const { first, second } = await at.connect()
    await first.query('set auto_increment_increment = 5, auto_increment_offset = 3')
    await second.query('set auto_increment_increment = 2')
    const stream = await at.open()
    await insert(second, `${ROW}, ${ROW}`)
    expect(await ids(stream.take(2))).toEqual(['1', '3'])
    await first.beginTransaction()
    await insert(first, `${ROW}, ${ROW}`)
    await insert(second)
    const read = ids(stream.take(3))
    await at.blocked()
    await first.commit()
    const all = (await at.database.sql('select id from events order by id')).map(([id]) => id)
    expect(await read).toEqual(all.slice(2))
    const late = await at.open({ toHead: true })
    expect(await ids(late.rest())).toEqual(all)
  })

  test('rows that were deleted do not hide an id that is held among them', async () => {
    await using at = await make()
    const { first, second } = await at.connect()
    await insert(second, Array(6).fill(ROW).join(', '))
    const [[newest]] = (await at.database.sql('select max(id) from events')) as [[string]]
    await first.beginTransaction()
    await insert(first)
    await insert(second, Array(6).fill(ROW).join(', '))
    const last = Number(newest)
    await at.database.sql(`delete from events where id between 2 and ${last - 1} or id = ${last + 2}`)
    const stream = await at.open()
    const before = (await at.database.sql(`select id from events where id <= ${last}`)).length
    const read = ids(stream.take(before + 2))
    await at.blocked()
    await first.commit()
    const all = await at.database.sql('select id from events order by id')
    expect(await read).toEqual(all.slice(0, before + 2).map(([id]) => id))
  })

  test('a table that is altered while it is written and read loses nothing and ends no stream', async () => {
    await using at = await make()
    await at.database.sql('alter table events add note int')
    const stream = await at.open()
    const writing = writeMuch(at.database, { writers: 4, forMs: 1500 })
    const altering = (async () => {
      for (const change of [
        'add column a int, algorithm = instant',
        'rename column note to remark',
        'add index (foreign_id), algorithm = inplace, lock = none',
        'force, algorithm = inplace, lock = none',
        'add column b int not null default 7 first, algorithm = copy',
      ]) {
        await at.database.sql(`alter table events ${change}`)
        await sleep(100)
      }
    })()
    await Promise.all([writing, altering])
    const all = (await at.database.sql('select id from events order by id')).map(([id]) => id)
    expect(await ids(stream.take(all.length))).toEqual(all)
  })

  test('LOCK TABLES WRITE of the application is waited for', async () => {
    await using at = await make()
    const { stream, first } = await at.passedOneGap()
    await first.query('lock tables events write')
    await insert(first)
    const read = ids(stream.take(2))
    expect((await at.blocked()).holder).toContain('events')
    await insert(first)
    await first.query('unlock tables')
    expect(await read).toEqual(['3', '4'])
  })

  for (const outcome of ['commit', 'rollback']) {
    // One was prepared before the stream was opened: then moves of locks are to be expected.
    const prepareOne = async ({ first }: { readonly first: Connection }, xid: string): Promise<void> => {
      for (const sql of ['start', 'end', 'prepare', 'rollback']) await first.query(`xa ${sql} ${xid}`)
    }

    test(`XA: an id is waited for while its transaction is prepared, loses its session, and until the ${outcome} by another`, async () => {
      await using at = await make()
      const xid = `'${at.database.name}'`
      await prepareOne(await at.connect(), xid)
      const { stream, first, second } = await at.passedOneGap()
      await first.query(`xa start ${xid}`)
      await insert(first)
      await insert(second)
      const read = ids(stream.take(outcome === 'commit' ? 2 : 1))
      await at.blocked()
      await first.query(`xa end ${xid}`)
      await first.query(`xa prepare ${xid}`)
      first.destroy()
      await Promise.race([at.blocked(), read])
      await second.query(`xa ${outcome} ${xid}`)
      expect(await read).toEqual(outcome === 'commit' ? ['3', '4'] : ['4'])
    })

    test(`XA: an id of a prepared transaction without a session is waited for until its ${outcome}`, async () => {
      await using at = await make()
      const xid = `'${at.database.name}'`
      await prepareOne(await at.connect(), xid)
      const { stream, first, second } = await at.passedOneGap()
      await first.query(`xa start ${xid}`)
      await insert(first)
      await first.query(`xa end ${xid}`)
      await first.query(`xa prepare ${xid}`)
      first.destroy()
      await insert(second)
      const read = ids(stream.take(outcome === 'commit' ? 2 : 1))
      await Promise.race([at.blocked(), read])
      await second.query(`xa ${outcome} ${xid}`)
      expect(await read).toEqual(outcome === 'commit' ? ['3', '4'] : ['4'])
    })
  }

  test('nothing is written while reading, and the ids go on', async () => {
    await using at = await make()
    const { first, second } = await at.connect()
    await first.beginTransaction()
    await insert(first)
    await insert(second)
    const stream = await at.open()
    const read = ids(stream.take(1))
    await first.rollback()
    expect(await read).toEqual(['2'])
    await insert(second)
    expect(await at.database.sql('select id from events order by id')).toEqual([['2'], ['3']])
  })

  test('a close while it is blocked leaves no connection', async () => {
    await using at = await make()
    const { first, second } = await at.connect()
    await first.beginTransaction()
    await insert(first)
    await insert(second)
    const before = await at.database.connections()
    const stream = await at.open()
    const read = stream.rest()
    await at.blocked()
    await stream[Symbol.asyncDispose]()
    expect(await read).toEqual([])
    const closed = performance.now()
    while ((await at.database.connections()) > before) await sleep(10)
    expect(performance.now() - closed).toBeLessThan(1000)
    await first.rollback()
  })
})

describe(`late commits, by ${Object.keys(proofs)[0]}`, () => {
  const make = Object.values(proofs)[0] as () => Promise<Table>

  test('connections that go from one transaction to the next at once do not starve the reader', async () => {
    await using at = await make()
    await at.database.sql(`create procedure busy() begin
      declare rounds int default 0;
      while rounds < 60 do
        start transaction; ${INTO} values ${ROW}; do sleep(0.05); commit; set rounds = rounds + 1;
      end while; end`)
    const { stream, first } = await at.passedOneGap()
    const busy = Array.from({ length: 8 }, async () => (await at.database.connect()).query('call busy()'))
    for (let gap = 0; gap < 3; gap++) {
      await first.beginTransaction()
      await insert(first)
      await first.rollback()
      const [[newest]] = (await at.database.sql('select max(id) from events')) as [[string]]
      const passing = (async () => {
        for (let id = 0n; id < BigInt(newest); ) id = BigInt((await stream.take(1))[0]?.id as string)
      })()
      await within(passing, 2500, 'waiting for transactions of 50 ms')
    }
    await Promise.all(busy)
    const all = await at.database.sql('select id from events order by id')
    const late = await at.open({ toHead: true })
    expect(await ids(late.rest())).toEqual(all.map(([id]) => id))
  })

  test('no writer waits for the reader', async () => {
    await using at = await make()
    const { stream, first } = await at.passedOneGap()
    const stopped = new AbortController()
    const writers = Array.from({ length: 4 }, async () => {
      const connection = await at.database.connect()
      while (!stopped.signal.aborted) await insert(connection)
    })
    await first.beginTransaction()
    await insert(first)
    const read = stream.take(100)
    await at.blocked()
    const waiting = `select count(*) from information_schema.processlist where db = ? and state like 'Waiting for table%lock%'`
    for (let look = 0; look < 300; look++) expect(await at.database.sql(waiting, [at.database.name])).toEqual([['0']])
    await first.commit()
    await read
    stopped.abort()
    await Promise.all(writers)
  })
})

import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection } from 'mysql2/promise'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type MysqlEvents, mysqlEvents } from '../../src/adapters/mysql/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import { type Server, startServer } from '../../src/testing/servers/index.ts'
import { errorOf, eventually, type Reader, reader } from '../tools/reader.ts'
import { type Database, hastyClock, newDatabase } from './database.ts'
import { proofServers } from './proof-servers.ts'

const older = process.env['REFLEX_BRIDGE_SERVERS'] === 'older'
const ROW = "('x', utc_timestamp(6), 1)"
const INTO = 'insert into events (foreign_id, timestamp, type)'

/** A table in a database of its own, with a stream that stands at id 2: its first gap is behind it. */
interface Scene extends AsyncDisposable {
  readonly database: Database
  readonly first: Connection
  readonly second: Connection
  readonly stream: Reader
  readonly events: MysqlEvents
  /** Resolves when the stream next says that it is blocked. */
  blocked(): Promise<void>
}

const servers = proofServers({ args: ['--local-infile=1'] })
/** Only this one's transactions are listed. */
let listed: Server
beforeAll(async () => {
  listed = await startServer('mysql', { from: ['docker', 'native'], args: older ? [] : ['--local-infile=1'] })
})
afterAll(() => listed[Symbol.asyncDispose]())

async function scene(
  server: Server,
  account: 'root' | 'barrier' | 'process',
  setup: readonly string[] = [],
): Promise<Scene> {
  const database = await newDatabase(server)
  let user = 'root'
  if (account !== 'root') {
    const made = await database.account()
    user = made.user
    if (account === 'barrier') await database.sql(`grant all on ${database.name}.* to ${made.quoted}`)
    else {
      await database.sql(`grant select on ${database.name}.* to ${made.quoted}`)
      await database.sql(`grant process on *.* to ${made.quoted}`)
      for (const each of older ? [] : ['threads', 'events_statements_current']) {
        await database.sql(`grant select on performance_schema.${each} to ${made.quoted}`)
      }
    }
    await database.sql(`grant ${older ? 'slave monitor' : 'replication client'} on *.* to ${made.quoted}`)
  }
  let told = Promise.withResolvers<void>()
  const events = mysqlEvents(database.poolOf({ user }), {
    clock: hastyClock,
    onBlocked: () => {
      told.resolve()
      told = Promise.withResolvers()
    },
  })
  await mysqlEvents(database.pool).createTable()
  for (const sql of setup) await database.sql(sql)
  const [first, second] = [await database.connect(), await database.connect()]
  await first.beginTransaction()
  await first.query(`${INTO} values ${ROW}`)
  await first.rollback()
  await second.query(`${INTO} values ${ROW}`)
  const stream = reader(await events.source.stream('', {}))
  expect((await stream.take(1)).map(({ id }) => id)).toEqual(['2'])
  return {
    database,
    first,
    second,
    stream,
    events,
    blocked: () => told.promise,
    [Symbol.asyncDispose]: async () => {
      await stream[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
    },
  }
}

/** Reads on to the newest row, and expects all that is committed. */
async function readsAll({ database, stream }: Scene, taken: readonly string[]): Promise<string[]> {
  const committed = (await database.sql('select id from events where id > 2 order by id')).map(([id]) => String(id))
  const read = [...taken]
  while (read.at(-1) !== committed.at(-1)) read.push(...(await stream.take(1)).map(({ id }) => id))
  expect(read).toEqual(committed)
  return read
}

/** What a transaction does before it is overtaken, and how it ends. `slow` statements are not waited for. */
interface Attack {
  readonly setup?: readonly string[]
  readonly before: readonly string[]
  readonly slow?: string
  readonly after?: readonly string[]
  /** No id comes late: nothing of it is committed before the second connection's row. */
  readonly dead?: boolean
}

const TRIGGER = [
  'create table orders (id int auto_increment primary key, note text)',
  `create trigger orders_events after insert on orders for each row ${INTO} values ('t', utc_timestamp(6), 3)`,
]
/** Without it what is rolled back to a savepoint leaves a lock that other inserts wait for. */
const COMMITTED = 'set session transaction isolation level read committed'
const attacks: Record<string, Attack> = {
  'a savepoint that lets go of the lock, and another insert': {
    before: ['begin', 'savepoint a', `${INTO} values ${ROW}`, 'rollback to savepoint a', `${INTO} values ${ROW}`],
    after: ['commit'],
  },
  'a savepoint after the insert': {
    before: [
      COMMITTED,
      'begin',
      `${INTO} values ${ROW}`,
      'savepoint a',
      'select * from events',
      `${INTO} values ${ROW}`,
      'rollback to savepoint a',
    ],
    after: ['commit'],
  },
  'a savepoint between a read and the insert': {
    before: [
      COMMITTED,
      'begin',
      'select * from events',
      'savepoint a',
      `${INTO} values ${ROW}`,
      'savepoint b',
      `${INTO} values ${ROW}`,
      'rollback to savepoint b',
    ],
    after: ['release savepoint a', 'commit'],
  },
  'a table in partitions': {
    setup: ['alter table events partition by hash (id) partitions 4'],
    before: ['begin', `${INTO} values ${ROW}, ${ROW}, ${ROW}`],
    after: ['commit'],
  },
  'a foreign key': {
    setup: [
      'create table parents (id int primary key)',
      'insert into parents values (7)',
      'alter table events add column parent int default 7, add foreign key (parent) references parents (id) on delete cascade',
    ],
    before: ['begin', `${INTO} values ${ROW}`],
    after: ['commit'],
  },
  REPLACE: { before: ['begin', `replace into events (foreign_id, timestamp, type) values ${ROW}`], after: ['commit'] },
  'REPLACE LOW_PRIORITY … SELECT': {
    before: [
      'begin',
      `replace low_priority into events (foreign_id, timestamp, type) select 'x', utc_timestamp(6), 1 from (select 1 union select 2) two`,
    ],
    after: ['commit'],
  },
  [older ? 'REPLACE … SET' : 'INSERT DELAYED']: {
    before: [
      'begin',
      older
        ? "replace into events set foreign_id = 'x', timestamp = now(), type = 1"
        : `insert delayed into events (foreign_id, timestamp, type) values ${ROW}`,
    ],
    after: ['commit'],
  },
  'INSERT IGNORE … ON DUPLICATE KEY UPDATE': {
    before: [
      'begin',
      `insert ignore into events (foreign_id, timestamp, type) values ${ROW} on duplicate key update type = 9`,
    ],
    after: ['commit'],
  },
  low_priority_updates: {
    before: ['set low_priority_updates = 1', 'begin', `${INTO} values ${ROW}`],
    after: ['commit'],
  },
  'autocommit = 0': { before: ['set autocommit = 0', `${INTO} values ${ROW}`], after: ['set autocommit = 1'] },
  'an implicit commit by DDL': { before: ['begin', `${INTO} values ${ROW}`], after: ['create table other (id int)'] },
  'READ UNCOMMITTED': {
    before: ['set session transaction isolation level read uncommitted', 'begin', `${INTO} values ${ROW}`],
    after: ['commit'],
  },
  SERIALIZABLE: {
    before: ['set session transaction isolation level serializable', 'begin', `${INTO} values ${ROW}`],
    after: ['commit'],
  },
  'a step of its own between ids': {
    before: ['set session auto_increment_increment = 7', 'begin', `${INTO} values ${ROW}, ${ROW}, ${ROW}`],
    after: ['commit'],
  },
  'a view': {
    setup: ['create view v as select * from events'],
    before: ['begin', `insert into v (foreign_id, timestamp, type) values ${ROW}`],
    after: ['commit'],
  },
  'a trigger': { setup: TRIGGER, before: ['begin', "insert into orders (note) values ('a')"], after: ['commit'] },
  'LOCK TABLES on a table with a trigger': {
    setup: TRIGGER,
    before: ['set autocommit = 0', 'lock tables orders write', "insert into orders (note) values ('a')"],
    after: ['commit', 'unlock tables'],
    dead: true,
  },
  'LOCK TABLES READ and WRITE': {
    before: ['set autocommit = 0', 'lock tables events write', `${INTO} values ${ROW}`],
    after: ['commit', 'unlock tables'],
    dead: true,
  },
  'a function in a SELECT': {
    setup: [`create function f() returns int begin ${INTO} values ${ROW}; return sleep(1); end`],
    before: [],
    slow: 'select f()',
  },
  'a procedure that handles its error': {
    setup: [
      `create procedure p() begin declare continue handler for sqlexception begin end; start transaction; ${INTO} values ${ROW}; insert into missing values (1); do sleep(1); commit; end`,
    ],
    before: [],
    slow: 'call p()',
  },
  'a prepared statement': {
    before: [`prepare s from "${INTO} values ${ROW}"`, 'begin', 'execute s', 'deallocate prepare s'],
    after: ['commit'],
  },
  'HANDLER OPEN in the transaction': {
    before: ['begin', `${INTO} values ${ROW}`, 'handler events open'],
    after: ['commit', 'handler events close'],
  },
  'a temporary table of the same name, made later': {
    before: ['begin', `${INTO} values ${ROW}`, 'create temporary table events (id int)'],
    after: ['drop temporary table events', 'commit'],
  },
  'INSERT … SELECT from the table itself': {
    before: [],
    slow: `${INTO} select concat('s', sleep(0.5)), utc_timestamp(6), 2 from events, (select 1 union select 2 union select 3) three`,
  },
  'a change of many columns after it': {
    before: [
      COMMITTED,
      'begin',
      `${INTO} values ${ROW}`,
      'update events set type = 5 where id > 2',
      `${INTO} values ${ROW}`,
    ],
    after: ['commit'],
  },
}

const proofs = {
  [older ? 'metadata-lock-info' : 'metadata-locks']: (setup?: readonly string[]) => scene(servers.own, 'root', setup),
  barrier: (setup?: readonly string[]) => scene(servers.plain, 'barrier', setup),
  transactions: (setup?: readonly string[]) => scene(listed, 'process', setup),
}

describe.concurrent.each(Object.entries(proofs))('late ids, by %s', (kind, make) => {
  // Streams that list transactions hold one another up: the list is a copy, renewed once nobody has read it for 100 ms.
  const concurrent = kind !== 'transactions'
  for (const [what, attack] of Object.entries(attacks)) {
    test(`are not lost with ${what}`, { concurrent }, async () => {
      await using at = await make(attack.setup)
      const { first, second } = at
      for (const sql of attack.before) await first.query(sql)
      const slow = attack.slow === undefined ? undefined : first.query(attack.slow)
      if (slow !== undefined) {
        const sleeping = `select count(*) from information_schema.processlist where db = '${at.database.name}' and state = 'User sleep'`
        await eventually(async () => Number((await at.database.sql(sleeping))[0]?.[0]) > 0, 10_000, 'a slow statement')
      }
      const overtaking = second.query(`${INTO} values ${ROW}`)
      if (attack.dead !== true) await overtaking
      const read = at.stream.take(1)
      if (attack.dead !== true) await Promise.race([at.blocked(), read])
      for (const sql of attack.after ?? []) await first.query(sql)
      await slow
      await overtaking
      await readsAll(
        at,
        (await read).map(({ id }) => id),
      )
    })
  }
})

async function overtakenBy({ first, second }: Scene, before: () => Promise<unknown>): Promise<void> {
  await first.beginTransaction()
  await first.query(`${INTO} values ${ROW}`)
  await before()
  await second.query(`${INTO} values ${ROW}`)
}

async function commitsLate(at: Scene, taken: string[] = []): Promise<string[]> {
  const read = at.stream.take(1)
  await Promise.race([at.blocked(), read])
  await at.first.commit()
  return await readsAll(at, [...taken, ...(await read).map(({ id }) => id)])
}

describe.runIf(!older)('what MySQL does not show is not taken for an end', () => {
  const started: Server[] = []
  const start = async (...args: string[]): Promise<Server> => {
    started.push(await startServer('mysql', { from: ['docker', 'native'], args }))
    return started.at(-1) as Server
  }
  afterAll(async () => {
    for (const each of started) await each[Symbol.asyncDispose]()
  })
  const instrument = (enabled: string): string =>
    `update performance_schema.setup_instruments set enabled = '${enabled}' where name = 'wait/lock/metadata/sql/mdl'`

  test('a lock from while the instrument was off, by a stream that is opened again', async () => {
    const before = await scene(await start(), 'root')
    await before.database.sql(instrument('NO'))
    await before.first.beginTransaction()
    await before.first.query(`${INTO} values ${ROW}`)
    await before.second.query(`${INTO} values ${ROW}`)
    expect(codeOf(await errorOf(before.stream.take(1)))).toBe('GAP_PROOF_LOST')
    await before.database.sql(instrument('YES'))
    await using at = { ...before, stream: reader(await before.events.source.stream('2', {}), '2') }
    await commitsLate(at)
  })

  test('a lock that there was no room for, with FLUSH STATUS after it', async () => {
    const tables = Array.from({ length: 40 }, (_, i) => `t${i}`)
    await using at = await scene(
      await start('--performance-schema-max-metadata-locks=20'),
      'root',
      tables.map((each) => `create table ${each} (id int)`),
    )
    await at.database.sql('flush status')
    await overtakenBy(at, async () => {})
    const taken = await commitsLate(at) // and what was lost while it was set up is over
    const full = await at.database.connect()
    await full.beginTransaction()
    for (const each of tables) await full.query(`select * from ${each}`)
    await overtakenBy(at, async () => {
      await full.rollback()
      await at.database.sql('flush status')
    })
    await commitsLate(at, taken)
  })

  test('a connection that there was no room for, with FLUSH STATUS after it', async () => {
    const server = await start('--performance-schema-max-thread-instances=50')
    await using at = await scene(server, 'root')
    const shown = `select count(*) from performance_schema.metadata_locks
      where object_schema = '${at.database.name}' and object_name = 'events' and lock_type = 'SHARED_WRITE'`
    let first: Connection
    for (;;) {
      first = await at.database.connect()
      await first.beginTransaction()
      await first.query(`${INTO} values ${ROW}`)
      if ((await at.database.sql(shown))[0]?.[0] === '0') break
      await first.rollback() // there was room for it, which it keeps
    }
    // Uptimes are whole seconds: a flush in the server's first one is not seen as such, and the stream waits for the transaction.
    const uptime = "show global status where variable_name = 'Uptime'"
    await eventually(async () => Number((await at.database.sql(uptime))[0]?.[1]) >= 2, 10_000, 'the first second over')
    await at.database.sql('flush status')
    await at.second.query(`${INTO} values ${ROW}`)
    expect(codeOf(await errorOf(at.stream.take(1)))).toBe('GAP_PROOF_LOST')
    expect((await at.events.check()).proof).toBe('barrier')
    await using again = reader(await at.events.source.stream('2', {}), '2')
    await commitsLate({ ...at, first, stream: again })
  })

  test('a statement that waits for its turn with an id, without performance_schema', async () => {
    const server = await start('--performance-schema=OFF')
    await using at = await scene(server, 'process', ['create table two as select 1 as id union select 2'])
    const busy = await at.database.connect()
    await at.database.sql('set global innodb_thread_sleep_delay = 1000000')
    await at.database.sql('set global innodb_adaptive_max_sleep_delay = 0')
    await at.database.sql('set global innodb_thread_concurrency = 1')
    const inside = busy.query('select id, sleep(0.1) from two')
    const sleeping = "select count(*) from information_schema.processlist where state = 'User sleep'"
    await eventually(async () => Number((await at.database.sql(sleeping))[0]?.[0]) > 0, 5000, 'a query inside')
    const slow = at.first.query(`${INTO} values ${ROW}`)
    await inside
    await at.database.sql('set global innodb_thread_concurrency = 0')
    await at.second.query(`${INTO} values ${ROW}`)
    const read = at.stream.take(1)
    await slow
    await readsAll(
      at,
      (await read).map(({ id }) => id),
    )
  })
})

describe.runIf(!older)('where writers would wait behind LOCK TABLES, as max_write_lock_count is low', () => {
  let server: Server
  beforeAll(async () => {
    server = await startServer('mysql', { from: ['docker', 'native'], args: ['--max-write-lock-count=1'] })
  })
  afterAll(() => server[Symbol.asyncDispose]())

  test('it is not taken: an account that cannot do otherwise is refused', async () => {
    expect(String(await errorOf(scene(server, 'barrier')))).toContain('max_write_lock_count is 1')
  })

  test('it is not taken while transactions are listed instead, and none waits', async () => {
    await using database = await newDatabase(server)
    const { user, quoted } = await database.account()
    await database.sql(`grant all on ${database.name}.* to ${quoted}`)
    await database.sql(`grant process, replication client on *.* to ${quoted}`)
    for (const each of ['threads', 'events_statements_current']) {
      await database.sql(`grant select on performance_schema.${each} to ${quoted}`)
    }
    const events = mysqlEvents(database.poolOf({ user }))
    await events.createTable()
    expect((await events.check()).proof).toBe('barrier')
    const [late, other] = [await database.connect(), await database.connect()]
    await late.beginTransaction()
    await late.query(`${INTO} values ${ROW}`)
    await other.query(`${INTO} values ${ROW}`)
    await using stream = reader(await events.source.stream('', {}))
    const read = stream.take(2)
    const waiting =
      "select count(*) from information_schema.processlist where db = ? and state like 'Waiting for table%lock%'"
    for (let look = 0; look < 200; look++) {
      await other.query(`${INTO} values ${ROW}`)
      expect(await database.sql(waiting, [database.name])).toEqual([['0']])
    }
    await late.commit()
    expect((await read).map(({ id }) => id)).toEqual(['1', '2'])
  })
})

describe.runIf(older)('what MariaDB does not show is not taken for an end', () => {
  for (const [kind, make] of Object.entries(proofs)) {
    test(`by ${kind}: a prepared XA transaction whose commit waits`, async () => {
      await using at = await make()
      const { first, second, database } = at
      const xid = `'${database.name}'`
      await first.query(`xa start ${xid}`)
      await first.query(`${INTO} values ${ROW}`)
      await first.query(`xa end ${xid}`)
      await first.query(`xa prepare ${xid}`)
      first.destroy()
      await second.query(`${INTO} values ${ROW}`)
      const [backup, committing] = [await database.connect(), await database.connect()]
      await backup.query('flush tables with read lock')
      const commit = committing.query(`xa commit ${xid}`)
      const waiting =
        "select count(*) from information_schema.processlist where state like 'Waiting for%' and info like 'xa commit%'"
      await eventually(async () => Number((await database.sql(waiting))[0]?.[0]) > 0, 5000, 'XA COMMIT waiting')
      const read = at.stream.take(1)
      await Promise.race([at.blocked(), read])
      await backup.query('unlock tables')
      await commit
      await readsAll(
        at,
        (await read).map(({ id }) => id),
      )
    })
  }
})

test.runIf(!older)('grants of single tables of performance_schema are enough', async () => {
  await using database = await newDatabase(servers.plain)
  const { user, quoted } = await database.account()
  await database.sql(`grant select, lock tables on ${database.name}.* to ${quoted}`)
  await database.sql(`grant process on *.* to ${quoted}`)
  for (const each of [
    'metadata_locks',
    'setup_instruments',
    'setup_consumers',
    'threads',
    'events_statements_current',
    'replication_connection_configuration',
  ]) {
    await database.sql(`grant select on performance_schema.${each} to ${quoted}`)
  }
  await mysqlEvents(database.pool).createTable()
  const events = mysqlEvents(database.poolOf({ user }))
  expect((await events.check()).proof).toBe('metadata-locks')
  const connection = await database.connect()
  await connection.beginTransaction()
  await connection.query(`${INTO} values ${ROW}`)
  await connection.rollback()
  await connection.query(`${INTO} values ${ROW}`)
  await using stream = reader(await events.source.stream('', {}))
  expect((await stream.take(1)).map(({ id }) => id)).toEqual(['2'])
})

test('a list of transactions that others read all the time is not taken for one of now', async () => {
  await using at = await scene(servers.plain, 'process')
  const others = Array.from({ length: 2 }, async () => {
    const connection = await at.database.connect()
    const until = Date.now() + 2500
    while (Date.now() < until) {
      await connection.query('select count(*) from information_schema.innodb_trx')
      await sleep(20)
    }
  })
  await overtakenBy(at, async () => {})
  const read = at.stream.take(1)
  await Promise.all(others)
  await at.first.commit()
  await readsAll(
    at,
    (await read).map(({ id }) => id),
  )
})

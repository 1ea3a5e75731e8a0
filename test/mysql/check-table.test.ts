import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type EventColumns, type MysqlProblem, mysqlCursors, mysqlEvents } from '../../src/adapters/mysql/index.ts'
import { bridge } from '../../src/bridge/bridge.ts'
import { codeOf } from '../../src/core/errors.ts'
import { memoryLog } from '../../src/core/memory-log.ts'
import { supervise } from '../../src/core/supervise.ts'
import { type Server, startServer } from '../../src/testing/servers/index.ts'
import { simulatedDestination } from '../../src/testing/simulation/simulated-destination.ts'
import { errorOf } from '../tools/reader.ts'
import { type Database, newDatabase, testDatabase } from './database.ts'

const older = process.env['REFLEX_BRIDGE_SERVERS'] === 'older'

// Global variables and plugins are of a whole server.
let server: Server
beforeAll(async () => {
  server = await startServer('mysql', { from: ['docker', 'native'] })
  if (!older) return
  await using database = await newDatabase(server)
  await database.sql("install soname 'metadata_lock_info'")
})
afterAll(() => server[Symbol.asyncDispose]())
const testServer = (): Promise<Database> => testDatabase(server)

/** What is wrong with the table `events` in the eyes of an administrator. */
async function problemsOf({ pool }: Database, columns: Partial<EventColumns> = {}): Promise<readonly MysqlProblem[]> {
  return (await mysqlEvents(pool, { columns }).check()).problems
}

/** The columns of a table without fault, by what each is for. */
const RIGHT: Readonly<Record<keyof EventColumns, string>> = {
  id: 'id bigint not null auto_increment',
  foreignId: 'foreign_id varchar(255) character set utf8mb4 collate utf8mb4_bin not null',
  timestamp: 'timestamp datetime(6) not null',
  type: 'type int not null',
  metadata: 'metadata longblob null',
  headers: 'headers longtext character set utf8mb4 null',
  trace: 'trace blob null',
}

async function create(
  { sql }: Database,
  columns: Partial<Record<keyof EventColumns | 'other', string>>,
  rest = 'primary key (id)',
  after = '',
): Promise<void> {
  const all = Object.values({ ...RIGHT, ...columns }).filter((each) => each !== '')
  await sql(`create table events (${[...all, rest].filter(Boolean).join(', ')}) ${after}`)
}

test('nothing is wrong with what createTable makes, nor with a table of luno/reflex with its widest columns', async () => {
  const database = await testServer()
  await mysqlEvents(database.pool).createTable()
  expect(await problemsOf(database)).toEqual([])
  const columns = { id: 'a', foreignId: 'b', timestamp: 'c', type: 'd', metadata: 'e', headers: 'f', trace: 'g' }
  await mysqlEvents(database.pool, { table: 'named', columns }).createTable()
  expect((await mysqlEvents(database.pool, { table: 'named', columns }).check()).problems).toEqual([])
  await database.sql('drop table events')
  await create(database, { foreignId: 'foreign_id bigint not null', headers: '' })
  expect(await problemsOf(database)).toEqual([])
})

describe('of the columns it finds', () => {
  const cases: Readonly<Record<string, [Parameters<typeof create>[1], MysqlProblem['severity'], RegExp, string?]>> = {
    'an id that ends': [{ id: 'id int unsigned not null auto_increment' }, 'warning', /its last id is 4294967295/],
    'an id without AUTO_INCREMENT': [{ id: 'id bigint not null' }, 'error', /id is not AUTO_INCREMENT/],
    'an id that is a float': [{ id: 'id double not null' }, 'error', /id is double, not bigint/],
    'a foreign id that is a date': [{ foreignId: 'foreign_id date not null' }, 'error', /neither text nor an integer/],
    'a foreign id of bytes': [{ foreignId: 'foreign_id varbinary(16) not null' }, 'error', /neither text nor/],
    'a foreign id that may be NULL': [
      { foreignId: 'foreign_id varchar(255) character set utf8mb4 collate utf8mb4_general_ci null' },
      'warning',
      /foreign_id may be NULL/,
      'collate utf8mb4_general_ci not null',
    ],
    'a short foreign id': [
      { foreignId: 'foreign_id varchar(64) character set utf8mb4 not null' },
      'warning',
      /room for 64 characters, not 255/,
    ],
    'a padded foreign id': [
      { foreignId: 'foreign_id char(255) character set utf8mb4 not null' },
      'warning',
      /loses spaces at the end/,
    ],
    'a foreign id of another character set': [
      { foreignId: 'foreign_id varchar(255) character set latin1 not null' },
      'warning',
      /character set of foreign_id is latin1/,
    ],
    'a timestamp that is a number': [{ timestamp: 'timestamp bigint not null' }, 'error', /neither datetime nor/],
    'a timestamp without µs': [{ timestamp: 'timestamp datetime(3) not null' }, 'warning', /keeps 3 digits/],
    'a timestamp that ends': [
      { timestamp: 'timestamp timestamp(6) not null' },
      'warning',
      /ends in 2038/,
      'datetime(6)',
    ],
    'a timestamp that may be NULL': [{ timestamp: 'timestamp datetime(6) null' }, 'warning', /timestamp may be NULL/],
    'a type that is text': [{ type: 'type varchar(9) not null' }, 'error', /type is varchar\(9\), not an integer/],
    'a type that is too wide': [{ type: 'type int unsigned not null' }, 'warning', /wider than int/],
    'a type that is too narrow': [{ type: 'type smallint not null' }, 'warning', /narrower than int/],
    'a type that may be NULL': [{ type: 'type int null' }, 'warning', /type may be NULL/],
    'a payload that is a number': [{ metadata: 'metadata int null' }, 'error', /neither bytes nor text/],
    'a payload that is JSON': older
      ? [{ metadata: 'metadata json null' }, 'warning', /metadata is longtext, not bytes/]
      : [{ metadata: 'metadata json null' }, 'warning', /metadata is json/],
    'a payload that is text': [
      { metadata: 'metadata mediumtext null' },
      'warning',
      /metadata is mediumtext, not bytes/,
    ],
    'a payload that is filled up': [{ metadata: 'metadata binary(200) null' }, 'warning', /metadata is binary\(200\)/],
    'a small payload': [{ metadata: 'metadata blob null' }, 'warning', /room for 65535 bytes/],
    'a payload that must be given': [{ metadata: 'metadata longblob not null' }, 'warning', /metadata is NOT NULL/],
    'headers that are a number': [{ headers: 'headers int null' }, 'error', /headers is int.*, not text/],
    'small headers': [{ headers: 'headers varchar(99) character set utf8mb4 null' }, 'warning', /room for 99 bytes/],
    'headers that must be given': [{ headers: 'headers longtext not null' }, 'warning', /headers is NOT NULL/],
    'a trace without room': [{ trace: 'trace varbinary(16) null' }, 'warning', /trace is varbinary\(16\)/],
    'a trace that must be given': [{ trace: 'trace blob not null' }, 'warning', /trace is NOT NULL/],
    'a column that must be given': [{ other: 'tenant varchar(9) not null' }, 'error', /tenant must be given/],
  }
  test.each(Object.entries(cases))(
    '%s, and the statement mends it',
    async (_, [columns, severity, found, statement = '']) => {
      const database = await testServer()
      await create(database, columns)
      const problem = (await problemsOf(database)).find((each) => found.test(each.found))
      expect(problem, `none of ${JSON.stringify(await problemsOf(database))} is ${found}`).toMatchObject({ severity })
      expect(problem?.why).not.toBe('')
      expect(problem?.statements.join()).toContain(statement)
      for (const each of problem?.statements ?? []) await database.sql(each)
      expect((await problemsOf(database)).filter((each) => found.test(each.found))).toEqual([])
    },
  )

  test('all that is wrong at once, errors first, and everything is right when all statements have run', async () => {
    const database = await testServer()
    await database.sql('create table parents (id bigint primary key)')
    await database.sql(`create table events (id int auto_increment, foreign_id bigint null, happened timestamp null,
      type bigint, metadata tinytext, tenant int not null, key (id), constraint to_parent foreign key (foreign_id)
      references parents (id) on delete cascade)`)
    const problems = await problemsOf(database)
    expect(problems.map(({ severity }) => severity)).toEqual(problems.map(({ severity }) => severity).sort())
    expect(problems.length).toBeGreaterThanOrEqual(8)
    for (let round = 0; round < 3; round++) {
      for (const { statements } of await problemsOf(database)) for (const each of statements) await database.sql(each)
    }
    expect(await problemsOf(database)).toEqual([])
    const events = mysqlEvents(database.pool)
    await events.append({ type: 1, foreignId: '7', metadata: Buffer.from('x') })
    expect(await events.source.head?.()).toBe('1')
  })

  test('how many ids are left', async () => {
    const database = await testServer()
    await create(database, { id: 'id tinyint not null auto_increment' })
    await mysqlEvents(database.pool).append(...Array.from({ length: 100 }, () => ({ type: 1, foreignId: 'a' })))
    expect(await problemsOf(database)).toMatchObject([{ found: expect.stringContaining('127, and 27 are left') }])
  })

  test('a column that is not there, or is computed', async () => {
    const database = await testServer()
    await create(database, { timestamp: '', type: 'type int as (1) stored', metadata: '', headers: '', trace: '' })
    const problems = await problemsOf(database)
    expect(problems).toMatchObject([
      { severity: 'error', found: expect.stringMatching(/no column timestamp.*option columns/) },
      { severity: 'error', found: 'type is computed from other columns', statements: [] },
    ])
  })
})

describe('of the table it finds', () => {
  test('that it is not there, a view, or of another engine', async () => {
    const database = await testServer()
    const [missing] = await problemsOf(database)
    expect(missing).toMatchObject({ severity: 'error', found: expect.stringContaining('there is no table events') })
    await database.sql(missing?.statements[0] as string)
    expect(await problemsOf(database)).toEqual([])
    await database.sql('rename table events to all_events')
    await database.sql('create view events as select * from all_events')
    expect((await problemsOf(database))[0]).toMatchObject({ found: '`events` is a view', statements: [] })
    await database.sql('drop view events')
    await create(database, {}, undefined, 'engine = MyISAM')
    const { proof, reason, grants, problems } = await mysqlEvents(database.pool).check()
    expect([proof, grants]).toEqual([undefined, []])
    expect(reason).toContain('MyISAM')
    expect(problems).toMatchObject([{ severity: 'error', statements: ['ALTER TABLE `events` ENGINE = InnoDB'] }])
    await database.sql(problems[0]?.statements[0] as string)
    expect(await problemsOf(database)).toEqual([])
  })

  test('that its primary key is not the id alone', async () => {
    for (const [keys, severity, mended] of [
      ['key (id)', 'warning', true],
      ['primary key (foreign_id), unique key (id)', 'warning', true],
      ['primary key (id, foreign_id)', 'warning', true],
    ] as const) {
      const database = await testServer()
      await create(database, {}, keys)
      const [problem, ...others] = await problemsOf(database)
      expect([problem?.severity, problem?.found, others]).toEqual([severity, expect.stringContaining('(id) alone'), []])
      for (const each of problem?.statements ?? []) await database.sql(each)
      expect((await problemsOf(database)).length === 0).toBe(mended)
    }
    const database = await testServer()
    await create(
      database,
      { timestamp: 'timestamp datetime(6) not null' },
      'primary key (id, timestamp)',
      "partition by range columns (timestamp) (partition p0 values less than ('2026-01-01'), partition p1 values less than maxvalue)",
    )
    expect(await problemsOf(database)).toMatchObject([{ severity: 'warning', statements: [] }])
    await database.sql('drop table events')
    await create(database, { id: 'id bigint not null' }, 'primary key (foreign_id)')
    expect((await problemsOf(database)).map(({ found }) => found)).toContain('no index of `events` begins with id')
  })

  test('triggers that change what is inserted, and foreign keys that delete it', async () => {
    const database = await testServer()
    await create(database, {})
    await database.sql('create table counts (n int)')
    await database.sql(
      'create trigger counting after insert on events for each row insert into counts values (new.type)',
    )
    await database.sql('create trigger reading before insert on events for each row set @seen = new.id')
    expect(await problemsOf(database)).toEqual([])
    await database.sql('create trigger giving before insert on events for each row set NEW.`id` = 7')
    await database.sql('create trigger typing before insert on events for each row begin set new . type = 7; end')
    expect(await problemsOf(database)).toMatchObject([
      { severity: 'error', found: expect.stringContaining('giving sets id'), statements: ['DROP TRIGGER `giving`'] },
      { severity: 'warning', found: expect.stringContaining('typing sets type') },
    ])
    await database.sql('drop trigger giving')
    await database.sql('drop trigger typing')
    await database.sql('create table orders (id varchar(255) character set utf8mb4 collate utf8mb4_bin primary key)')
    await database.sql('alter table events add constraint plain foreign key (foreign_id) references orders (id)')
    expect(await problemsOf(database)).toEqual([])
    await database.sql(
      'alter table events add constraint cascading foreign key (foreign_id) references orders (id) on delete cascade',
    )
    expect(await problemsOf(database)).toMatchObject([
      { severity: 'error', statements: ['ALTER TABLE `events` DROP FOREIGN KEY `cascading`'] },
    ])
  })
})

describe('of the server it finds', () => {
  const settings: readonly [setting: string, wrong: string, right: string, found: RegExp][] = [
    ['innodb_flush_log_at_trx_commit', '2', '1', /innodb_flush_log_at_trx_commit is 2, not 1/],
    ['read_only', '1', '0', /read_only is ON/],
    ['max_allowed_packet', '1048576', '16777216', /max_allowed_packet is 1048576/],
  ]
  test.each(settings)('%s = %s', async (setting, wrong, right, found) => {
    const database = await testServer()
    await mysqlEvents(database.pool).createTable()
    await database.sql(`set global ${setting} = ${wrong}`)
    try {
      const problems = await problemsOf(database)
      expect(problems).toMatchObject([{ found: expect.stringMatching(found) }])
      for (const each of problems[0]?.statements ?? []) await database.sql(each)
      expect(await problemsOf(database)).toEqual([])
    } finally {
      await database.sql(`set global ${setting} = ${right}`)
    }
  })

  test('nothing where time zone, sql_mode, isolation and character set are odd', async () => {
    const database = await testServer()
    await mysqlEvents(database.pool).createTable()
    await database.sql("set global time_zone = '+05:00', global sql_mode = '', global character_set_server = latin1")
    await database.sql('set global transaction isolation level serializable')
    expect(await problemsOf(database)).toEqual([])
    await database.sql(
      "set global time_zone = 'SYSTEM', global sql_mode = default, global character_set_server = default",
    )
    await database.sql('set global transaction isolation level repeatable read')
  })

  test('a binary log that does not keep what was committed, or gives replicas other ids', async () => {
    const args = ['--log-bin=binlog', '--server-id=1', '--sync-binlog=0', '--binlog-format=STATEMENT']
    await using logging = await startServer('mysql', { from: ['docker', 'native'], args })
    const database = await testDatabase(logging)
    await mysqlEvents(database.pool).createTable()
    const found = async (): Promise<string> => (await problemsOf(database)).map((each) => each.found).join('; ')
    expect(await found()).toMatch(/sync_binlog is 0, not 1.*binlog_format is STATEMENT/)
    for (const { found: what, statements } of await problemsOf(database)) {
      if (/binlog/.test(what)) for (const each of statements) await database.sql(each)
    }
    expect(await found()).not.toContain('binlog')
    await database[Symbol.asyncDispose]()
  })

  test.skipIf(older)('that metadata locks cannot be seen, and the statement that switches them on', async () => {
    const database = await testServer()
    const events = mysqlEvents(database.pool)
    await events.createTable()
    await database.sql(
      "update performance_schema.setup_instruments set enabled = 'NO' where name = 'wait/lock/metadata/sql/mdl'",
    )
    const { proof, reason, problems } = await events.check()
    expect([proof, problems.length]).toEqual(['barrier', 1])
    expect(problems[0]).toMatchObject({ severity: 'warning', found: expect.stringContaining(reason as string) })
    for (const each of problems[0]?.statements ?? []) await database.sql(each)
    expect(await events.check()).toEqual({ proof: 'metadata-locks', reason: undefined, grants: [], problems: [] })
  })
})

describe('an account with few privileges', () => {
  test('is told what it may not do, and what helps', async () => {
    const database = await testServer()
    await mysqlEvents(database.pool).createTable()
    const { user, quoted } = await database.account()
    await database.sql(`grant insert on ${database.name}.* to ${quoted}`)
    const events = mysqlEvents(database.poolOf({ user }))
    const { proof, problems } = await events.check()
    expect(proof).toBeUndefined()
    const [denied] = problems.filter(({ found }) => found.includes('may not read events'))
    expect(denied).toMatchObject({
      severity: 'error',
      statements: [`GRANT SELECT ON \`${database.name}\`.\`events\` TO ${quoted}`],
    })
    await database.sql(denied?.statements[0] as string)
    const again = await mysqlEvents(database.poolOf({ user })).check()
    expect(again.problems).toMatchObject([{ severity: 'error', why: 'streams are refused', statements: again.grants }])
    expect(again.problems[0]?.found).not.toContain('\n')
    for (const each of again.grants) if (!each.startsWith('INSTALL')) await database.sql(each)
    expect((await mysqlEvents(database.poolOf({ user })).check()).problems).toEqual([])
  })

  test('that sees no table is told so', async () => {
    const database = await testServer()
    await mysqlEvents(database.pool).createTable()
    const { user, quoted } = await database.account()
    await database.sql(`grant create on ${database.name}.other to ${quoted}`)
    const { proof, reason, problems } = await mysqlEvents(database.poolOf({ user })).check()
    expect([proof, problems[0]?.found]).toEqual([undefined, expect.stringContaining(`${quoted} may see`)])
    expect(reason).toContain('no table events')
  })
})

test('a server that is out of reach is an error, not a problem', async () => {
  const database = await testServer()
  const error = await errorOf(mysqlEvents(database.poolOf({ host: '127.0.0.1', port: 1 })).check())
  expect(codeOf(error)).toBe('MYSQL_CONNECTION')
})

test('a server that takes no writes for a while keeps a route waiting, which loses nothing and goes on by itself', async () => {
  const database = await testServer()
  const { user, quoted } = await database.account()
  await database.sql(`grant all on ${database.name}.* to ${quoted}`)
  await mysqlCursors(database.pool).createTable()
  const log = memoryLog()
  const destination = simulatedDestination()
  const checkpoints = mysqlCursors(database.poolOf({ user }))
  const spec = { name: 'r', source: log.source, sink: destination.sink(), checkpoints }
  log.append({ type: 1, foreignId: 'a' })
  await bridge(spec, { toHead: true })
  await database.sql('set global read_only = 1')
  log.append({ type: 1, foreignId: 'b' })
  const met: unknown[] = []
  await supervise((o) => bridge(spec, { ...o, toHead: true }), {
    ...{ minDelayMs: 10, maxDelayMs: 100 },
    observer: {
      restarting: ({ error }) => {
        if (met.push(error) === 2) void database.sql('set global read_only = 0')
      },
    },
  })
  expect(met[0]).toMatchObject({ code: 'MYSQL_READONLY', kind: 'read-only', stage: 'commit' })
  expect(destination.events).toHaveLength(2)
})

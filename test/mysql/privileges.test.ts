import { afterAll, beforeAll, expect, test } from 'vitest'
import { mysqlEvents } from '../../src/adapters/mysql/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import { type Server, startServer } from '../../src/testing/servers/index.ts'
import { numbered } from '../tools/numbered.ts'
import { errorOf, reader } from '../tools/reader.ts'
import { type Database, testDatabase } from './database.ts'

const older = process.env['REFLEX_BRIDGE_SERVERS'] === 'older'
const best = older ? 'metadata-lock-info' : 'metadata-locks'

// Plugins, global variables and replication are of a whole server.
let server: Server
beforeAll(async () => {
  server = await startServer('mysql', { from: ['docker', 'native'] })
})
afterAll(() => server[Symbol.asyncDispose]())

/** A table, and an account that may read and write it and nothing else. */
async function ordinary(): Promise<{ database: Database; account: string; events: ReturnType<typeof mysqlEvents> }> {
  const database = await testDatabase(server)
  await mysqlEvents(database.pool).createTable()
  const { user, quoted } = await database.account()
  await database.sql(`grant select, insert on ${database.name}.* to ${quoted}`)
  return { database, account: quoted, events: mysqlEvents(database.poolOf({ user })) }
}

test('an ordinary account is refused with the statements that help, and they do', async () => {
  const { database, account, events } = await ordinary()
  const error = await errorOf(events.source.stream('', {}))
  expect(error).toMatchObject({ code: 'GAP_PROOF_UNAVAILABLE', retriable: false })
  const { proof, reason, grants } = await events.check()
  expect([proof, reason, grants]).toEqual([undefined, (error as Error).message, (error as { grants?: unknown }).grants])
  expect(grants).toEqual(
    older
      ? ["INSTALL SONAME 'metadata_lock_info'", `GRANT SLAVE MONITOR ON *.* TO ${account}`]
      : [
          `GRANT SELECT ON performance_schema.* TO ${account}`,
          `GRANT PROCESS ON *.* TO ${account}`,
          `GRANT SELECT, LOCK TABLES ON \`${database.name}\`.* TO ${account}`,
        ],
  )
  for (const grant of grants) {
    expect((error as Error).message).toContain(`${grant};`)
    await database.sql(grant)
  }
  const told: unknown[] = []
  const later = mysqlEvents(database.poolOf({ user: account.split("'")[1] as string }), {
    onProof: (chosen) => told.push(chosen),
  })
  expect(await later.check()).toEqual({ proof: best, reason: undefined, grants: [], problems: [] })
  await later.insert(await database.connect(), { type: 1, foreignId: 'a' })
  await using stream = reader(await later.source.stream('', { toHead: true }))
  expect(await stream.rest()).toHaveLength(1)
  expect(told).toEqual([{ proof: best, reason: undefined }])
  if (older) await database.sql("uninstall soname 'metadata_lock_info'")
})

test('with less than that, it is a table lock, and check says what is missing', async () => {
  const { database, account, events } = await ordinary()
  await database.sql(`grant lock tables on ${database.name}.* to ${account}`)
  const unknown = await errorOf(events.source.stream('', {}))
  expect(String(unknown)).toContain('may be a replica')
  await database.sql(`grant ${older ? 'slave monitor' : 'replication client'} on *.* to ${account}`)
  const { proof, reason, grants } = await events.check()
  expect(proof).toBe('barrier')
  expect(reason).toMatch(older ? /METADATA_LOCK_INFO is not installed/ : /performance_schema is not readable/)
  expect(grants.length).toBeGreaterThan(0)
  await events.insert(await database.connect(), { type: 1, foreignId: 'a' })
  await using stream = reader(await events.source.stream('', { fromHead: true }))
  expect((await stream.batch()).cursor).toBe('1')
})

test('a replica is refused, whether it runs or not', async () => {
  const database = await testDatabase(server)
  const events = mysqlEvents(database.pool)
  await events.createTable()
  await using before = reader(await events.source.stream('', {}))
  await database.sql(
    older
      ? "change master to master_host = '127.0.0.1', master_port = 1"
      : "change replication source to source_host = '127.0.0.1', source_port = 1",
  )
  const error = await errorOf(events.source.stream('', {}))
  expect(error).toMatchObject({ code: 'GAP_PROOF_UNAVAILABLE', retriable: false, grants: [] })
  expect(String(error)).toContain('replica')
  const refused = errorOf(before.take(2)) // a primary that became a replica under a stream
  await database.sql("insert into events (id, foreign_id, timestamp, type) values (2, 'a', now(6), 1)")
  expect(codeOf(await refused)).toBe('GAP_PROOF_UNAVAILABLE')
  await database.sql(older ? 'reset slave all' : 'reset replica all')
  expect((await events.check()).proof).toBe(older ? 'barrier' : best)
})

test('steps between ids do not make a server one of several', async () => {
  const database = await testDatabase(server)
  const events = mysqlEvents(database.pool)
  await events.createTable()
  await database.sql('set global auto_increment_increment = 2, global auto_increment_offset = 2')
  try {
    await events.insert(await database.connect(), ...numbered(3))
    await using stream = reader(await events.source.stream('', { toHead: true }))
    expect((await stream.rest()).map(({ id }) => id)).toEqual(['2', '4', '6'])
  } finally {
    await database.sql('set global auto_increment_increment = 1, global auto_increment_offset = 1')
  }
})

test('a write barrier is taken where it is asked for, and only where locks cannot be seen', async () => {
  const { database, account } = await ordinary()
  await database.sql(`grant lock tables on ${database.name}.* to ${account}`)
  await database.sql(`grant ${older ? 'slave monitor' : 'replication client'} on *.* to ${account}`)
  const events = mysqlEvents(database.poolOf({ user: account.split("'")[1] as string }), { barrier: 'write' })
  expect((await events.check()).proof).toBe('barrier')
  const [first, second] = [await database.connect(), await database.connect()]
  await first.beginTransaction()
  await events.insert(first, { type: 1, foreignId: 'a' })
  await events.insert(second, { type: 1, foreignId: 'b' })
  await using stream = reader(await events.source.stream('', {}))
  const read = stream.take(2)
  const waiting = `select count(*) from information_schema.processlist where info like '%lock tables%write%' and info not like '%processlist%'`
  while (Number((await database.sql(waiting))[0]?.[0]) === 0);
  await first.commit()
  expect((await read).map(({ foreignId }) => foreignId)).toEqual(['a', 'b'])
})

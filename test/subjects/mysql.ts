import { mysqlCursors, mysqlEvents } from '../../src/adapters/mysql/index.ts'
import type { CursorStoreSubject } from '../../src/testing/cursors/cursor-store-subject.ts'
import type { SourceSubject } from '../../src/testing/source/source-subject.ts'
import { type AdapterSubjects, fresh, type SubjectServer, serverFaults } from './adapter-subjects.ts'
import { newMysqlDatabase } from './mysql-database.ts'

/** Event tables and cursors in MySQL or MariaDB, all in one database. */
export async function mysqlSubjects(server: SubjectServer): Promise<AdapterSubjects> {
  const own = await serverFaults(server)
  const database = await newMysqlDatabase(server, own)
  const { sql, pool } = database
  const another = database.poolOf({})
  const writers = database.poolOf({ host: server.host, port: server.port })
  const freshTable = (what: string): string => fresh(what).replaceAll('-', '_')

  async function source(): Promise<SourceSubject> {
    const table = freshTable('events')
    // Long: a reader at the head is woken, and finds a fault when it is asked about.
    const events = mysqlEvents(pool, { table, batchSize: 3, pollMs: { min: 250, max: 250 } })
    await mysqlEvents(writers, { table }).createTable()
    return {
      source: events.source,
      append: async (all) => {
        await using connection = await writers.getConnection()
        await connection.beginTransaction()
        try {
          const { ids, wake } = await events.insert(connection, ...all)
          await connection.commit()
          wake()
          return ids
        } catch (error) {
          await connection.rollback().catch(() => connection.destroy())
          throw error
        }
      },
      trim: async (id) => void (await sql(`delete from ${table} where id < ?`, [id])),
      remove: async (id) => void (await sql(`delete from ${table} where id = ?`, [id])),
      recreate: async () => {
        await sql(`drop table ${table}`)
        await mysqlEvents(writers, { table }).createTable()
      },
      rewind: async (id) => {
        await sql(`delete from ${table} where id > ?`, [id])
        await sql(`alter table ${table} auto_increment = ${BigInt(id) + 1n}`)
      },
      corrupt: async () => {
        await sql(`insert into ${table} (foreign_id, \`timestamp\`, \`type\`, headers) values ('x', now(6), 1, '[]')`)
        events.wake()
      },
      malformed: ['x', '-1', '1.5', '1-0', '1 ', '01', '9'.repeat(30), '@1'],
      ...own?.faults,
      connections: database.connections,
      [Symbol.asyncDispose]: async () => void (await sql(`drop table ${table}`)),
    }
  }

  async function store(): Promise<CursorStoreSubject> {
    const table = freshTable('cursors')
    await mysqlCursors(writers, { table }).createTable()
    return {
      cursors: mysqlCursors(pool, { table }),
      another: () => mysqlCursors(another, { table }),
      ...own?.faults,
      [Symbol.asyncDispose]: async () => void (await sql(`drop table ${table}`)),
    }
  }

  return {
    sources: { mysqlEvents: source },
    sinks: {},
    stores: { mysqlCursors: store },
    [Symbol.asyncDispose]: async () => {
      await database[Symbol.asyncDispose]()
      await own?.[Symbol.asyncDispose]()
    },
  }
}

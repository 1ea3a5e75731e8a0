import { mysqlCursors, mysqlEvents } from '../../src/adapters/mysql/index.ts'
import { openSqlite, sqliteCursors, sqliteEvents } from '../../src/adapters/sqlite/index.ts'
import type { NewEvent } from '../../src/core/index.ts'
import type { Address } from '../../src/testing/servers/index.ts'
import { newMysqlDatabase } from '../subjects/mysql-database.ts'
import { temporaryFile } from '../subjects/sqlite.ts'
import type { SourceAt } from './real-route.ts'

/** What stands in both logs: the id in the source, and the entity. */
export type Line = readonly [id: string, foreignId: string]

/** An event table of its own, with its checkpoints beside it. */
export interface Origin extends AsyncDisposable {
  /** As it is reached at `address`, which may be a proxy's. */
  at(address?: Address): SourceAt
  /** Runs one transaction; `commit` says how it ends. */
  write(events: readonly NewEvent[], commit: boolean): Promise<void>
  lines(): Promise<Line[]>
}

/** A table in a database of its own. */
export async function mysqlOrigin(server: Address): Promise<Origin> {
  const database = await newMysqlDatabase(server)
  const events = mysqlEvents(database.pool)
  await events.createTable()
  await mysqlCursors(database.pool).createTable()
  return {
    at: ({ host, port } = server) => ({ kind: 'mysql', uri: `mysql://root@${host}:${port}/${database.name}` }),
    write: async (written, commit) => {
      const connection = await database.pool.getConnection()
      try {
        await connection.beginTransaction()
        await events.insert(connection, ...written)
        await (commit ? connection.commit() : connection.rollback())
      } finally {
        connection.release()
      }
    },
    lines: async () => (await database.sql('select id, foreign_id from events order by id')) as unknown as Line[],
    [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
  }
}

/** A table in a file of its own. */
export function sqliteOrigin(): Origin {
  const { file, remove } = temporaryFile()
  const database = openSqlite(file)
  const events = sqliteEvents(database)
  events.createTable()
  sqliteCursors(database).createTable()
  return {
    at: () => ({ kind: 'sqlite', file }),
    write: async (written, commit) => {
      database.exec('begin immediate')
      events.insert(database, ...written)
      database.exec(commit ? 'commit' : 'rollback')
    },
    lines: async () =>
      database
        .prepare('select cast(id as text) as id, foreign_id as foreignId from events order by events.id')
        .all()
        .map(({ id, foreignId }) => [id, foreignId] as Line),
    [Symbol.asyncDispose]: async () => {
      database.close()
      remove()
    },
  }
}

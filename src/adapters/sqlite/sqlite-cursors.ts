import type { DatabaseSync } from 'node:sqlite'
import type { CursorStore } from '../../core/cursor.ts'
import { CursorConflictError } from '../../core/errors.ts'
import { checkTableName } from '../../sql/table-stream.ts'
import { connect, locate } from './connect.ts'
import { explainSqlite } from './explain-sqlite.ts'
import { prepare } from './prepare.ts'

/** A cursor store in a SQLite database. */
export interface SqliteCursors extends CursorStore {
  /** Creates the table if it is missing. */
  createTable(): void
}

/**
 * Keeps cursors in a table of `database`, through this handle, between the application's transactions on it. A lock of another
 * connection is waited for, for at most 4 s, without blocking the process.
 */
export function sqliteCursors(
  database: DatabaseSync,
  { table = 'cursors' }: { readonly table?: string } = {},
): SqliteCursors {
  checkTableName(table)
  const name = `sqlite:${table}`
  const { use } = connect(name, locate(name, database), { share: true })
  const read = (consumer: string): { cursor: string; reset: number } => {
    const row = prepare(database, `select cursor, reset from ${table} where consumer = ?`).get(consumer)
    return (row as { cursor: string; reset: number } | undefined) ?? { cursor: '', reset: 0 }
  }
  const upsert = `insert into ${table} (consumer, cursor, reset, updated_at) values (?1, ?2, ?3, ?4)
    on conflict (consumer) do update set cursor = excluded.cursor, reset = excluded.reset, updated_at = excluded.updated_at`
  // Each is one statement, and so one transaction: it writes only over one of the two cursors that may be there.
  const setFirst = `${upsert} where ${table}.cursor in (?2, ?5)`
  const setNext = `update ${table} set cursor = ?2, reset = ?3, updated_at = ?4 where consumer = ?1 and cursor in (?2, ?5)`
  return {
    get: (consumer, { signal } = {}) => use(() => read(consumer).cursor, { signal }),
    set: (consumer, cursor, expected) =>
      use(() => {
        const set = prepare(database, expected === '' || cursor === '' ? setFirst : setNext)
        const { changes } = set.run(consumer, cursor, 0, Date.now(), expected)
        if (Number(changes) === 1) return
        const { cursor: actual, reset } = read(consumer)
        if (actual !== cursor) throw new CursorConflictError({ consumer, expected, actual, reset: reset === 1 })
      }),
    reset: (consumer, cursor) =>
      use(() => {
        prepare(database, upsert).run(consumer, cursor, 1, Date.now())
      }),
    list: () =>
      use(() => {
        const rows = prepare(database, `select consumer, cursor from ${table} order by consumer`).all()
        return new Map(rows.map((row) => [row['consumer'] as string, row['cursor'] as string]))
      }),
    createTable: () => {
      try {
        database.exec(`create table if not exists ${table} (
  consumer text primary key,
  cursor text not null,
  reset integer not null, -- 1 if an operator's reset wrote it
  updated_at integer not null -- epoch in ms
) strict, without rowid`)
      } catch (error) {
        throw explainSqlite(error, name)
      }
    },
  }
}

import type { CursorStore } from '../../core/cursor.ts'
import { checkTableName } from '../../sql/table-stream.ts'
import { autocommitQuery } from './autocommit-query.ts'
import { type CursorColumns, cursorColumns, cursorsTable } from './cursors-table.ts'
import { checkPool, type MysqlPool } from './mysql-pool.ts'
import { withConnection } from './mysql-reader.ts'

/** A cursor store in a MySQL or MariaDB database. */
export interface MysqlCursors extends CursorStore {
  /** Creates the table if it is missing. */
  createTable(): Promise<void>
}

/** Options of `mysqlCursors`. */
export interface MysqlCursorsOptions {
  /** Default: `cursors`. */
  readonly table?: string
  /** Names of columns that are others than those of luno/reflex: `id`, `last_event_id` and `updated_at`. */
  readonly columns?: Partial<CursorColumns>
}

/**
 * Keeps cursors in a table of a mysql2 pool's database. Each call borrows a connection of the pool for a few statements,
 * each a transaction of its own, so connections must be in autocommit mode.
 *
 * The layout is that of luno/reflex with the column `is_reset` added, and may be shared with Go services: with cursors that
 * are text, or that are integers (`""` is then stored as -1).
 */
export function mysqlCursors(pool: MysqlPool, options: MysqlCursorsOptions = {}): MysqlCursors {
  const { core, database } = checkPool(pool)
  const { table = 'cursors' } = options
  checkTableName(table)
  const columns = cursorColumns(options.columns)
  const name = `mysql:${database}.${table}`
  const statements = cursorsTable(name, database, table, columns)
  const query = autocommitQuery(name, pool)

  return {
    get: async (consumer, { signal } = {}) => query((run) => statements.get(run, consumer), signal),
    set: async (consumer, cursor, expected) => query((run) => statements.set(run, consumer, cursor, expected)),
    reset: async (consumer, cursor) => query((run) => statements.reset(run, consumer, cursor)),
    list: () => query((run) => statements.list(run)),
    createTable: () =>
      withConnection(name, core, undefined, async (connection) => {
        // Names differ by case and by trailing spaces.
        const [[version]] = (await connection.rows('select version()')) as [[string]]
        const collation = /mariadb/i.test(version) ? 'utf8mb4_nopad_bin' : 'utf8mb4_0900_bin'
        const text = `character set utf8mb4 collate ${collation} not null`
        const { id, cursor, updatedAt } = statements.names
        await connection.rows(`create table if not exists \`${table}\` (
  ${id} varchar(255) ${text} primary key comment 'the consumer',
  ${cursor} varchar(4096) ${text},
  is_reset tinyint(1) not null default 0 comment '1 if an operator''s reset wrote it',
  ${updatedAt} datetime(6) not null comment 'UTC'
) engine = InnoDB`)
      }),
  }
}

import type { CursorStore } from '../../core/cursor.ts'
import { CursorConflictError, OptionError } from '../../core/errors.ts'
import { checkTableName } from '../../sql/table-stream.ts'
import { checkPool, type MysqlPool } from './mysql-pool.ts'
import { withConnection } from './mysql-reader.ts'
import { type PooledQuery, pooledQuery } from './pooled-query.ts'

/** A cursor store in a MySQL or MariaDB database. */
export interface MysqlCursors extends CursorStore {
  /** Creates the table if it is missing. */
  createTable(): Promise<void>
}

/** Room for a bridge's checkpoint. */
const CURSOR_LENGTH = 4096
const CONSUMER_LENGTH = 255

/**
 * Keeps cursors in a table of a mysql2 pool's database. Each call borrows a connection of the pool for one or two
 * statements, which it must leave in autocommit mode. The layout is that of luno/reflex with string cursors.
 */
export function mysqlCursors(pool: MysqlPool, { table = 'cursors' }: { readonly table?: string } = {}): MysqlCursors {
  const { core, database } = checkPool(pool)
  checkTableName(table)
  const name = `mysql:${database}.${table}`
  const query = pooledQuery(name, pool)
  // As bytes both ways: whatever the connections' character set is, they are what was given.
  const bytes = (what: string, text: string, length: number): Buffer => {
    if (text.isWellFormed() && [...text].length <= length) return Buffer.from(text)
    throw new OptionError(
      `${name}: ${what} must be well-formed Unicode of at most ${length} characters, but is ${JSON.stringify(text.slice(0, 100))}`,
    )
  }
  const idOf = (consumer: string): Buffer => bytes('the name of a consumer', consumer, CONSUMER_LENGTH)
  const read = async (consumer: string, run: PooledQuery): Promise<{ actual: string; reset: boolean }> => {
    const rows = (await run(`select cast(last_event_id as binary), is_reset from \`${table}\` where id = _utf8mb4 ?`, [
      idOf(consumer),
    ])) as readonly [Uint8Array, number][]
    const [cursor, reset] = rows[0] ?? []
    return { actual: Buffer.from(cursor ?? '').toString(), reset: Number(reset ?? 0) === 1 }
  }
  const open = "last_event_id in ('', _utf8mb4 ?)"
  const upsert = `insert into \`${table}\` (id, last_event_id, is_reset, updated_at) values (_utf8mb4 ?, _utf8mb4 ?, ?, utc_timestamp(6)) on duplicate key update`

  return {
    get: async (consumer, { signal } = {}) => query(async (run) => (await read(consumer, run)).actual, signal),
    set: (consumer, cursor, expected) =>
      query(async (run) => {
        const id = idOf(consumer)
        const next = bytes('a cursor', cursor, CURSOR_LENGTH)
        const last = bytes('a cursor', expected, CURSOR_LENGTH)
        // Each is one statement, and so one transaction: it writes only over one of the two cursors that may be there.
        if (expected === '') {
          // What is compared is assigned last.
          await run(
            `${upsert} is_reset = if(${open}, 0, is_reset), updated_at = if(${open}, utc_timestamp(6), updated_at),
              last_event_id = if(${open}, _utf8mb4 ?, last_event_id)`,
            [id, next, 0, next, next, next, next],
          )
        } else {
          const result = await run(
            `update \`${table}\` set last_event_id = _utf8mb4 ?, is_reset = 0, updated_at = utc_timestamp(6)
              where id = _utf8mb4 ? and last_event_id in (_utf8mb4 ?, _utf8mb4 ?)`,
            [next, id, next, last],
          )
          if ((result as { affectedRows: number }).affectedRows === 1) return
        }
        const { actual, reset } = await read(consumer, run)
        if (actual !== cursor) throw new CursorConflictError({ consumer, expected, actual, reset })
      }),
    reset: (consumer, cursor) =>
      query(async (run) => {
        const next = bytes('a cursor', cursor, CURSOR_LENGTH)
        await run(`${upsert} last_event_id = _utf8mb4 ?, is_reset = 1, updated_at = utc_timestamp(6)`, [
          idOf(consumer),
          next,
          1,
          next,
        ])
      }),
    list: () =>
      query(async (run) => {
        const rows = (await run(
          `select cast(id as binary), cast(last_event_id as binary) from \`${table}\` order by id`,
          [],
        )) as readonly Uint8Array[][]
        return new Map(
          rows.map(([id, cursor]) => [Buffer.from(id ?? '').toString(), Buffer.from(cursor ?? '').toString()]),
        )
      }),
    createTable: () =>
      withConnection(name, core, undefined, async (connection) => {
        // Names differ by case and by trailing spaces.
        const [[version]] = (await connection.rows('select version()')) as [[string]]
        const collation = /mariadb/i.test(version) ? 'utf8mb4_nopad_bin' : 'utf8mb4_0900_bin'
        const text = `character set utf8mb4 collate ${collation} not null`
        await connection.rows(`create table if not exists \`${table}\` (
  id varchar(${CONSUMER_LENGTH}) ${text} primary key comment 'the consumer',
  last_event_id varchar(${CURSOR_LENGTH}) ${text},
  is_reset tinyint(1) not null default 0 comment '1 if an operator''s reset wrote it',
  updated_at datetime(6) not null comment 'UTC'
) engine = InnoDB`)
      }),
  }
}

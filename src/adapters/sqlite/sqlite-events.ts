import type { DatabaseSync } from 'node:sqlite'
import { systemClock } from '../../core/clock.ts'
import { CursorAheadError } from '../../core/errors.ts'
import type { NewEvent } from '../../core/event.ts'
import type { Source } from '../../core/stream.ts'
import { formatHeaders } from '../../sql/headers-text.ts'
import type { Inserted } from '../../sql/inserted.ts'
import type { PurgeOptions, PurgeResult } from '../../sql/purge-table.ts'
import { checkTableName, parseTableCursor, type TableStreamOptions, tableStreams } from '../../sql/table-stream.ts'
import { createWakeups } from '../../sql/wakeups.ts'
import { connect, locate } from './connect.ts'
import { checkEvent, createEventTable, type InsertRow, prepareInsert } from './event-table.ts'
import { explainSqlite } from './explain-sqlite.ts'
import { openSqlite } from './open-sqlite.ts'
import { prepare } from './prepare.ts'
import { purgeEvents } from './purge.ts'
import { openReader } from './sqlite-reader.ts'
import { transaction } from './transaction.ts'

/** Options of `sqliteEvents`. */
export interface SqliteEventsOptions extends TableStreamOptions {
  /** Default: `events`. */
  readonly table?: string
  /** Names the log in errors, metrics and dedupe keys. Default: `sqlite:<table>`; give each file its own where several feed one destination. */
  readonly name?: string
}

/** An event table in a SQLite database. */
export interface SqliteEvents {
  readonly source: Source
  /**
   * Inserts events in the caller's transaction, after whose commit the returned `wake` is to be called; without one, all of
   * them in a transaction of its own, which has woken. A timestamp that is missing is now.
   */
  insert(database: DatabaseSync, ...events: readonly NewEvent[]): Inserted
  /** Creates the table if it is missing. */
  createTable(): void
  /**
   * Deletes rows as far as every consumer has read them, but for the row of each cursor and the newest one, so that no
   * consumer is ever refused for it, in small transactions. What goes is recorded with it, in the table `event_purges`, and a
   * stream at an older position is told by it whether it has missed anything. Only as good as the stores are complete: who has
   * not saved a cursor yet holds nothing back, unless it is named in `consumers`.
   *
   * Throws before anything is deleted: `OPTION_INVALID` if a consumer is unknown, or if a cursors table in this database has
   * one that no store lists; `CURSOR_INVALID`, `CURSOR_AHEAD` or `CURSOR_TRIMMED` if a cursor is not of this table.
   */
  purge(options: PurgeOptions): Promise<PurgeResult>
  /**
   * Wakes the streams that wait at the head, those of this object and, by the notifier, of other processes: call it after a
   * commit, or they find it within 250 ms.
   */
  wake(): void
}

/** So many rows are searched by `at` before other work gets a turn. */
const SEARCH_ROWS = 5000

/**
 * An event table in a SQLite file, or in the database of a handle. Streams read a file through connections of their own, and
 * see what any process commits; a database in memory is read through its handle, between the application's transactions.
 * The payloads of small events that were read together share a buffer of up to 1 MiB: copy one that is kept for long.
 *
 * @example
 * const database = openSqlite('shop.db')
 * const events = sqliteEvents(database)
 * events.createTable()
 * database.exec('begin immediate')
 * database.prepare('insert into orders (id) values (?)').run(7)
 * const { wake } = events.insert(database, { type: 1, foreignId: '7' })
 * database.exec('commit')
 * wake()
 */
export function sqliteEvents(
  database: DatabaseSync | string,
  { table = 'events', name = `sqlite:${table}`, ...options }: SqliteEventsOptions = {},
): SqliteEvents {
  checkTableName(table)
  const { clock = systemClock } = options
  const wakeups = createWakeups(options)
  const place = locate(name, database)
  const at = { name, place, table }
  const inserts = new WeakMap<DatabaseSync, InsertRow>()

  const newest = async (signal?: AbortSignal): Promise<bigint> => {
    await using reader = await openReader(at, { clock, signal })
    return reader.newest()
  }

  const source: Source = {
    name,
    stream: tableStreams(name, (signal) => openReader(at, { clock, signal }), wakeups, options),
    head: async ({ signal } = {}) => String(await newest(signal)),
    backlog: async (after, { signal } = {}) => {
      const position = parseTableCursor(name, after)
      const head = await newest(signal)
      if (position > head) throw new CursorAheadError(name, { cursor: after, reason: 'beyond', found: String(head) })
      return { count: head - position, unit: 'positions' }
    },
    at: async (timestamp, { signal } = {}) => {
      using connection = connect(name, place, { readOnly: true })
      let searched = '0'
      for (;;) {
        const from = searched
        const { last, before } = await connection.use(() => findTime(connection.database, table, { from, timestamp }), {
          clock,
          signal,
        })
        if (before !== null) return before
        if (last === null) return searched
        searched = last
        await clock.yield()
      }
    },
    compare: (a, b) => {
      const difference = parseTableCursor(name, a) - parseTableCursor(name, b)
      return difference < 0n ? -1 : difference > 0n ? 1 : 0
    },
  }

  return {
    source,
    insert: (into, ...events) => {
      const rows = events.map((event) => {
        checkEvent(name, event)
        return [event, formatHeaders(event.headers)] as const
      })
      try {
        let insert = inserts.get(into)
        if (insert === undefined) {
          insert = prepareInsert(into, table)
          inserts.set(into, insert)
        }
        const run = insert
        const all = (): string[] => rows.map(([event, headers]) => String(run(event, headers)))
        if (into.isTransaction) return { ids: all(), wake: wakeups.wake }
        const ids = rows.length === 1 ? all() : transaction(into, all)
        wakeups.wake()
        return { ids, wake: wakeups.wake }
      } catch (error) {
        throw explainSqlite(error, name)
      }
    },
    purge: (purgeOptions) => purgeEvents({ ...at, clock }, purgeOptions),
    createTable: () => {
      const own = typeof database === 'string' ? openSqlite(database) : undefined
      try {
        ;(own ?? (database as DatabaseSync)).exec(createEventTable(table))
      } catch (error) {
        throw explainSqlite(error, name)
      } finally {
        own?.close()
      }
    },
    wake: wakeups.wake,
  }
}

/** In the rows after `from`: the last one that was searched, and the one before the first of `timestamp` or later. */
function findTime(
  database: DatabaseSync,
  table: string,
  { from, timestamp }: { from: string; timestamp: number },
): { last: string | null; before: string | null } {
  const find = prepare(
    database,
    `with part as (select id, timestamp from ${table} where id > cast(?1 as integer) order by id limit ${SEARCH_ROWS}),
        found as (select min(id) as id from part where timestamp >= ?2)
      select (select cast(max(id) as text) from part) as last,
        (select cast(coalesce((select max(id) from ${table} where id < found.id), 0) as text) from found where id is not null) as before`,
  )
  return find.get(from, timestamp) as { last: string | null; before: string | null }
}

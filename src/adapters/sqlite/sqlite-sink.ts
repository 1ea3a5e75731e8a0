import type { DatabaseSync } from 'node:sqlite'
import { OptionError } from '../../core/errors.ts'
import type { Sink } from '../../core/sink.ts'
import { checkTableName } from '../../sql/table-stream.ts'
import { type Connection, connect, locate } from './connect.ts'
import { createEventTable } from './event-table.ts'
import { explainSqlite } from './explain-sqlite.ts'
import { createRouteTable, takeOver } from './route.ts'
import { routeWriter } from './route-writer.ts'
import { waitedFor } from './waited-for.ts'

/** A destination in a SQLite database. */
export interface SqliteSink extends Sink {
  /** Creates the event table and the table `routes` if they are missing. */
  createTable(): void
}

/** Options of `sqliteSink`. */
export interface SqliteSinkOptions {
  /** Default: `events`. */
  readonly table?: string | undefined
  /** If the table has lost more events than this, opening is refused instead of refilling them. Default: 100,000. */
  readonly maxRefill?: number | undefined
}

/**
 * An embedded log: an event table that bridges append to and `sqliteEvents` reads. The events of a batch and the route's
 * position are written in one transaction, so nothing is lost and nothing stands there twice. Several routes, and the
 * application, may share the table.
 *
 * A file is written through a connection of its own, with synchronous FULL; a database in memory through its handle, between
 * the application's transactions. Opening a route fences its earlier writer: the next append of that one is a `FencedError`.
 */
export function sqliteSink(
  database: DatabaseSync,
  { table = 'events', maxRefill = 100_000 }: SqliteSinkOptions = {},
): SqliteSink {
  checkTableName(table)
  const name = `sqlite:${table}`
  if (!Number.isSafeInteger(maxRefill) || maxRefill < 0)
    throw new OptionError(`${name}: maxRefill must be an integer from 0 on, but is ${maxRefill}`)
  const place = locate(name, database)
  return {
    name,
    createTable: () => {
      try {
        database.exec(createEventTable(table))
        database.exec(createRouteTable)
      } catch (error) {
        throw explainSqlite(error, name)
      }
    },
    open: async ({ route, source, saved, signal }) => {
      let connection: Connection | undefined
      try {
        connection = connect(name, place)
        const at = { name, table, route, source }
        return routeWriter(connection, at, await takeOver(connection, at, { saved, maxRefill, signal }))
      } catch (error) {
        connection?.[Symbol.dispose]()
        throw waitedFor(error)
      }
    },
  }
}

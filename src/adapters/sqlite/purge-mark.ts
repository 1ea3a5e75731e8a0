import type { DatabaseSync } from 'node:sqlite'
import type { Purged } from '../../sql/table-reader.ts'
import { prepare } from './prepare.ts'

/** Keeps what purges have taken from each event table of its database; the first purge creates it. */
const PURGE_TABLE = 'event_purges'

/** Creates the table of the purge marks if it is missing. */
export const createPurgeTable: string = `create table if not exists ${PURGE_TABLE} (
  id text primary key, -- the event table, in lower case
  purged_to integer not null, -- no row after this id was purged
  next_id integer not null, -- the row that followed
  updated_at integer not null -- epoch in ms
) strict, without rowid`

/** What is recorded of an event table; undefined if nothing is. */
export function readPurged(database: DatabaseSync, table: string): Purged | undefined {
  const listed = prepare(database, "select 1 from sqlite_master where type = 'table' and name = ?").get(PURGE_TABLE)
  if (listed === undefined) return undefined
  const sql = `select purged_to, next_id from ${PURGE_TABLE} where id = ?`
  const found = prepare(database, sql, { bigInts: true }).get(table.toLowerCase())
  return found && { to: found['purged_to'] as bigint, next: found['next_id'] as bigint }
}

/** Records it, unless as much or more is recorded. */
export function recordPurged(database: DatabaseSync, table: string, { to, next }: Purged): void {
  prepare(
    database,
    `insert into ${PURGE_TABLE} (id, purged_to, next_id, updated_at) values (?, ?, ?, ?) on conflict (id) do update
      set purged_to = excluded.purged_to, next_id = excluded.next_id, updated_at = excluded.updated_at
      where purged_to < excluded.purged_to`,
  ).run(table.toLowerCase(), to, next, Date.now())
}

import type { DatabaseSync } from 'node:sqlite'
import type { Leases } from '../../core/lease.ts'
import { checkTableName } from '../../sql/table-stream.ts'
import { connect, locate } from './connect.ts'
import { explainSqlite } from './explain-sqlite.ts'
import { prepare } from './prepare.ts'

/** Leases in a SQLite database. */
export interface SqliteLeases extends Leases {
  /** Creates the table if it is missing. */
  createTable(): void
}

/**
 * Keeps leases in a table of `database` (default: `leases`), through this handle, between the application's transactions on it. The
 * time is that of the machine, which all processes that have the file open share; where it is set, leases expire earlier or later. A row
 * that is deleted takes the lease from its holder.
 */
export function sqliteLeases(
  database: DatabaseSync,
  { table = 'leases' }: { readonly table?: string } = {},
): SqliteLeases {
  checkTableName(table)
  const name = `sqlite:${table}`
  const { use } = connect(name, locate(name, database), { share: true })
  const isMine = `name = ? and token = ? and holder <> ''`

  return {
    name,
    get: (lease, { signal } = {}) =>
      use(
        () => {
          const now = Date.now()
          const sql = `select holder, expires_at - ?1 as left from ${table} where name = ?2 and holder <> '' and expires_at > ?1`
          const row = prepare(database, sql).get(now, lease)
          return row && { holder: row['holder'] as string, expiresInMs: row['left'] as number }
        },
        { signal },
      ),
    acquire: (lease, { holder, ttlMs, signal }) =>
      use(
        () => {
          const now = Date.now()
          // A row that was deleted had a token that is smaller: it counts grants, from the µs at which it began.
          const begun = BigInt(Math.trunc((performance.timeOrigin + performance.now()) * 1000))
          const sql = `insert into ${table} as held (name, holder, token, expires_at) values (?1, ?2, ?5, ?3)
            on conflict (name) do update set holder = ?2, token = held.token + 1, expires_at = ?3
            where held.holder in ('', ?2) or held.expires_at <= ?4 returning token`
          const row = prepare(database, sql, { bigInts: true }).get(lease, holder, now + ttlMs, now, begun)
          return row && { token: row['token'] as bigint }
        },
        { signal },
      ),
    renew: (lease, { token, ttlMs, signal }) =>
      use(
        () => {
          const renew = prepare(database, `update ${table} set expires_at = ? where ${isMine}`)
          return Number(renew.run(Date.now() + ttlMs, lease, token).changes) === 1
        },
        { signal },
      ),
    release: (lease, { token, signal }) =>
      use(
        () => {
          prepare(database, `update ${table} set holder = '', expires_at = 0 where ${isMine}`).run(lease, token)
        },
        { signal },
      ),
    createTable: () => {
      try {
        database.exec(`create table if not exists ${table} (
  name text primary key,
  holder text not null, -- empty if it is free
  token integer not null, -- grows with each grant
  expires_at integer not null -- epoch in ms
) strict, without rowid`)
      } catch (error) {
        throw explainSqlite(error, name)
      }
    },
  }
}

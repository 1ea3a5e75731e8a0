import { OptionError } from '../../core/errors.ts'
import type { Leases } from '../../core/lease.ts'
import { checkTableName } from '../../sql/table-stream.ts'
import { autocommitQuery } from './autocommit-query.ts'
import { checkPool, type MysqlPool } from './mysql-pool.ts'
import { withConnection } from './mysql-reader.ts'

/** Leases in a MySQL or MariaDB database. */
export interface MysqlLeases extends Leases {
  /** Creates the table if it is missing. */
  createTable(): Promise<void>
}

const LONGEST = 255

/**
 * Keeps leases in a table of a mysql2 pool's database (default: `leases`), a row each, which stays when the lease is free: so its
 * token only grows. A row that is deleted takes the lease from its holder. The time is the server's, in UTC; where that is set, leases
 * expire earlier or later by as much. Each call borrows a connection of the pool, which must be in autocommit mode, for one statement, or two.
 *
 * As good as the server's durability: a replica that is promoted without the last writes may grant a lease that is held.
 */
export function mysqlLeases(pool: MysqlPool, { table = 'leases' }: { readonly table?: string } = {}): MysqlLeases {
  const { core, database } = checkPool(pool)
  checkTableName(table)
  const name = `mysql:${database}.${table}`
  const into = `\`${database.replaceAll('`', '``')}\`.\`${table}\``
  const query = autocommitQuery(name, pool)
  // As bytes, whatever the connections' character set is.
  const text = (what: string, value: string): Buffer => {
    if (value !== '' && value.isWellFormed() && [...value].length <= LONGEST) return Buffer.from(value)
    throw new OptionError(
      `${name}: ${what} must be well-formed Unicode of 1 to ${LONGEST} characters, but is ${JSON.stringify(value.slice(0, 100))}`,
    )
  }
  const isLease = 'name = _utf8mb4 ?'
  const isMine = `${isLease} and token = ? and holder <> ''`
  const until = 'utc_timestamp(6) + interval ? microsecond'
  const expiry = (ttlMs: number): number => {
    if (Number.isSafeInteger(ttlMs) && ttlMs > 0) return ttlMs * 1000
    throw new OptionError(`${name}: ttlMs must be a positive integer, but is ${ttlMs}`)
  }

  return {
    name,
    get: async (lease, { signal } = {}) => {
      const rows = (await query(
        (run) =>
          run(
            `select cast(holder as binary), timestampdiff(microsecond, utc_timestamp(6), expires_at) from ${into}
              where ${isLease} and holder <> '' and expires_at > utc_timestamp(6)`,
            [text('the name of a lease', lease)],
          ),
        signal,
      )) as readonly [Uint8Array, number | string][]
      return rows[0] && { holder: Buffer.from(rows[0][0]).toString(), expiresInMs: Number(rows[0][1]) / 1000 }
    },
    acquire: async (lease, { holder, ttlMs, signal }) => {
      const [id, who, ttl] = [text('the name of a lease', lease), text('a holder', holder), expiry(ttlMs)]
      // One statement, and so one transaction: of two at once, the second sees what the first has written.
      const take = `update ${into} set token = last_insert_id(token + 1), holder = _utf8mb4 ?, expires_at = ${until}
        where ${isLease} and (holder = '' or holder = _utf8mb4 ? or expires_at <= utc_timestamp(6))`
      return query(async (run) => {
        for (let inserted = false; ; inserted = true) {
          const taken = (await run(take, [who, ttl, id, who])) as Changed
          if (taken.affectedRows === 1) return { token: BigInt(taken.insertId) }
          if (inserted) return undefined
          // A row that was deleted had a token that is smaller: it counts grants, from the µs at which it began.
          const sql = `insert ignore into ${into} (name, holder, token, expires_at)
            values (_utf8mb4 ?, '', timestampdiff(microsecond, '1970-01-01', utc_timestamp(6)), utc_timestamp(6))`
          if (((await run(sql, [id])) as Changed).affectedRows === 0) return undefined
        }
      }, signal)
    },
    renew: async (lease, { token, ttlMs, signal }) => {
      const values = [expiry(ttlMs), text('the name of a lease', lease), String(token)]
      const renewed = await query(
        (run) => run(`update ${into} set expires_at = ${until} where ${isMine}`, values),
        signal,
      )
      return (renewed as Changed).affectedRows === 1
    },
    release: async (lease, { token, signal }) => {
      const values = [text('the name of a lease', lease), String(token)]
      const free = `update ${into} set holder = '', expires_at = utc_timestamp(6) where ${isMine}`
      await query((run) => run(free, values), signal)
    },
    createTable: () =>
      withConnection(name, core, undefined, async (connection) => {
        // Names differ by case and by trailing spaces.
        const [[version]] = (await connection.rows('select version()')) as [[string]]
        const collation = /mariadb/i.test(version) ? 'utf8mb4_nopad_bin' : 'utf8mb4_0900_bin'
        const text = `varchar(${LONGEST}) character set utf8mb4 collate ${collation} not null`
        await connection.rows(`create table if not exists \`${table}\` (
  name ${text} primary key,
  holder ${text} comment 'empty if it is free',
  token bigint unsigned not null comment 'grows with each grant',
  expires_at datetime(6) not null comment 'UTC, by the clock of this server'
) engine = InnoDB`)
      }),
  }
}

/** What a statement has changed, as mysql2 tells it. */
interface Changed {
  readonly affectedRows: number
  readonly insertId: number | string
}

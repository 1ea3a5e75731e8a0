import type { Purged } from '../../sql/table-reader.ts'
import { isDenied, isMissingTable } from './mysql-error.ts'
import type { OwnConnection } from './own-connection.ts'

/** Keeps what purges have taken from each event table of its database; the first purge creates it. */
export const PURGE_TABLE = 'event_purges'

/** Creates the table of the purge marks if it is missing. */
export const createPurgeTable: string = `create table if not exists \`${PURGE_TABLE}\` (
  id varchar(64) character set utf8mb4 collate utf8mb4_bin primary key comment 'the event table',
  purged_to bigint not null comment 'no row after this id was purged',
  next_id bigint not null comment 'the row that followed',
  updated_at datetime(6) not null comment 'UTC'
) engine = InnoDB`

/**
 * What is recorded of an event table; undefined if nothing is, or this account may not read it. `table` is named as the
 * server stores it.
 */
export async function readPurged(connection: OwnConnection, table: string): Promise<Purged | undefined> {
  try {
    const [found] = await connection.rows(`select purged_to, next_id from \`${PURGE_TABLE}\` where id = ?`, [table])
    return found && { to: BigInt(found[0] as string), next: BigInt(found[1] as string) }
  } catch (error) {
    if (isMissingTable(error) || isDenied(error)) return undefined
    throw error
  }
}

/** The statement that records it, unless as much or more is recorded. */
export function recordPurged(table: string, { to, next }: Purged): string {
  const ifMore = (value: string, column: string): string => `${column} = if(purged_to < ${to}, ${value}, ${column})`
  // What is compared is assigned last.
  return `insert into \`${PURGE_TABLE}\` (id, purged_to, next_id, updated_at) values ('${table}', ${to}, ${next}, utc_timestamp(6))
    on duplicate key update ${ifMore(String(next), 'next_id')}, ${ifMore('utc_timestamp(6)', 'updated_at')},
      ${ifMore(String(to), 'purged_to')}`
}

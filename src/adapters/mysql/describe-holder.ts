import { isDenied } from './mysql-error.ts'
import type { OwnConnection, Row } from './own-connection.ts'
import type { Holder, HolderDetails } from './wait.ts'

/**
 * What the server tells of who is in the way: nothing where the account may not know, or where the connection has gone and
 * left its transaction prepared.
 */
export async function describeHolder(
  connection: OwnConnection,
  { connection: id, thread }: Holder,
): Promise<HolderDetails> {
  const ask = async (sql: string, value: unknown): Promise<Row | undefined> => {
    if (value === undefined) return undefined
    try {
      return (await connection.rows(sql, [value]))[0]
    } catch (error) {
      if (isDenied(error)) return undefined
      throw error
    }
  }
  const [found, user, host] = (await ask(BY_THREAD, thread)) ?? (await ask(BY_CONNECTION, id)) ?? []
  const connectionId = found ?? id
  const [startedAt] = (await ask(TRANSACTION, connectionId ?? undefined)) ?? []
  return {
    ...(isKnown(connectionId) ? { connectionId: String(connectionId) } : {}),
    ...(isKnown(user) ? { user: isKnown(host) ? `${user}@${host}` : String(user) } : {}),
    ...(isKnown(startedAt) ? { transactionStartedAt: Number(startedAt) * 1000 } : {}),
  }
}

const BY_THREAD = `select processlist_id, processlist_user, processlist_host from performance_schema.threads
  where thread_id = ? and processlist_id is not null`
const BY_CONNECTION = 'select id, user, host from information_schema.processlist where id = ?'
/** It is told in the time zone of the server, not of the session. */
const TRANSACTION = `select unix_timestamp(convert_tz(trx_started, 'SYSTEM', '+00:00')) from information_schema.innodb_trx
  where trx_mysql_thread_id = ?`

function isKnown(value: unknown): boolean {
  return value !== undefined && value !== null && value !== ''
}

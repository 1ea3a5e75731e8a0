import { ReflexError } from '../../core/errors.ts'
import { listStored } from '../../sql/purge-holders.ts'
import {
  checkPurgeOptions,
  type PurgeOptions,
  type PurgeResult,
  type PurgeTable,
  purgeTable,
} from '../../sql/purge-table.ts'
import { describeTable } from './describe-table.ts'
import { isLockTimeout } from './mysql-error.ts'
import { type EventTable, withConnection } from './mysql-reader.ts'
import { refuseOtherCursors } from './other-cursors.ts'
import type { OwnConnection } from './own-connection.ts'
import { readPurged, recordPurged } from './purge-mark.ts'
import { checkPurgePrivileges } from './purge-privileges.ts'

/** A step keeps its locks for as long, which a reader with a gap to decide waits for. */
const STEP_MS = 25

/**
 * Deletes events as far as every consumer has read them. Each step is a transaction of its own that deletes by a range of
 * ids, in READ COMMITTED: it locks just the rows that go, and no INSERT waits for it.
 */
export async function purgeEvents(at: EventTable, options: PurgeOptions): Promise<PurgeResult> {
  const { name, pool, table } = at
  checkPurgeOptions(name, options)
  try {
    return await withConnection(name, pool, options.signal, (connection) => purgeThrough(connection, at, options))
  } catch (error) {
    if (!isLockTimeout(error)) throw error
    throw new ReflexError(
      'MYSQL_LOCKED',
      `${name}: the purge waited 1 s for a lock that another session holds on ${table}, or on rows of it: purge again when that session is done`,
      { cause: error },
    )
  }
}

async function purgeThrough(connection: OwnConnection, at: EventTable, options: PurgeOptions): Promise<PurgeResult> {
  const { name, table, columns, clock } = at
  const { keepMs = 0, dryRun = false, except = [] } = options
  const description = await describeTable(connection, at)
  await connection.rows('set session innodb_lock_wait_timeout = 1')
  await checkPurgePrivileges(connection, description, { idColumn: columns.id, create: !dryRun })
  const known = [...(await listStored(name, options)).map(([consumer]) => consumer), ...except]
  await refuseOtherCursors(connection, name, new Set(known))

  const mark = description.lockKey[1]
  const id = `\`${columns.id}\``
  const isYoung =
    keepMs === 0 ? '0' : `\`${columns.timestamp}\` > utc_timestamp(6) - interval ${keepMs * 1000} microsecond`
  const rows = async (sql: string): Promise<readonly [string, unknown][]> =>
    (await connection.rows(sql)) as unknown as readonly [string, unknown][]
  const events: PurgeTable = {
    stepMs: STEP_MS,
    purged: () => readPurged(connection, mark),
    newest: async () => BigInt((await rows(`select max(${id}) from \`${table}\``))[0]?.[0] ?? 0),
    existing: async (ids) => {
      if (ids.length === 0) return new Set()
      const found = await rows(`select ${id} from \`${table}\` where ${id} in (${ids.join(', ')})`)
      return new Set(found.map(([each]) => BigInt(each)))
    },
    rows: async (after, limit) => {
      const sql = `select ${id}, ${isYoung} from \`${table}\` where ${id} > ${after} order by ${id} limit ${limit}`
      return (await rows(sql)).map(([each, young]) => ({ id: BigInt(each), isYoung: Number(young) === 1 }))
    },
    take: async (after, purged) => {
      const [, , counted] = await connection.script(
        recordPurged(mark, purged),
        `delete from \`${table}\` where ${id} between ${after + 1n} and ${purged.to}`,
        'select row_count()',
      )
      return Number(counted?.[0]?.[0])
    },
  }
  return purgeTable(name, events, options, clock)
}

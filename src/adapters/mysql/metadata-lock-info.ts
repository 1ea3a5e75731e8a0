import type { TableDescription } from './describe-table.ts'
import type { GapProof } from './gap-proof.ts'
import type { OwnConnection, Row } from './own-connection.ts'
import { waitForPreparedXa } from './prepared-xa.ts'

const WRITING = ['MDL_SHARED_WRITE', 'MDL_SHARED_NO_WRITE', 'MDL_SHARED_NO_READ_WRITE', 'MDL_EXCLUSIVE']
/** The plugin rounds down to ms. */
const ROUNDING_MS = 2
const MAX_PAUSE_MS = 20

/**
 * The proof by MariaDB's plugin METADATA_LOCK_INFO, which shows every lock that is held, or why it cannot be had.
 *
 * A lock has no identity there, but an age. So a user lock is taken that tells the age of the moment: whoever holds a
 * lock that is older has to end, and a pooled connection that goes on with its next transaction is not waited for.
 */
export async function metadataLockInfo(
  connection: OwnConnection,
  { lockKey, table }: TableDescription,
): Promise<GapProof | string> {
  const [[columns]] = (await connection.rows(
    "select count(*) from information_schema.columns where table_schema = 'information_schema' and table_name = 'METADATA_LOCK_INFO' and column_name = 'LOCK_TIME_MS'",
  )) as [[number | string]]
  if (Number(columns) === 0) return 'the plugin METADATA_LOCK_INFO is not installed'

  const held = `select thread_id, lock_mode, lock_time_ms from information_schema.metadata_lock_info
    where lock_type = 'Table metadata lock' and table_schema = ? and table_name = ?
      and lock_mode in (${WRITING.map((each) => `'${each}'`).join(', ')})
    union all select null, null, lock_time_ms from information_schema.metadata_lock_info
    where lock_type = 'User lock' and thread_id = connection_id()`

  return {
    kind: 'metadata-lock-info',
    settle: async (wait) => {
      await connection.rows("do get_lock(concat('reflex-bridge ', connection_id()), 0)")
      await wait(
        async () => {
          const from = performance.now()
          const rows = await connection.rows(held, lockKey)
          // Ages are taken one after the other: they may be apart by as long as the query took.
          const apart = performance.now() - from + ROUNDING_MS
          const older = olderThanOurs(rows, apart)
          return older && { text: `connection ${older[0]}, which holds ${older[1]} on ${table}`, connection: older[0] }
        },
        { maxPauseMs: MAX_PAUSE_MS },
      )
      await connection.rows("do release_lock(concat('reflex-bridge ', connection_id()))")
      await waitForPreparedXa(connection, wait)
    },
  }
}

function olderThanOurs(rows: readonly Row[], apart: number): Row | undefined {
  const ours = rows.find(([thread]) => thread === null)
  if (ours === undefined)
    throw new Error('the plugin METADATA_LOCK_INFO does not show the user lock that was just taken')
  // A lock from before the plugin was installed has no age.
  return rows.find(([thread, , age]) => thread !== null && (age === null || Number(age) + apart >= Number(ours[2])))
}

import type { TableDescription } from './describe-table.ts'
import type { GapProof } from './gap-proof.ts'
import { isDenied, isLockTimeout } from './mysql-error.ts'
import type { OwnConnection } from './own-connection.ts'
import { waitForPreparedXa } from './prepared-xa.ts'

/** Which lock passes the writers: `read` waits behind them, `write` makes new ones wait behind itself. */
export type BarrierMode = 'read' | 'write'

/**
 * Takes a lock that every transaction which has written to the table is in the way of, and gives it back: both in one
 * packet, so that no writer waits for this process. `busy` if it was not granted within 1 s.
 */
export async function tryBarrier(
  connection: OwnConnection,
  table: string,
  mode: BarrierMode,
): Promise<'passed' | 'busy' | 'denied'> {
  try {
    await connection.script(`lock tables \`${table}\` ${mode}`, 'unlock tables')
    return 'passed'
  } catch (error) {
    if (isLockTimeout(error)) return 'busy'
    if (isDenied(error)) return 'denied'
    throw error
  }
}

/** The proof by a table lock, or why it cannot be had. */
export async function lockBarrier(
  connection: OwnConnection,
  { kind, table }: TableDescription,
  mode: BarrierMode,
): Promise<GapProof | string> {
  if ((await tryBarrier(connection, table, mode)) === 'denied') return 'LOCK TABLES is not permitted'
  return {
    kind: 'barrier',
    settle: async (wait) => {
      await wait(async () => {
        if ((await tryBarrier(connection, table, mode)) === 'passed') return undefined
        return `transactions that have written to ${table}, at least one at any time, keep LOCK TABLES ${mode.toUpperCase()} waiting`
      })
      if (kind === 'mariadb') await waitForPreparedXa(connection, wait)
    },
  }
}

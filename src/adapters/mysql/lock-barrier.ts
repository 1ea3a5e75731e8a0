import type { TableDescription } from './describe-table.ts'
import type { GapProof } from './gap-proof.ts'
import type { OwnConnection } from './own-connection.ts'
import { waitForPreparedXa } from './prepared-xa.ts'
import { type BarrierMode, writersOfNow } from './writers-of-now.ts'

/** The proof by a table lock that every writer is in the way of, or why it cannot be had. */
export async function lockBarrier(
  connection: OwnConnection,
  description: TableDescription,
  mode: BarrierMode,
): Promise<GapProof | string> {
  const writers = await writersOfNow(connection, description, { mode, idle: false, lockAfterMs: 0 })
  if (typeof writers === 'string') return writers
  return {
    kind: 'barrier',
    settle: async (wait) => {
      await writers(wait)
      if (description.kind === 'mariadb') await waitForPreparedXa(connection, wait)
    },
  }
}

import type { TableDescription } from './describe-table.ts'
import { type GapProof, GapProofError } from './gap-proof.ts'
import { lockBarrier } from './lock-barrier.ts'
import { metadataLockInfo } from './metadata-lock-info.ts'
import { metadataLocks, type ShownLocks } from './metadata-locks.ts'
import { type NoopFillingOptions, noopFilling } from './noop-filling.ts'
import type { OwnConnection } from './own-connection.ts'
import { whyReplicated } from './replication.ts'
import type { BarrierMode } from './writers-of-now.ts'

/** The best proof that the server and the account allow. */
export interface ChosenProof {
  readonly proof: GapProof
  /** Why it is not a better one; undefined if it is the best. */
  readonly instead: string | undefined
}

/**
 * The ladder: the metadata locks (MySQL), or the plugin that shows them (MariaDB), which no writer notices; then a table
 * lock. With `filling`, missing ids are filled after the proof, or where none can be had, instead of it. Throws
 * `GapProofError`.
 */
export async function chooseProof(
  connection: OwnConnection,
  description: TableDescription,
  { barrier, shown }: { readonly barrier: BarrierMode; readonly shown: ShownLocks },
  filling?: Omit<NoopFillingOptions, 'refuseReplica'>,
): Promise<ChosenProof> {
  const grants = grantsFor(description)
  const refuse = (): Promise<void> => refuseReplica(connection, description)
  await refuse()
  const fill = filling && (await noopFilling(connection, description, { ...filling, refuseReplica: refuse }))
  const best = await (description.kind === 'mysql'
    ? metadataLocks(connection, description, shown)
    : metadataLockInfo(connection, description))
  if (typeof best !== 'string') return { proof: fill?.(best) ?? best, instead: undefined }
  const other = await lockBarrier(connection, description, barrier)
  if (typeof other !== 'string') return { proof: fill?.(other) ?? other, instead: best }
  if (fill !== undefined) return { proof: fill(undefined), instead: `${best}; ${other}` }
  throw new GapProofError(description, [best, other], grants)
}

/** Throws `GapProofError` where rows may arrive from another server, which may begin at any time. */
export async function refuseReplica(connection: OwnConnection, description: TableDescription): Promise<void> {
  const replicated = await whyReplicated(connection, description)
  if (replicated === undefined) return
  throw new GapProofError(description, [replicated.why], replicated.denied === true ? grantsFor(description) : [])
}

/** The statements that allow the best proof. */
export function grantsFor({ kind, account, database }: TableDescription): readonly string[] {
  const lock = `GRANT SELECT, LOCK TABLES ON \`${database.replaceAll('`', '``')}\`.* TO ${account}`
  return kind === 'mysql'
    ? [`GRANT SELECT ON performance_schema.* TO ${account}`, `GRANT PROCESS ON *.* TO ${account}`, lock]
    : ["INSTALL SONAME 'metadata_lock_info'", `GRANT SLAVE MONITOR ON *.* TO ${account}`]
}

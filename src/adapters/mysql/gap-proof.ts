import { ReflexError } from '../../core/errors.ts'
import type { TableDescription } from './describe-table.ts'
import type { Wait } from './wait.ts'

/**
 * How it is proven that a missing id will never appear: by the metadata locks that writers hold, in MySQL's
 * performance_schema or MariaDB's plugin METADATA_LOCK_INFO, or by a table lock that waits for them; or, with
 * `gaps: 'fill'` where none of these can be had, made sure by a row of ours that takes its place.
 */
export type GapProofKind = 'metadata-locks' | 'metadata-lock-info' | 'barrier' | 'filling'

/** Proves, through one connection, that missing ids are dead. */
export interface GapProof {
  readonly kind: GapProofKind
  /**
   * Resolves when every transaction is over that was open at the call and may have been given an id of the table. What it
   * committed is seen by every query that begins afterwards. `after` is the position of a stream, where one asks: no id up
   * to it matters.
   */
  settle(wait: Wait, after?: bigint): Promise<void>
}

/** No proof can be had: what is missing might still be committed, and would be lost. */
export class GapProofError extends ReflexError {
  override readonly name = 'GapProofError'
  /** The statements with which an administrator makes it possible; empty where none does. */
  readonly grants: readonly string[]

  constructor({ name, version, account }: TableDescription, reasons: readonly string[], grants: readonly string[]) {
    const advice =
      grants.length === 0 ? '' : `\nLet an administrator run:\n${grants.map((each) => `  ${each};`).join('\n')}`
    super(
      'GAP_PROOF_UNAVAILABLE',
      `${name}: it cannot be proven on this server (${version}) as ${account} that a missing id was rolled back, so an event that is committed late could be lost: ` +
        `${[...new Set(reasons)].join('; ')}.${advice}`,
      { retriable: false },
    )
    this.grants = grants
  }
}

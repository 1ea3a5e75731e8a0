import { codeOf, type ReflexError } from '../../core/errors.ts'
import { checkTable } from './check-table.ts'
import { grantsFor } from './choose-proof.ts'
import type { GapProofError, GapProofKind } from './gap-proof.ts'
import type { MysqlProblem } from './mysql-problem.ts'
import { type EventTable, openReader, withConnection } from './mysql-reader.ts'

/** What `check` found. */
export interface MysqlCheck {
  /** How late commits are told from rollbacks; undefined if streams are refused. */
  readonly proof: GapProofKind | undefined
  /** Why it is not the best proof, or none; undefined if it is the best. */
  readonly reason: string | undefined
  /** The statements with which an administrator makes it the best; empty if it is, or if none does. */
  readonly grants: readonly string[]
  /** Everything that is wrong, with the table, the account and the server, the proof included; errors first. */
  readonly problems: readonly MysqlProblem[]
}

const INSTRUMENT = 'wait/lock/metadata/sql/mdl'
const CONSUMER = 'global_instrumentation'

/** Looks at an event table, and at how late commits are told from rollbacks there. */
export async function checkEvents(at: EventTable, signal: AbortSignal | undefined): Promise<MysqlCheck> {
  const problems = await withConnection(at.name, at.pool, signal, (connection) => checkTable(connection, at))
  const { proof, reason, grants } = await checkProof(at, signal, problems)
  const isKnown = proof === undefined && grants === undefined // a problem of the table is why
  if (reason === undefined || isKnown) return { proof, reason, grants: [], problems }
  const ofProof: MysqlProblem = {
    severity: proof === undefined ? 'error' : 'warning',
    found:
      proof === undefined
        ? (reason.split('\n', 1)[0] as string)
        : `late commits are told from rollbacks by ${proof}: ${reason}`,
    why: proof === undefined ? 'streams are refused' : COST[proof],
    statements: mend(reason, grants ?? []),
  }
  const all = proof === undefined ? [ofProof, ...problems] : [...problems, ofProof]
  return { proof, reason, grants: grants ?? [], problems: all }
}

const COST: Readonly<Record<GapProofKind, string>> = {
  'metadata-locks': '',
  'metadata-lock-info': '',
  barrier: 'on a gap streams wait for a lock on the table, which they may not get for as long as writers overlap',
  filling: 'an INSERT that takes longer than fillAfterMs to use its ids fails',
}

/** Grants are undefined where the table is why. */
async function checkProof(
  at: EventTable,
  signal: AbortSignal | undefined,
  problems: readonly MysqlProblem[],
): Promise<Omit<MysqlCheck, 'problems' | 'grants'> & { readonly grants: readonly string[] | undefined }> {
  try {
    await using reader = await openReader(at, signal)
    const { proof, instead } = reader.chosen
    return { proof: proof.kind, reason: instead, grants: instead === undefined ? [] : grantsFor(reader.description) }
  } catch (error) {
    const { message } = error as ReflexError
    if (codeOf(error) === 'GAP_PROOF_UNAVAILABLE') {
      return { proof: undefined, reason: message, grants: (error as GapProofError).grants }
    }
    const isOfTable = ['OPTION_INVALID', 'TABLE_MISSING', 'MYSQL_DENIED'].includes(codeOf(error) ?? '')
    if (!isOfTable || !problems.some(({ severity }) => severity === 'error')) throw error
    return { proof: undefined, reason: message, grants: undefined }
  }
}

/** What is switched off is not mended by a grant. */
function mend(reason: string, grants: readonly string[]): readonly string[] {
  const switchOn = (table: string, name: string): string =>
    `UPDATE performance_schema.${table} SET enabled = 'YES' WHERE name = '${name}'`
  if (reason.includes(`${INSTRUMENT} is off`)) return [switchOn('setup_instruments', INSTRUMENT)]
  if (reason.includes(`${CONSUMER} is off`)) return [switchOn('setup_consumers', CONSUMER)]
  return grants
}

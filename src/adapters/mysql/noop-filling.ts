import type { Clock } from '../../core/clock.ts'
import { ReflexError } from '../../core/errors.ts'
import type { TableDescription } from './describe-table.ts'
import type { EventColumns } from './event-columns.ts'
import { type GapProof, GapProofError } from './gap-proof.ts'
import { isDeadlock, isDenied, isDuplicate, isLockTimeout } from './mysql-error.ts'
import type { OwnConnection } from './own-connection.ts'
import { readPurged } from './purge-mark.ts'
import type { Wait } from './wait.ts'

/** How missing ids are filled. */
export interface NoopFillingOptions {
  readonly columns: EventColumns
  /** How long an id must have been missing, where it cannot be proven that nobody holds it. In ms. */
  readonly afterMs: number
  readonly clock: Clock
  /** Throws where rows may arrive from another server: what is missing here may be there. */
  readonly refuseReplica: () => Promise<void>
}

/** Ids without a row, the ends included. */
interface Hole {
  readonly from: bigint
  readonly to: bigint
}

/** So many ids are looked at in one query. */
const SCANNED = 10_000
/** So many no-ops are inserted by one statement. */
const INSERTED = 1000
/** A hole of more ids was not made by rollbacks. */
const LARGEST = 100_000n

/**
 * Fills missing ids with the no-op rows of luno/reflex (foreign id 0, type 0), without which its readers stop there. Only
 * between rows that are committed, in transactions of its own, and only ids that nobody is seen to hold.
 *
 * With a proof, after it: no INSERT can fail. Without, after `afterMs`: an INSERT that was given an id that long ago, and has
 * not come to its row, fails with error 1062 (duplicate entry). Throws `GapProofError` where the account may not insert.
 */
export async function noopFilling(
  connection: OwnConnection,
  description: TableDescription,
  { columns, afterMs, clock, refuseReplica }: NoopFillingOptions,
): Promise<(proof: GapProof | undefined) => GapProof> {
  const { name, table, lockKey } = description
  const noop = await noopColumns(connection, description, columns)
  const idColumn = `\`${columns.id}\``
  const insert = `insert into \`${table}\` (${idColumn}, ${noop.map(([column]) => `\`${column}\``).join(', ')}) values `
  const values = noop.map(([, value]) => value).join(', ')
  try {
    await connection.rows(`explain ${insert}(1, ${values})`)
  } catch (error) {
    if (!isDenied(error)) throw error
    const grant = `GRANT INSERT ON \`${description.database.replaceAll('`', '``')}\`.\`${table}\` TO ${description.account}`
    throw new GapProofError(description, ["gaps: 'fill' needs the privilege INSERT"], [grant])
  }
  await connection.rows('set session innodb_lock_wait_timeout = 1')

  /** The ids of rows in a range: those that are committed, or all that anyone has inserted. */
  const idsIn = async (after: bigint, upTo: bigint, isolation: 'committed' | 'uncommitted'): Promise<bigint[]> => {
    const [, rows = []] = await connection.script(
      `set transaction isolation level read ${isolation}`,
      `select ${idColumn} from \`${table}\` where ${idColumn} > ${after} and ${idColumn} <= ${upTo} order by ${idColumn} limit ${SCANNED}`,
    )
    return rows.map(([id]) => BigInt(id as string))
  }

  /** Inserts no-ops. False if a row came in between, or a lock is in the way: look again. */
  const fill = async (holes: readonly Hole[]): Promise<boolean> => {
    for (const part of statementsFor(holes)) {
      try {
        await connection.rows(insert + part.map((id) => `(${id}, ${values})`).join(', '))
      } catch (error) {
        if (isLockTimeout(error) || isDeadlock(error)) return false
        if (!isDuplicate(error)) throw error
        // Not of the id: a unique key of a column of the application's, which the second no-op cannot have either.
        const [first, last] = [part[0] as bigint, part.at(-1) as bigint]
        const there = new Set(await idsIn(first - 1n, last, 'uncommitted'))
        if (!part.some((id) => there.has(id))) throw error
        return false
      }
    }
    return true
  }

  return (proof) => ({
    kind: proof?.kind ?? 'filling',
    settle: async (wait, after) => {
      if (proof === undefined && after === undefined) {
        throw new GapProofError(
          description,
          ["gaps: 'fill' without a proof needs a cursor to start from: fromHead, head and at cannot be answered"],
          [],
        )
      }
      const [[newest, oldest] = []] = (await connection.rows(
        `select max(${idColumn}), min(${idColumn}) from \`${table}\``,
      )) as [[string | null, string | null]?]
      await proof?.settle(wait, after)
      if (after === undefined || newest == null || oldest == null) return
      await refuseReplica()
      const end = BigInt(newest)
      // What is missing before the first row has been deleted, or stops nobody, once it is known to be dead.
      const before = BigInt(oldest) - 1n
      await fillUpTo(end, proof !== undefined && before > after ? before : after, proof !== undefined, wait)
    },
  })

  async function fillUpTo(end: bigint, start: bigint, proven: boolean, wait: Wait): Promise<void> {
    const since = clock.now()
    let position = start
    await wait(async () => {
      while (position < end) {
        const ids = await idsIn(position, end, 'committed')
        const last = ids.at(-1) ?? end
        let holes = holesIn(ids, position)
        // A purge records how far it goes before it deletes anything.
        const purged = holes.length === 0 ? undefined : await readPurged(connection, lockKey[1])
        if (purged !== undefined && purged.to > position) holes = holesIn(ids, purged.to)
        if (holes.length === 0) {
          position = last
          continue
        }
        const tooLarge = holes.find(({ from, to }) => to - from >= LARGEST)
        if (tooLarge !== undefined) {
          throw new ReflexError(
            'GAP_TOO_LARGE',
            `${name}: expected at most ${LARGEST} ids to be missing in a row, but ${tooLarge.from} to ${tooLarge.to} are: they were deleted, or AUTO_INCREMENT was set ahead; insert the row ${tooLarge.to} as a no-op, or read from a cursor after them`,
            { retriable: false },
          )
        }
        const from = (holes[0] as Hole).from - 1n
        const missing = proven ? holes : holesIn(await idsIn(from, last, 'uncommitted'), from)
        if (missing.length === 0) return `a transaction that has inserted the id ${holes[0]?.from} into ${table}`
        const left = proven ? 0 : since + afterMs - clock.now()
        if (left > 0)
          return `the id ${missing[0]?.from} of ${table}, which is missing, and is filled in ${Math.ceil(left)} ms`
        if (!(await fill(missing))) return `an INSERT into ${table} of another client, at the id ${missing[0]?.from}`
      }
      return undefined
    })
  }
}

/** The columns of a no-op, and their values. Throws where the table has one that is not known and must be given. */
async function noopColumns(
  connection: OwnConnection,
  { name, table, lockKey }: TableDescription,
  columns: EventColumns,
): Promise<readonly (readonly [column: string, value: string])[]> {
  const rows = await connection.rows(
    `select column_name from information_schema.columns where table_schema = ? and table_name = ? and is_nullable = 'NO'
      and column_default is null and extra not like '%auto_increment%' and coalesce(generation_expression, '') = ''`,
    lockKey,
  )
  const values = new Map([
    [columns.foreignId, '0'],
    [columns.timestamp, 'utc_timestamp(6)'],
    [columns.type, '0'],
  ])
  const empty = new Map([
    [columns.metadata, "''"],
    [columns.headers, "'{}'"],
    [columns.trace, "''"],
  ])
  const unknown: string[] = []
  for (const [column] of rows as [string][]) {
    const value = empty.get(column)
    if (value !== undefined) values.set(column, value)
    else if (!values.has(column)) unknown.push(column)
  }
  if (unknown.length > 0) {
    throw new ReflexError(
      'TABLE_LAYOUT',
      `${name}: gaps: 'fill' inserts rows into ${table} without ${unknown.join(', ')}, which must be given: let such columns be NULL, or give them a default`,
      { retriable: false },
    )
  }
  return [...values]
}

/** What is missing among `ids`, which rise, after `position` and before the last of them. */
function holesIn(ids: readonly bigint[], position: bigint): readonly Hole[] {
  const holes: Hole[] = []
  let expected = position + 1n
  for (const id of ids) {
    if (id < expected) continue
    if (id > expected) holes.push({ from: expected, to: id - 1n })
    expected = id + 1n
  }
  return holes
}

function* statementsFor(holes: readonly Hole[]): Generator<readonly bigint[]> {
  let part: bigint[] = []
  for (const { from, to } of holes) {
    for (let id = from; id <= to; id++) {
      if (part.push(id) < INSERTED) continue
      yield part
      part = []
    }
  }
  if (part.length > 0) yield part
}

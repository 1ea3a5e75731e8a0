import type { Clock } from '../../core/clock.ts'
import { DecodeError } from '../../core/errors.ts'
import type { TableReader, TableRow } from '../../sql/table-reader.ts'
import { type ChosenProof, chooseProof, refuseReplica } from './choose-proof.ts'
import { createDecoder, selectedColumns } from './decode-row.ts'
import { describeHolder } from './describe-holder.ts'
import { describeTable, type TableDescription } from './describe-table.ts'
import type { EventColumns } from './event-columns.ts'
import type { ShownLocks } from './metadata-locks.ts'
import { explainMysql, isLockTimeout } from './mysql-error.ts'
import type { CorePool } from './mysql-pool.ts'
import { type OwnConnection, openConnection } from './own-connection.ts'
import { readPurged } from './purge-mark.ts'
import type { Wait, Waits } from './wait.ts'
import type { BarrierMode } from './writers-of-now.ts'

/** Where an event table is, and how it is read. */
export interface EventTable {
  readonly name: string
  readonly pool: CorePool
  readonly table: string
  /** The names of its columns. */
  readonly columns: EventColumns
  readonly barrier: BarrierMode
  /** What its streams have found out about locks. */
  readonly shown: ShownLocks
  /** After how many ms missing ids are filled; undefined if they are not. */
  readonly fillAfterMs: number | undefined
  readonly clock: Clock
  readonly waits: Waits
  /** Is told the proof of each reader that is opened. */
  readonly onChosen: (chosen: ChosenProof) => void
}

/** A view of an event table through a connection of its own. */
export interface MysqlReader extends TableReader {
  readonly description: TableDescription
  readonly chosen: ChosenProof
  /** Runs a query of one value; waits while the table is locked. */
  value(sql: string): Promise<unknown>
}

/** Opens a reader. Throws `GapProofError` where a late commit could be lost. */
export async function openReader(at: EventTable, signal: AbortSignal | undefined): Promise<MysqlReader> {
  const { name, pool, table, columns, fillAfterMs, clock, waits } = at
  const explain = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (error) {
      throw signal?.aborted ? error : explainMysql(error, name)
    }
  }
  const connection = await explain(() => openConnection(name, pool, signal))
  const wait = (): Wait => waits.start(signal, (holder) => describeHolder(connection, holder))

  /** A reading statement waits for a table lock, or for ALTER TABLE. */
  const read = <T>(work: () => Promise<T>): Promise<T> =>
    explain(async () => {
      let result: { readonly value: T } | undefined
      await wait()(async () => {
        try {
          result = { value: await work() }
          return undefined
        } catch (error) {
          if (isLockTimeout(error)) return `a lock on ${table} that nobody can read under (LOCK TABLES or ALTER TABLE)`
          throw error
        }
      })
      return (result as { readonly value: T }).value
    })

  try {
    const { description, chosen } = await explain(async () => {
      const described = await describeTable(connection, at)
      const filling = fillAfterMs === undefined ? undefined : { columns, afterMs: fillAfterMs, clock }
      return { description: described, chosen: await chooseProof(connection, described, at, filling) }
    })
    at.onChosen(chosen)
    const decode = createDecoder(name)
    const select = `select ${selectedColumns(columns, description.present)} from \`${table}\` where \`${columns.id}\` >= `
    const value = (sql: string): Promise<unknown> => read(async () => (await connection.rows(sql))[0]?.[0])

    return {
      description,
      chosen,
      value,
      page: (from, limit, maxBytes) =>
        read(async () => {
          const rows: TableRow[] = []
          let bytes = 0
          let isWhole = false
          await connection.forEachRow(`${select}${from} order by \`${columns.id}\` limit ${limit}`, (row) => {
            if (isWhole) return
            try {
              const event = decode(row)
              rows.push(event)
              bytes += event.metadata?.length ?? 0
              isWhole = bytes > maxBytes && rows.length > 1
            } catch (error) {
              if (!(error instanceof DecodeError)) throw error
              rows.push({ id: error.position, error })
              isWhole = error.position !== String(from)
            }
          })
          return rows
        }),
      newest: async () =>
        BigInt(((await value(`select max(\`${columns.id}\`) from \`${table}\``)) as string | null) ?? 0),
      settleWriters: (after) =>
        explain(async () => {
          await chosen.proof.settle(wait(), after)
          await refuseReplica(connection, description)
        }),
      purged: () => read(() => readPurged(connection, description.lockKey[1])),
      [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
    }
  } catch (error) {
    await connection[Symbol.asyncDispose]()
    throw error
  }
}

/** Runs `work` on a connection that is opened for it. */
export async function withConnection<T>(
  name: string,
  pool: CorePool,
  signal: AbortSignal | undefined,
  work: (connection: OwnConnection) => Promise<T>,
): Promise<T> {
  try {
    await using connection = await openConnection(name, pool, signal)
    return await work(connection)
  } catch (error) {
    throw signal?.aborted ? error : explainMysql(error, name)
  }
}

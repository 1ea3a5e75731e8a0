import type { DatabaseSync } from 'node:sqlite'
import type { Clock } from '../../core/clock.ts'
import { listStored, unlistedConsumer } from '../../sql/purge-holders.ts'
import { checkPurgeOptions, type PurgeOptions, type PurgeResult, purgeTable } from '../../sql/purge-table.ts'
import { connect } from './connect.ts'
import { checkEventTable } from './event-table.ts'
import { prepare } from './prepare.ts'
import { createPurgeTable, readPurged, recordPurged } from './purge-mark.ts'
import type { EventTable } from './sqlite-reader.ts'
import { transaction } from './transaction.ts'

/** A step keeps other writers, and this process, from their work. */
const STEP_MS = 5

/** Deletes events as far as every consumer has read them. Each step is a transaction of its own. */
export async function purgeEvents(
  { name, place, table, clock }: EventTable & { readonly clock: Clock },
  options: PurgeOptions,
): Promise<PurgeResult> {
  checkPurgeOptions(name, options)
  const { keepMs = 0, dryRun = false, except = [], signal } = options
  const known = new Set([...(await listStored(name, options)).map(([consumer]) => consumer), ...except])
  using connection = connect(name, place)
  const { database } = connection
  const use = <T>(work: () => T): Promise<T> => connection.use(work, { clock, signal })
  const rows = (sql: string, ...values: (bigint | number)[]): Promise<readonly Record<string, unknown>[]> =>
    use(() => prepare(database, sql, { bigInts: true }).all(...values))

  await use(() => {
    checkEventTable(name, database, table)
    for (const [cursors, consumers] of otherCursors(database)) {
      const error = unlistedConsumer(name, { table: cursors, consumers, known })
      if (error !== undefined) throw error
    }
    if (!dryRun) database.exec(createPurgeTable)
  })
  const oldest = keepMs === 0 ? Number.MAX_VALUE : clock.now() - keepMs
  return await purgeTable(
    name,
    {
      stepMs: STEP_MS,
      purged: () => use(() => readPurged(database, table)),
      newest: async () => ((await rows(`select max(id) as id from ${table}`))[0]?.['id'] ?? 0n) as bigint,
      existing: async (ids) => {
        const found = await rows(`select id from ${table} where id in (${ids.join(', ')})`)
        return new Set(found.map(({ id }) => id as bigint))
      },
      rows: async (after, limit) => {
        const sql = `select id, timestamp > ? as young from ${table} where id > ? order by id limit ?`
        return (await rows(sql, oldest, after, limit)).map((row) => ({
          id: row['id'] as bigint,
          isYoung: row['young'] === 1n,
        }))
      },
      take: (after, purged) =>
        use(() =>
          transaction(database, () => {
            recordPurged(database, table, purged)
            const { changes } = prepare(database, `delete from ${table} where id > ? and id <= ?`).run(after, purged.to)
            return Number(changes)
          }),
        ),
    },
    options,
    clock,
  )
}

/** The tables of the database that look like one of cursors, with their consumers. */
function otherCursors(database: DatabaseSync): readonly (readonly [table: string, consumers: readonly string[]])[] {
  const tables = prepare(
    database,
    `select name from sqlite_master where type = 'table' and name <> 'bridge_controls' -- no positions, but what operators want
      and 2 = (select count(*) from pragma_table_info(sqlite_master.name) info where info.name in ('consumer', 'cursor'))`,
  ).all()
  return tables.map(({ name }) => {
    const quoted = `"${String(name).replaceAll('"', '""')}"`
    const rows = prepare(database, `select consumer from ${quoted}`).all()
    return [String(name), rows.map(({ consumer }) => String(consumer))]
  })
}

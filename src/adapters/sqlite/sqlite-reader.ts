import type { SQLOutputValue, StatementSync } from 'node:sqlite'
import type { Clock } from '../../core/clock.ts'
import type { TableReader, TableRow } from '../../sql/table-reader.ts'
import { connect, type Place } from './connect.ts'
import { checkEventTable } from './event-table.ts'
import { prepare } from './prepare.ts'
import { readPurged } from './purge-mark.ts'
import { preparePage } from './read-page.ts'

/** Where an event table is. */
export interface EventTable {
  /** For errors. */
  readonly name: string
  readonly place: Place
  readonly table: string
}

/** A view of an event table through a connection of its own, or through the handle of a database in memory. */
export async function openReader(
  { name, place, table }: EventTable,
  options: { readonly clock?: Clock | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<TableReader> {
  const connection = connect(name, place, { readOnly: true })
  const { database, shared, use } = connection
  const one = (statement: StatementSync): SQLOutputValue | undefined =>
    (statement.get() as unknown as SQLOutputValue[])[0]
  try {
    const { page, newest, version } = await use(() => {
      checkEventTable(name, database, table)
      return {
        page: preparePage(name, database, table, { alone: shared }),
        newest: prepare(database, `select cast(max(id) as text) from ${table}`, { arrays: true }),
        version: prepare(database, 'pragma data_version', { arrays: true }),
      }
    }, options)

    // What was read last, while nobody has committed since: at the head only the row of the position, which may be large.
    let last: { readonly from: bigint; readonly version: unknown; readonly rows: readonly TableRow[] } | undefined

    return {
      page: (from, limit, maxBytes) =>
        use(() => {
          const now = shared ? undefined : one(version)
          if (now !== undefined && last?.from === from && last.version === now) return last.rows
          const rows = page(from, limit, maxBytes)
          last = rows.length < 2 && limit > 1 ? { from, version: now, rows } : undefined
          return rows
        }, options),
      newest: () => use(() => BigInt((one(newest) as string | null) ?? 0), options),
      // SQLite has one writer at a time, and a rollback takes back the ids with the rows: ids appear in their order.
      settleWriters: async () => {},
      purged: () => use(() => readPurged(database, table), options),
      [Symbol.asyncDispose]: async () => connection[Symbol.dispose](),
    }
  } catch (error) {
    connection[Symbol.dispose]()
    throw error
  }
}

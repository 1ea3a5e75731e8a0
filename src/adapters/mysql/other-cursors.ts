import { unlistedConsumer } from '../../sql/purge-holders.ts'
import type { OwnConnection } from './own-connection.ts'

/**
 * Throws `OptionError` if a cursors table in the database of the connection, of this package or of luno/reflex, holds the
 * cursor of a consumer that is not among `known`. `name` is of the log, for the error.
 */
export async function refuseOtherCursors(
  connection: OwnConnection,
  name: string,
  known: ReadonlySet<string>,
): Promise<void> {
  const tables = await connection.rows(
    `select table_name from information_schema.columns where table_schema = database()
      and column_name in ('id', 'last_event_id') group by table_name having count(*) = 2`,
  )
  for (const [table] of tables as readonly [string][]) {
    const rows = await connection.rows(`select cast(id as binary) from \`${table.replaceAll('`', '``')}\``)
    const consumers = rows.map(([id]) => Buffer.from(id as Uint8Array).toString())
    const error = unlistedConsumer(name, { table, consumers, known })
    if (error !== undefined) throw error
  }
}

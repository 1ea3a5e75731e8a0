import { ReflexError } from '../../core/errors.ts'
import type { TableDescription } from './describe-table.ts'
import { isDenied, isMissingTable } from './mysql-error.ts'
import type { OwnConnection } from './own-connection.ts'
import { createPurgeTable, PURGE_TABLE } from './purge-mark.ts'

/**
 * Finds out, before anything is deleted, what a purge needs and the account may not do, and creates the table of the marks
 * where `create` is set. Throws `MYSQL_DENIED` with the statements that grant it.
 */
export async function checkPurgePrivileges(
  connection: OwnConnection,
  { name, account, database, table }: TableDescription,
  { idColumn, create }: { readonly idColumn: string; readonly create: boolean },
): Promise<void> {
  const isPermitted = async (sql: string): Promise<boolean> => {
    try {
      await connection.rows(sql)
      return true
    } catch (error) {
      if (isDenied(error)) return false
      throw error
    }
  }
  const mayRecord = async (): Promise<boolean> => {
    try {
      if (!(await isPermitted(`select 1 from \`${PURGE_TABLE}\` limit 0`))) return false
    } catch (error) {
      if (!isMissingTable(error)) throw error
      if (!create) return true // which is all that can be found out
      if (!(await isPermitted(createPurgeTable))) return false
    }
    return isPermitted(`insert into \`${PURGE_TABLE}\` (id, purged_to, next_id, updated_at)
      select '', 0, 0, utc_timestamp(6) from (select 1) one where 1 = 0 on duplicate key update next_id = 0`)
  }
  const on = (tableName: string): string => `\`${database.replaceAll('`', '``')}\`.\`${tableName}\` TO ${account}`
  const grants = [
    ...((await isPermitted(`delete from \`${table}\` where \`${idColumn}\` = 0 and 1 = 0`))
      ? []
      : [`GRANT SELECT, DELETE ON ${on(table)}`]),
    ...((await mayRecord()) ? [] : [`GRANT CREATE, SELECT, INSERT, UPDATE ON ${on(PURGE_TABLE)}`]),
  ]
  if (grants.length === 0) return
  throw new ReflexError(
    'MYSQL_DENIED',
    `${name}: ${account} may not purge it. Let an administrator run:\n${grants.map((each) => `  ${each};`).join('\n')}`,
    { retriable: false },
  )
}

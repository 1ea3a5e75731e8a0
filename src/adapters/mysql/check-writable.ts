import { messageOf } from '../../core/errors.ts'
import { describeServer } from './describe-server.ts'
import { checkPool, type MysqlPool } from './mysql-pool.ts'
import type { MysqlProblem } from './mysql-problem.ts'
import { withConnection } from './mysql-reader.ts'

/** Why the account cannot keep cursors in a table: statements that change no row tell. Throws if it cannot be asked. */
export async function checkWritable(
  pool: MysqlPool,
  table: string,
): Promise<readonly (Pick<MysqlProblem, 'severity' | 'statements'> & { readonly text: string })[]> {
  const { core, database } = checkPool(pool)
  const name = `mysql:${database}.${table}`
  const quoted = (each: string): string => `\`${each.replaceAll('`', '``')}\``
  return withConnection(name, core, undefined, async (connection) => {
    const { account } = await describeServer(connection, name)
    const attempts = [
      `insert into ${quoted(table)} select * from ${quoted(table)} where 1 = 0`,
      `update ${quoted(table)} set is_reset = is_reset where 1 = 0`,
    ]
    for (const attempt of attempts) {
      try {
        await connection.rows(attempt)
      } catch (error) {
        const grant = `GRANT SELECT, INSERT, UPDATE ON ${quoted(database)}.${quoted(table)} TO ${account}`
        const isDenied = /denied/i.test(messageOf(error))
        const text = `${account} cannot write to ${table}: ${messageOf(error)}: no checkpoint can be saved`
        return [{ severity: 'error', text, statements: isDenied ? [grant] : [] }]
      }
    }
    return []
  })
}

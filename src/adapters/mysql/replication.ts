import type { TableDescription } from './describe-table.ts'
import { isDenied } from './mysql-error.ts'
import type { OwnConnection } from './own-connection.ts'

/**
 * Why rows of a table may arrive from another server, where the transactions that hold their ids cannot be seen; undefined
 * if they cannot. `denied` names what must be granted to find out.
 */
export async function whyReplicated(
  connection: OwnConnection,
  { kind, variables, account }: TableDescription,
): Promise<{ readonly why: string; readonly denied?: string } | undefined> {
  const increment = variables.get('auto_increment_increment')
  if (variables.get('wsrep_on') === 'ON' && !['', 'none', undefined].includes(variables.get('wsrep_provider'))) {
    return { why: 'it is a node of a Galera cluster, and rows arrive from the other nodes' }
  }
  if (variables.get('group_replication_group_name')) {
    return { why: 'it is a member of a replication group, and rows arrive from the other members' }
  }
  if (increment !== '1') {
    return { why: `auto_increment_increment is ${increment}: other servers give ids as well` }
  }
  if (variables.get('innodb_read_only') === 'ON') {
    return { why: 'innodb_read_only is ON: it reads what another server writes' }
  }
  for (const { sql, grant } of kind === 'mysql' ? MYSQL : MARIADB) {
    try {
      const sources = await connection.rows(sql)
      return sources.length === 0
        ? undefined
        : {
            why: 'it is a replica, and rows arrive from its source: use the primary (once it is one itself, RESET REPLICA ALL)',
          }
    } catch (error) {
      if (!isDenied(error)) throw error
      if (grant !== undefined)
        return {
          why: 'it may be a replica, which this account may not know',
          denied: `GRANT ${grant} ON *.* TO ${account}`,
        }
    }
  }
  return undefined
}

interface Question {
  readonly sql: string
  /** Asked last: what must be granted if it is denied as well. */
  readonly grant?: string
}

const MYSQL: readonly Question[] = [
  { sql: 'select channel_name from performance_schema.replication_connection_configuration' },
  { sql: 'show replica status', grant: 'REPLICATION CLIENT' },
]
const MARIADB: readonly Question[] = [{ sql: 'show all slaves status', grant: 'SLAVE MONITOR' }]

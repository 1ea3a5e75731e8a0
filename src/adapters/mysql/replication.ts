import type { TableDescription } from './describe-table.ts'
import { isDenied } from './mysql-error.ts'
import type { OwnConnection } from './own-connection.ts'

/**
 * Why rows of a table may arrive from another server, where the transactions that hold their ids cannot be seen; undefined
 * if they cannot. With `denied`, the account may not find out.
 */
export async function whyReplicated(
  connection: OwnConnection,
  { kind, variables }: TableDescription,
): Promise<{ readonly why: string; readonly denied?: boolean } | undefined> {
  if (variables.get('wsrep_on') === 'ON' && !['', 'none', undefined].includes(variables.get('wsrep_provider'))) {
    return { why: 'it is a node of a Galera cluster, and rows arrive from the other nodes' }
  }
  if (variables.get('group_replication_group_name')) {
    return { why: 'it is a member of a replication group, and rows arrive from the other members' }
  }
  if (variables.get('innodb_read_only') === 'ON') {
    return { why: 'innodb_read_only is ON: it reads what another server writes' }
  }
  for (const sql of kind === 'mariadb'
    ? MARIADB
    : variables.get('performance_schema') === 'ON'
      ? MYSQL
      : MYSQL.slice(1)) {
    try {
      const sources = await connection.rows(sql)
      if (sources.length === 0) return undefined
      return {
        why: `it is a replica, and rows arrive from its source: use the primary (once it is one itself: ${RESET[kind]})`,
      }
    } catch (error) {
      if (!isDenied(error)) throw error
    }
  }
  return { why: 'it may be a replica, which this account may not find out', denied: true }
}

const MYSQL = [
  'select channel_name from performance_schema.replication_connection_configuration',
  'show replica status',
]
const MARIADB = ['show all slaves status']
const RESET = { mysql: 'RESET REPLICA ALL', mariadb: 'RESET SLAVE ALL' }

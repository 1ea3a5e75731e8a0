import { OptionError, ReflexError } from '../../core/errors.ts'
import type { OwnConnection } from './own-connection.ts'

/** What is known of a server and of a table on it. */
export interface TableDescription {
  /** Of the log; for errors. */
  readonly name: string
  readonly kind: 'mysql' | 'mariadb'
  /** As the server says it. */
  readonly version: string
  /** The account that the server took us for, quoted: `'app'@'%'`. */
  readonly account: string
  readonly database: string
  readonly table: string
  /** Database and table as they are named in metadata locks. */
  readonly lockKey: readonly [database: string, table: string]
  /** The columns `metadata` and `headers`, as far as the table has them. */
  readonly columns: ReadonlySet<string>
  /** Global variables, by their names in lower case, of those in `VARIABLES`. */
  readonly variables: ReadonlyMap<string, string>
}

const VARIABLES = [
  'auto_increment_increment',
  'group_replication_group_name',
  'innodb_read_only',
  'performance_schema',
  'wsrep_on',
  'wsrep_provider',
] as const

const NEEDED = ['id', 'foreign_id', 'timestamp', 'type'] as const

/** Looks at a table, and refuses one that is missing, has other columns or does not get its ids from InnoDB's AUTO_INCREMENT. */
export async function describeTable(connection: OwnConnection, name: string, table: string): Promise<TableDescription> {
  const [[facts], tables, columns, variables] = (await connection.script(
    'select version(), @@version_comment, database(), current_user(), @@lower_case_table_names',
    `select table_name, engine from information_schema.tables where table_schema = database() and table_name = '${table}'`,
    `select table_name, column_name, extra from information_schema.columns where table_schema = database() and table_name = '${table}'`,
    `show global variables where variable_name in (${VARIABLES.map((each) => `'${each}'`).join(', ')})`,
  )) as [[[string, string, string, string, number | string]], [string, string | null][], string[][], [string, string][]]
  const [version, comment, database, user, lowerCase] = facts
  const kind = serverKind(name, version, comment)

  const asStored = (given: string): string => (Number(lowerCase) === 0 ? given : given.toLowerCase())
  const wanted = asStored(table)
  const found = tables.find(([each]) => asStored(each) === wanted)
  if (found === undefined) {
    throw new ReflexError(
      'TABLE_MISSING',
      `${name}: there is no table ${table} in the database ${database} that ${quoteAccount(user)} may read: create it with createTable()`,
      { retriable: false },
    )
  }
  if (found[1] !== 'InnoDB') {
    throw new OptionError(
      `${name}: expected ${table} to be an InnoDB table, but ${found[1] === null ? 'it is a view' : `its engine is ${found[1]}`}`,
    )
  }
  const extras = new Map(
    columns
      .filter(([each]) => asStored(each as string) === wanted)
      .map(([, column, extra]) => [column?.toLowerCase(), extra]),
  )
  const missing = NEEDED.filter((column) => !extras.has(column))
  if (missing.length > 0) {
    throw new OptionError(
      `${name}: the table ${table} has no column ${missing.join(', ')}: compare it with what createTable() makes`,
    )
  }
  if (!/auto_increment/i.test(extras.get('id') ?? '')) {
    throw new OptionError(
      `${name}: the column id of ${table} must be AUTO_INCREMENT: ids given in another way have no order that can be followed`,
    )
  }
  return {
    name,
    kind,
    version,
    account: quoteAccount(user),
    database,
    table,
    lockKey: [asStored(database), wanted],
    columns: new Set(['metadata', 'headers'].filter((column) => extras.has(column))),
    variables: new Map(variables.map(([variable, value]) => [variable.toLowerCase(), value])),
  }
}

function serverKind(name: string, version: string, comment: string): 'mysql' | 'mariadb' {
  const found = `${version} (${comment})`
  const kind = /mariadb/i.test(found) ? 'mariadb' : 'mysql'
  const [major = 0, minor = 0] = version
    .replace(/^5\.5\.5-/, '')
    .split('.')
    .map(Number.parseFloat)
  const known = kind === 'mysql' ? major >= 8 : major > 10 || (major === 10 && minor >= 5)
  // These speak the protocol, but their ids are given out per node or their locks are others.
  if (!known || /tidb|vitess|oceanbase|singlestore|memsql|doris|starrocks/i.test(found)) {
    throw new OptionError(`${name}: expected MySQL 8.0 or newer, or MariaDB 10.5 or newer, but the server is ${found}`)
  }
  return kind
}

/** `app@%` as it stands in a GRANT statement. */
function quoteAccount(user: string): string {
  const at = user.lastIndexOf('@')
  const quote = (part: string): string => `'${part.replaceAll(/['\\]/g, '\\$&')}'`
  return `${quote(user.slice(0, at))}@${quote(user.slice(at + 1))}`
}

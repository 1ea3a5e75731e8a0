import { OptionError, ReflexError } from '../../core/errors.ts'
import { describeServer, type ServerDescription } from './describe-server.ts'
import { type EventColumns, isTraceType, type OptionalColumn } from './event-columns.ts'
import type { OwnConnection } from './own-connection.ts'

/** What is known of a table and of its server. */
export interface TableDescription extends Omit<ServerDescription, 'asStored'> {
  /** Of the log; for errors. */
  readonly name: string
  readonly table: string
  /** Database and table as they are named in metadata locks. */
  readonly lockKey: readonly [database: string, table: string]
  /** The optional columns, as far as the table has them. */
  readonly present: ReadonlySet<OptionalColumn>
  /** Global variables, by their names in lower case, of those in `VARIABLES`. */
  readonly variables: ReadonlyMap<string, string>
}

const VARIABLES = [
  'auto_increment_increment',
  'group_replication_group_name',
  'innodb_read_only',
  'max_write_lock_count',
  'performance_schema',
  'wsrep_on',
  'wsrep_provider',
] as const

/** Looks at a table, and refuses one that is missing, has other columns or does not get its ids from InnoDB's AUTO_INCREMENT. */
export async function describeTable(
  connection: OwnConnection,
  { name, table, columns: names }: { readonly name: string; readonly table: string; readonly columns: EventColumns },
): Promise<TableDescription> {
  const { asStored, ...server } = await describeServer(connection, name)
  const { account, database } = server
  const [tables, columns, variables] = (await connection.script(
    `select table_name, engine from information_schema.tables where table_schema = database() and table_name = '${table}'`,
    `select table_name, column_name, extra, data_type from information_schema.columns where table_schema = database() and table_name = '${table}'`,
    `show global variables where variable_name in (${VARIABLES.map((each) => `'${each}'`).join(', ')})`,
  )) as [[string, string | null][], string[][], [string, string][]]
  const wanted = asStored(table)
  const found = tables.find(([each]) => asStored(each) === wanted)
  if (found === undefined) {
    throw new ReflexError(
      'TABLE_MISSING',
      `${name}: there is no table ${table} in the database ${database} that ${account} may read: create it with createTable()`,
      { retriable: false },
    )
  }
  if (found[1] !== 'InnoDB') {
    throw new OptionError(
      `${name}: expected ${table} to be an InnoDB table, but ${found[1] === null ? 'it is a view' : `its engine is ${found[1]}`}`,
    )
  }
  const own = new Map(
    columns
      .filter(([each]) => asStored(each as string) === wanted)
      .map(([, column, extra, type]) => [column?.toLowerCase(), { extra, type }]),
  )
  const missing = [names.id, names.foreignId, names.timestamp, names.type].filter(
    (column) => !own.has(column.toLowerCase()),
  )
  if (missing.length > 0) {
    throw new OptionError(
      `${name}: the table ${table} has no column ${missing.join(', ')}: name its columns with the option columns, or compare it with what createTable() makes`,
    )
  }
  if (!/auto_increment/i.test(own.get(names.id.toLowerCase())?.extra ?? '')) {
    throw new OptionError(
      `${name}: the column ${names.id} of ${table} must be AUTO_INCREMENT: ids given in another way have no order that can be followed`,
    )
  }
  return {
    ...server,
    name,
    table,
    lockKey: [asStored(database), wanted],
    present: new Set(
      (['metadata', 'headers', 'trace'] as const).filter((each) => {
        const type = own.get(names[each].toLowerCase())?.type
        return type !== undefined && (each !== 'trace' || isTraceType(type))
      }),
    ),
    variables: new Map(variables.map(([variable, value]) => [variable.toLowerCase(), value])),
  }
}

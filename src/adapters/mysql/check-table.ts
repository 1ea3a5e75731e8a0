import { checkColumns } from './check-columns.ts'
import { checkKeys } from './check-keys.ts'
import { checkServer, SERVER_SETTINGS } from './check-server.ts'
import type { AddProblem, CheckedColumn } from './checked-column.ts'
import { createEventTable } from './create-event-table.ts'
import { describeServer } from './describe-server.ts'
import type { EventColumns } from './event-columns.ts'
import { isDenied } from './mysql-error.ts'
import type { MysqlProblem } from './mysql-problem.ts'
import type { OwnConnection } from './own-connection.ts'

type Rows = readonly (readonly (string | null)[])[]

/**
 * What is wrong with an event table, with what the account may do with it, and with the settings of its server; errors
 * first. What the account may not see is taken to be right. Throws `OptionError` on a server that is not supported.
 */
export async function checkTable(
  connection: OwnConnection,
  { name, table, columns: names }: { readonly name: string; readonly table: string; readonly columns: EventColumns },
): Promise<readonly MysqlProblem[]> {
  const { kind, account, database, asStored } = await describeServer(connection, name)
  const [, tables, columns, indexes, triggers, keys, settings = []] = (await connection.script(
    kind === 'mysql' ? 'set session information_schema_stats_expiry = 0' : 'do 0', // auto_increment as it is now
    `select table_name, engine, create_options, auto_increment from information_schema.tables
     where table_schema = database() and table_name = '${table}'`,
    `select table_name, column_name, data_type, column_type, is_nullable, column_default, extra, character_set_name,
       collation_name, character_maximum_length, datetime_precision, generation_expression
     from information_schema.columns where table_schema = database() and table_name = '${table}' order by ordinal_position`,
    `select table_name, index_name, column_name, non_unique from information_schema.statistics
     where table_schema = database() and table_name = '${table}' order by index_name, seq_in_index`,
    `select event_object_table, trigger_name, action_statement from information_schema.triggers
     where trigger_schema = database() and event_object_table = '${table}'
       and action_timing = 'BEFORE' and event_manipulation = 'INSERT'`,
    `select table_name, constraint_name, referenced_table_name, delete_rule, update_rule
     from information_schema.referential_constraints where constraint_schema = database() and table_name = '${table}'`,
    `show global variables where variable_name in (${SERVER_SETTINGS.map((each) => `'${each}'`).join(', ')})`,
  )) as Rows[]
  const own = (rows: Rows = []): Rows => rows.filter(([each]) => asStored(String(each)) === asStored(table))

  const problems: MysqlProblem[] = []
  const add: AddProblem = (severity, found, why, ...statements) =>
    void problems.push({ severity, found, why, statements })
  const quoted = quote(table)
  const grant = (privileges: string): string => `GRANT ${privileges} ON ${quote(database)}.${quoted} TO ${account}`
  const [described] = own(tables)
  if (described === undefined) {
    add(
      'error',
      `there is no table ${table} in the database ${database} that ${account} may see`,
      'there is nothing to read, and nothing to insert into',
      createEventTable(table, names),
      grant('SELECT, INSERT'),
    )
  } else {
    const [, engine, options, next] = described
    const found = own(columns).map(toColumn)
    checkEngine(quoted, engine ?? null, add)
    checkColumns({ table: quoted, names, columns: found, next: next == null ? undefined : BigInt(next) }, add)
    checkKeys(
      { table: quoted, id: names.id, indexes: own(indexes), isPartitioned: /partitioned/i.test(options ?? '') },
      add,
    )
    checkTriggers(names, own(triggers), add)
    checkForeignKeys(quoted, own(keys), add)
    const there = new Set(found.map((column) => column.name.toLowerCase()))
    const read = Object.values(names).filter((column) => there.has(column.toLowerCase()))
    const denied = await whyDenied(connection, `select ${read.map(quote).join(', ') || '1'} from ${quoted} limit 0`)
    if (denied !== undefined) {
      add('error', `${account} may not read ${table}: ${denied}`, 'streams are refused', grant('SELECT'))
    }
  }
  checkServer(kind, new Map(settings.map(([setting, value]) => [String(setting), String(value)])), add)
  return problems.sort((a, b) => Number(a.severity === 'warning') - Number(b.severity === 'warning'))
}

function quote(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``
}

function toColumn(row: readonly (string | null)[]): CheckedColumn {
  const [, name, dataType, type, nullable, byDefault, extra, charset, collation, length, precision, generated] = row
  return {
    name: String(name),
    dataType: String(dataType).toLowerCase(),
    type: String(type),
    nullable: nullable === 'YES',
    hasDefault: byDefault != null,
    extra: String(extra).toLowerCase(),
    charset: charset ?? undefined,
    collation: collation ?? undefined,
    length: length == null ? undefined : Number(length),
    precision: Number(precision ?? 0),
    generated: (generated ?? '') !== '',
  }
}

function checkEngine(table: string, engine: string | null, add: AddProblem): void {
  if (engine === 'InnoDB') return
  const why = 'without transactions and their locks it cannot be known which ids are still to come: streams are refused'
  if (engine === null) add('error', `${table} is a view`, why)
  else add('error', `the engine of ${table} is ${engine}, not InnoDB`, why, `ALTER TABLE ${table} ENGINE = InnoDB`)
}

function checkTriggers(names: EventColumns, triggers: Rows, add: AddProblem): void {
  for (const [, trigger, statement] of triggers) {
    const assigned = Object.values(names).filter((column) =>
      new RegExp(`\\bnew\\s*\\.\\s*\`?${column}\`?\\s*:?=`, 'i').test(statement ?? ''),
    )
    if (assigned.length === 0) continue
    const setsId = assigned.includes(names.id)
    add(
      setsId ? 'error' : 'warning',
      `the trigger ${trigger} sets ${assigned.join(', ')} of the rows that are inserted`,
      setsId
        ? 'ids that AUTO_INCREMENT does not give may be lower than those that were read already, and are never read'
        : 'what is read is not what was inserted',
      `DROP TRIGGER ${quote(String(trigger))}`,
    )
  }
}

function checkForeignKeys(table: string, keys: Rows, add: AddProblem): void {
  for (const [, constraint, parent, onDelete, onUpdate] of keys) {
    const deletes = onDelete === 'CASCADE'
    if (!deletes && [onDelete, onUpdate].every((rule) => rule === 'RESTRICT' || rule === 'NO ACTION')) continue
    add(
      deletes ? 'error' : 'warning',
      `the foreign key ${constraint} ${deletes ? 'deletes' : 'changes'} rows of ${table} with those of ${parent}`,
      deletes
        ? 'events are gone before they are read, and so are the rows that cursors stand on'
        : 'what is read is not what was inserted',
      `ALTER TABLE ${table} DROP FOREIGN KEY ${quote(String(constraint))}`,
    )
  }
}

/** The message of the server if the account may not run `sql`. */
async function whyDenied(connection: OwnConnection, sql: string): Promise<string | undefined> {
  try {
    await connection.rows(sql)
    return undefined
  } catch (error) {
    if (isDenied(error)) return (error as Error).message
    throw error
  }
}

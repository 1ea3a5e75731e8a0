import { checkNeededColumns } from './check-needed-columns.ts'
import { checkOptionalColumns } from './check-optional-columns.ts'
import { type AddProblem, type CheckedColumn, declared, type Modify } from './checked-column.ts'
import { COLUMN_TYPES } from './create-event-table.ts'
import type { EventColumns } from './event-columns.ts'

/** What `checkColumns` looks at. */
export interface CheckedColumns {
  /** Quoted. */
  readonly table: string
  readonly names: EventColumns
  readonly columns: readonly CheckedColumn[]
  /** The id that is given next, if that is known. */
  readonly next: bigint | undefined
}

/** Checks the columns of an event table. */
export function checkColumns({ table, names, columns, next }: CheckedColumns, add: AddProblem): void {
  const by = (role: keyof EventColumns): CheckedColumn | undefined =>
    columns.find(({ name }) => name.toLowerCase() === names[role].toLowerCase())
  const modify: Modify = ({ name }, type) => `ALTER TABLE ${table} MODIFY \`${name}\` ${type}`

  for (const role of ['id', 'foreignId', 'timestamp', 'type'] as const) {
    if (by(role) !== undefined) continue
    const key = role === 'id' ? ' primary key' : ''
    add(
      'error',
      `${table} has no column ${names[role]} for the ${role}; if it has another name, say so with the option columns`,
      'streams are refused',
      `ALTER TABLE ${table} ADD COLUMN \`${names[role]}\` ${COLUMN_TYPES[role]}${key}`,
    )
  }
  // A computed one is declared in another way, and that it is computed is enough to say of it.
  const given = (role: keyof EventColumns): CheckedColumn | undefined => (by(role)?.generated ? undefined : by(role))
  const [id, foreignId, timestamp, type] = [given('id'), given('foreignId'), given('timestamp'), given('type')]
  checkNeededColumns({ id, foreignId, timestamp, type, next }, add, modify)
  checkOptionalColumns({ metadata: given('metadata'), headers: given('headers'), trace: given('trace') }, add, modify)

  const ours = new Set(Object.values(names).map((name) => name.toLowerCase()))
  for (const column of columns) {
    const { name, nullable, hasDefault, generated, extra } = column
    if (ours.has(name.toLowerCase())) {
      if (generated) add('error', `${name} is computed from other columns`, 'events cannot be inserted')
    } else if (!nullable && !hasDefault && !generated && !extra.includes('auto_increment')) {
      const why = 'events can only be inserted by statements of your own'
      add(
        'error',
        `${name} must be given, and is no column of an event`,
        why,
        modify(column, `${declared(column)} null`),
      )
    }
  }
}

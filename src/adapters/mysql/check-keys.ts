import type { AddProblem } from './checked-column.ts'

/** What `checkKeys` looks at. */
export interface CheckedKeys {
  /** Quoted. */
  readonly table: string
  /** The name of the column of the id. */
  readonly id: string
  /** Table, index, column and whether it is not unique, by index and by the order of its columns. */
  readonly indexes: readonly (readonly (string | null)[])[]
  readonly isPartitioned: boolean
}

/** Checks that rows are found, and lie, by their ids. */
export function checkKeys({ table, id, indexes, isPartitioned }: CheckedKeys, add: AddProblem): void {
  const keys = Map.groupBy(indexes, ([, index]) => index)
  const isId = (column: string | null | undefined): boolean => column?.toLowerCase() === id.toLowerCase()
  const primary = (keys.get('PRIMARY') ?? []).map(([, , column]) => column)
  if (primary.length === 1 && isId(primary[0])) return
  const mend = `ALTER TABLE ${table} ${primary.length > 0 ? 'DROP PRIMARY KEY, ' : ''}ADD PRIMARY KEY (\`${id}\`)`
  if (![...keys.values()].some(([first]) => isId(first?.[2]))) {
    add('error', `no index of ${table} begins with ${id}`, 'each page that is read sorts the whole table', mend)
    return
  }
  const isUnique = [...keys.values()].some((key) => key.length === 1 && isId(key[0]?.[2]) && Number(key[0]?.[3]) === 0)
  add(
    'warning',
    `the primary key of ${table} is ${primary.length === 0 ? 'missing' : `(${primary.join(', ')})`}, not (${id}) alone`,
    isUnique
      ? 'rows do not lie in the order in which they are read, and each is looked up on its own'
      : 'an id that is inserted by hand may be there twice, and one of the two is passed over',
    // That of a partitioned table has to have the columns by which it is partitioned.
    ...(isPartitioned ? [] : [mend]),
  )
}

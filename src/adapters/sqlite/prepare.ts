import type { DatabaseSync, StatementSync } from 'node:sqlite'

/** A statement whose rows look the same whatever options the handle was opened with: objects, with numbers, unless asked for otherwise. */
export function prepare(
  database: DatabaseSync,
  sql: string,
  { arrays = false, bigInts = false }: { readonly arrays?: boolean; readonly bigInts?: boolean } = {},
): StatementSync {
  const statement = database.prepare(sql)
  statement.setReturnArrays(arrays)
  statement.setReadBigInts(bigInts)
  return statement
}

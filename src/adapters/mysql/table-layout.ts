import { type EventColumns, isTraceType } from './event-columns.ts'
import { isDenied } from './mysql-error.ts'
import type { PooledQuery } from './pooled-query.ts'

/** What `insert` has to know of a table. */
export interface TableLayout {
  readonly foreignId: 'integer' | 'text' | 'padded text'
  /** In characters, of a foreign id; undefined if the type has no length of its own. */
  readonly foreignIdLength: number | undefined
  /** Undefined if there is no such column. */
  readonly metadata: 'bytes' | 'text' | undefined
  readonly headers: boolean
  readonly trace: boolean
}

/** What createTable() makes. */
const USUAL: TableLayout = {
  foreignId: 'text',
  foreignIdLength: 255,
  metadata: 'bytes',
  headers: true,
  trace: false,
}

/**
 * Looks at the table that is inserted into, on the caller's connection. By SHOW CREATE TABLE: other than a query of
 * information_schema it does not begin the snapshot of the caller's transaction, and it needs no more than INSERT. An account
 * that may insert into some columns only is taken to know what createTable() makes.
 */
export async function tableLayout(run: PooledQuery, into: string, names: EventColumns): Promise<TableLayout> {
  let statement: string
  try {
    const rows = (await run(`show create table ${into}`, [])) as (string | Uint8Array)[][]
    statement = String(rows[0]?.[1]) // bytes in a session whose character set is binary
  } catch (error) {
    if (isDenied(error)) return USUAL
    throw error
  }
  const columns = new Map<string, { type: string; length: string | undefined }>()
  for (const [, column = '', type = '', length] of statement.matchAll(/^\s+[`"]?(\w+)[`"]? (\w+)(?:\((\d+)\))?/gm)) {
    columns.set(column.toLowerCase(), { type: type.toLowerCase(), length })
  }
  const typeOf = (column: string): string | undefined => columns.get(column.toLowerCase())?.type
  const foreignId = typeOf(names.foreignId) ?? ''
  const isText = /char/.test(foreignId)
  const metadata = typeOf(names.metadata)
  return {
    foreignId: /int$/.test(foreignId) ? 'integer' : foreignId === 'char' ? 'padded text' : 'text',
    foreignIdLength: isText ? Number(columns.get(names.foreignId.toLowerCase())?.length) : undefined,
    metadata: metadata === undefined ? undefined : /text|char|json/.test(metadata) ? 'text' : 'bytes',
    headers: typeOf(names.headers) !== undefined,
    trace: isTraceType(typeOf(names.trace) ?? ''),
  }
}

import type { DatabaseSync, SQLInputValue, SQLOutputValue, StatementSync } from 'node:sqlite'
import { DecodeError } from '../../core/errors.ts'
import type { TableRow } from '../../sql/table-reader.ts'
import { toEvent } from './event-table.ts'
import { prepare } from './prepare.ts'

/** Payloads of a page up to this, in bytes, share one buffer, which lives as long as any of them. */
const SHARED_BYTES = 1024 * 1024
/** The columns of a page: here first the payload's length stands, then the payload. */
const PAYLOAD = 5
const FOREIGN_ID = 1
/** The foreign id as JSON, where it would be cut. */
const WHOLE = 6

/** Reads the first `limit` rows with `id >= from`, or fewer, but two at least, where the payloads exceed `maxBytes`; up to one after `from` that is no event. */
export type ReadPage = (from: bigint, limit: number, maxBytes: number) => TableRow[]

/**
 * Prepares the reading of pages. A payload that is read by itself costs as much as all else of a short row, so short ones
 * are read as one and cut up: that is faster, and less work for the garbage collector. `alone` says that nobody else writes
 * through this handle meanwhile nor through another one, so that two statements see the same rows without a transaction.
 */
export function preparePage(
  name: string,
  database: DatabaseSync,
  table: string,
  { alone }: { readonly alone: boolean },
): ReadPage {
  const query = (sql: string): StatementSync =>
    prepare(database, sql.replace('@page', `from ${table} where id >= ? order by id limit ?`), { arrays: true })
  const all = (statement: StatementSync, ...values: SQLInputValue[]): SQLOutputValue[][] =>
    statement.all(...values) as unknown as SQLOutputValue[][]

  const whole = cutsText(database) ? ', iif(instr(foreign_id, char(0)), json_quote(foreign_id), null)' : ''
  const rows = query(`select cast(id as text), foreign_id, timestamp, type, headers, length(metadata)${whole} @page`)
  const single = query('select metadata @page')
  const joined = mayJoin(database, table)
    ? query("select cast(group_concat(metadata, '') as blob) from (select metadata @page)")
    : undefined

  const read = (from: bigint, limit: number, maxBytes: number): TableRow[] => {
    const page = all(rows, from, limit)
    let bytes = 0
    let count = 0
    for (const row of page) {
      const length = (row[PAYLOAD] ?? 0) as number
      if (count >= 2 && bytes + length > maxBytes) break
      bytes += length
      count++
    }
    page.length = count
    if (whole !== '') {
      for (const row of page) if (typeof row[WHOLE] === 'string') row[FOREIGN_ID] = JSON.parse(row[WHOLE])
    }
    if (joined === undefined || bytes > SHARED_BYTES) {
      for (const [i, [metadata]] of all(single, from, count).entries()) page[i]?.splice(PAYLOAD, 1, metadata ?? null)
    } else {
      const shared = all(joined, from, count)[0]?.[0] as Uint8Array<ArrayBuffer>
      let start = 0
      for (const row of page) {
        if (row[PAYLOAD] === null) continue
        const end = start + (row[PAYLOAD] as number)
        row[PAYLOAD] = shared.subarray(start, end)
        start = end
      }
    }
    return decodeRows(name, page, from)
  }
  if (alone) return read
  return (from, limit, maxBytes) => {
    database.exec('begin')
    try {
      return read(from, limit, maxBytes)
    } finally {
      if (database.isTransaction) database.exec('commit')
    }
  }
}

function decodeRows(name: string, page: readonly SQLOutputValue[][], from: bigint): TableRow[] {
  const rows: TableRow[] = []
  for (const row of page) {
    try {
      rows.push(toEvent(name, row))
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error
      rows.push({ id: error.position, error })
      if (error.position !== String(from)) break
    }
  }
  return rows
}

/** Node 22 reads a text only up to its first NUL character. */
function cutsText(database: DatabaseSync): boolean {
  return prepare(database, "select 'a' || char(0) as text").get()?.['text'] === 'a'
}

/** Joining is for bytes only, and goes through text: in UTF-16 it would change them. */
function mayJoin(database: DatabaseSync, table: string): boolean {
  const listed = prepare(database, 'select strict from pragma_table_list where name = ? collate nocase').get(table)
  return listed?.['strict'] === 1 && prepare(database, 'pragma encoding').get()?.['encoding'] === 'UTF-8'
}

import { DatabaseSync } from 'node:sqlite'
import { type NewEvent, ReflexError } from 'reflex-bridge'

/** The application whose table it is. */
export interface Shop {
  readonly database: DatabaseSync
  /** Writes rows, and returns what `seq` they got. */
  write(events: readonly NewEvent[]): string[]
}

/** The kinds of rows that it writes, and what an event of each is. */
export const kinds = { created: 1, paid: 2, shipped: 3 } as const

/** The statement that creates its table. */
export const TABLE =
  'create table audit_log (seq integer primary key autoincrement, at text, kind text, entity text, body blob)'

/** Makes a database with an empty table. */
export function openShop(path: string): Shop {
  const database = new DatabaseSync(path)
  database.exec(`pragma journal_mode = wal; pragma synchronous = off; ${TABLE}`)
  const insert = database.prepare('insert into audit_log (at, kind, entity, body) values (?, ?, ?, ?)')
  return {
    database,
    write: (events) => {
      const rows = events.map(toRow)
      return rows.map((row) => String(insert.run(...row).lastInsertRowid))
    },
  }
}

/** An event as a row; refuses what would come back as another one. */
function toRow({ type, foreignId, timestamp = Date.now(), metadata = null, headers = {} }: NewEvent) {
  const kind = Object.entries(kinds).find(([, each]) => each === type)?.[0]
  if (kind === undefined || !Number.isInteger(timestamp) || Object.keys(headers).length > 0)
    throw new ReflexError('EVENT_UNENCODABLE', 'a row has one of three kinds, a time in ms, and no headers')
  return [new Date(timestamp).toISOString(), kind, foreignId, metadata] as const
}

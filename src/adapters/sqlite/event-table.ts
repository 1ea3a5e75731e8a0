import type { DatabaseSync, SQLOutputValue } from 'node:sqlite'
import { DecodeError, OptionError, ReflexError } from '../../core/errors.ts'
import type { Event, NewEvent } from '../../core/event.ts'
import { parseHeaders } from '../../sql/headers-text.ts'
import { prepare } from './prepare.ts'

/** The statement that creates an event table. AUTOINCREMENT, so that no id is ever given twice. */
export function createEventTable(table: string): string {
  return `create table if not exists ${table} (
  id integer primary key autoincrement,
  foreign_id text not null,
  timestamp real not null, -- epoch in ms, the fraction being µs
  type integer not null check (type between -2147483648 and 2147483647),
  headers text, -- a JSON object; null if there are none
  metadata blob -- last, so that the rest of a row is read without it
) strict`
}

/** Refuses a table that is missing, or that may give an id twice. */
export function checkEventTable(name: string, database: DatabaseSync, table: string): void {
  const statement = prepare(database, "select sql from sqlite_master where type = 'table' and name = ? collate nocase")
  const found = statement.get(table)
  if (found === undefined) {
    throw new ReflexError(
      'TABLE_MISSING',
      `${name}: there is no table ${table} in this database: create it with createTable()`,
      {
        retriable: false,
      },
    )
  }
  if (!/\bautoincrement\b/i.test(String(found['sql']))) {
    throw new OptionError(
      `${name}: the id of table ${table} must be "integer primary key autoincrement", or SQLite gives the id of a deleted row again: create the table with createTable()`,
    )
  }
}

/** The event in a row: id as text, foreign_id, timestamp, type, headers, metadata. Throws `DecodeError` on a row that is none. */
export function toEvent(name: string, row: readonly SQLOutputValue[]): Event {
  const [id, foreignId, timestamp, type, headers, metadata] = row
  try {
    if (
      typeof foreignId === 'string' &&
      typeof timestamp === 'number' &&
      typeof type === 'number' &&
      type === (type | 0) &&
      typeof metadata === 'object'
    ) {
      return { id: id as string, type, foreignId, timestamp, metadata, headers: parseHeaders(headers as string | null) }
    }
    const found = [foreignId, timestamp, type, metadata].map((value) => (value === null ? 'null' : typeof value))
    throw new TypeError(
      `expected foreign_id text, timestamp real, type a 32-bit integer and metadata a blob or null, but found ${found.join(', ')}`,
    )
  } catch (cause) {
    throw new DecodeError(name, { position: String(id), cause })
  }
}

const EARLIEST = -62_167_219_200_000
const LATEST = 253_402_300_800_000

/** Inserts events; `headers` is their JSON or null. Returns the id that the row got. */
export type InsertRow = (event: NewEvent, headers: string | null) => bigint

/** Prepares the insert into an event table once for all events. */
export function prepareInsert(database: DatabaseSync, table: string): InsertRow {
  const sql = `insert into ${table} (foreign_id, timestamp, type, metadata, headers) values (?, ?, ?, ?, ?)`
  const statement = prepare(database, sql, { bigInts: true })
  return ({ foreignId, timestamp = Date.now(), type, metadata = null }, headers) =>
    statement.run(foreignId, timestamp, type, metadata, headers).lastInsertRowid as bigint
}

/** Throws `EVENT_UNENCODABLE` on an event that would come back as another one. */
export function checkEvent(name: string, event: NewEvent & { readonly id?: string }): void {
  const { id, foreignId, timestamp = 0, type, headers } = event
  const refuse = (problem: string): never => {
    throw new ReflexError('EVENT_UNENCODABLE', `${name}: ${problem}`, { kind: 'poison', eventId: id })
  }
  if (type !== (type | 0)) refuse(`the type of an event must be a 32-bit integer, but is ${type}`)
  if (typeof foreignId !== 'string' || !foreignId.isWellFormed())
    refuse(`a foreignId must be well-formed Unicode, but is ${JSON.stringify(foreignId)}`)
  if (!(timestamp >= EARLIEST && timestamp < LATEST))
    refuse(`a timestamp must be epoch milliseconds in the years 0 to 9999, but is ${timestamp}`)
  for (const header in headers) {
    for (const value of [header, headers[header]].flat()) {
      if (typeof value !== 'string' || !value.isWellFormed())
        refuse(
          `names and values of headers must be well-formed Unicode, but ${JSON.stringify(header)} has ${JSON.stringify(value)}`,
        )
    }
  }
}

import type { DatabaseSync, SQLOutputValue } from 'node:sqlite'
import { messageOf, ReflexError } from '../../core/errors.ts'
import type { Event } from '../../core/event.ts'
import { checkTableName } from '../../sql/table-stream.ts'
import { connect, locate } from './connect.ts'
import { explainSqlite } from './explain-sqlite.ts'
import { prepare } from './prepare.ts'

/** How the statuses are stored. */
const RESOLVED = { open: 0, resolved: 1, failing: 2 } as const

/** An event that a consumer, or a route, has gone past, unless it is `failing`. */
export interface SqliteDeadLetter {
  readonly id: string
  readonly consumer: string
  readonly eventId: string
  readonly event: Event
  /** Of the last error. */
  readonly message: string
  /** How often it was recorded. */
  readonly attempts: number
  /** Epoch in ms. */
  readonly createdAt: number
}

/** Dead letters in a SQLite database. */
export interface SqliteDeadLetters {
  /**
   * Counts a failed attempt at an event that `consumer` goes on trying, and keeps the event as `failing`, not open: `deadLetter`
   * of `reflex-bridge/patterns` does. One that was resolved begins anew.
   */
  attempt(
    consumer: string,
    error: unknown,
    event: Event,
    options?: { readonly signal?: AbortSignal },
  ): Promise<Pick<SqliteDeadLetter, 'id' | 'eventId' | 'attempts' | 'createdAt'>>
  /** Records an event, all of it; again for the same one: counts an attempt, and opens it again if it was resolved. */
  record(consumer: string, error: unknown, event: Event, options?: { readonly signal?: AbortSignal }): Promise<void>
  /** A page of letters, in the order in which they were recorded: those after the letter `after`, `limit` (100) at most. */
  list(options: {
    readonly consumer: string
    /** Default: `open`. */
    readonly status?: keyof typeof RESOLVED | undefined
    readonly after?: string | undefined
    readonly limit?: number | undefined
    readonly signal?: AbortSignal | undefined
  }): Promise<SqliteDeadLetter[]>
  /** Marks a letter as resolved. Throws `DEAD_LETTER_MISSING` if there is none of this id. */
  resolve(id: string): Promise<void>
  /** Creates the table if it is missing. */
  createTable(): void
}

/** Keeps dead letters in a table of `database` (default: `dead_letters`), through this handle, between the application's transactions on it. */
export function sqliteDeadLetters(
  database: DatabaseSync,
  { table = 'dead_letters' }: { readonly table?: string } = {},
): SqliteDeadLetters {
  checkTableName(table)
  const name = `sqlite:${table}`
  const { use } = connect(name, locate(name, database), { share: true })

  const insert = (consumer: string, error: unknown, event: Event, as: 'open' | 'failing'): FailingRow => {
    const { id, metadata, ...rest } = event
    // What is failing and given up was counted when it failed; what was resolved and fails begins anew.
    const sql = `insert into ${table} (consumer, event_id, message, event, metadata, created_at, resolved) values (?, ?, ?, ?, ?, ?, ?)
      on conflict (consumer, event_id) do update set message = excluded.message,
        attempts = ${as === 'open' ? 'attempts + (resolved <> 2)' : 'case resolved when 1 then 1 else attempts + 1 end'},
        created_at = ${as === 'open' ? 'created_at' : 'case resolved when 1 then excluded.created_at else created_at end'},
        resolved = ${as === 'open' ? '0' : 'case resolved when 0 then 0 else 2 end'}
      returning id, event_id, attempts, created_at`
    // As JSON text that is not well-formed is escaped.
    const values = [consumer, id, messageOf(error).toWellFormed(), JSON.stringify(rest)]
    return prepare(database, sql).get(...values, metadata, Date.now(), RESOLVED[as]) as unknown as FailingRow
  }

  return {
    attempt: (consumer, error, event, { signal } = {}) =>
      use(
        () => {
          const { id, event_id, attempts, created_at } = insert(consumer, error, event, 'failing')
          return { id: String(id), eventId: event_id, attempts, createdAt: created_at }
        },
        { signal },
      ),
    record: (consumer, error, event, { signal } = {}) =>
      use(() => void insert(consumer, error, event, 'open'), { signal }),
    list: ({ consumer, status = 'open', after = '0', limit = 100, signal }) =>
      use(
        () => {
          // With the + it goes by the id: by the index of consumers each page would be sorted out of all letters.
          const sql = `select * from ${table} where +consumer = ? and resolved = ? and id > ? order by id limit ?`
          return prepare(database, sql).all(consumer, RESOLVED[status], Number(after), limit).map(toLetter)
        },
        { signal },
      ),
    resolve: (id) =>
      use(() => {
        const resolve = prepare(database, `update ${table} set resolved = 1 where id = ?`)
        if (/^\d{1,15}$/.test(id) && Number(resolve.run(Number(id)).changes) === 1) return
        throw new ReflexError('DEAD_LETTER_MISSING', `${name}: there is no dead letter ${JSON.stringify(id)}`, {
          retriable: false,
        })
      }),
    createTable: () => {
      try {
        database.exec(`create table if not exists ${table} (
  id integer primary key,
  consumer text not null, -- or the route
  event_id text not null,
  message text not null, -- of the last error
  attempts integer not null default 1,
  resolved integer not null default 0, -- 1 if it is given up, 2 while it is failing
  event text not null, -- JSON: type, foreignId, timestamp, headers
  metadata blob,
  created_at integer not null, -- epoch in ms
  unique (consumer, event_id)
) strict`)
      } catch (error) {
        throw explainSqlite(error, name)
      }
    },
  }
}

interface FailingRow {
  readonly id: number
  readonly event_id: string
  readonly attempts: number
  readonly created_at: number
}

/** The letter in a row. */
export function toLetter(row: Record<string, SQLOutputValue>): SqliteDeadLetter {
  const { id, consumer, event_id, message, attempts, event, metadata, created_at } = row
  const eventId = event_id as string
  const rest = JSON.parse(event as string) as Omit<Event, 'id' | 'metadata'>
  return {
    ...{ id: String(id), consumer: consumer as string, eventId, message: message as string },
    ...{ attempts: attempts as number, createdAt: created_at as number },
    event: { id: eventId, ...rest, metadata: metadata as Uint8Array | null },
  }
}

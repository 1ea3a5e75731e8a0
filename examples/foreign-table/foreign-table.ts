import { DatabaseSync } from 'node:sqlite'
import type { Batch, Cursor, Event, Source, StreamFunc } from 'reflex-bridge'
import {
  CursorAheadError,
  CursorInvalidError,
  CursorTrimmedError,
  checkStreamOptions,
  DecodeError,
  eventStream,
  systemClock,
} from 'reflex-bridge'

/** Options of `auditLog`. */
export interface AuditLogOptions {
  /** The kinds that rows may have, and the type that an event of each has. */
  readonly kinds: Readonly<Record<string, number>>
  /** How many rows are read at once. Default: 500. */
  readonly pageSize?: number
  /** How long to wait at the head before looking again. In ms, default 100. */
  readonly pollMs?: number
}

/**
 * A source over a table that somebody else's application writes, in SQLite:
 * `audit_log (seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT, kind TEXT, entity TEXT, body BLOB)`.
 *
 * A cursor is the `seq` of a row. Every read begins with that row and expects it there, or else that the next one is there:
 * otherwise rows between the two may have been deleted unread. SQLite has one writer at a time, so rows appear in the order of
 * `seq`. With several (MySQL, PostgreSQL) a lower one may be committed late, and this would lose it.
 * The file is open only while it is read.
 */
export function auditLog(path: string, { kinds, pageSize = 500, pollMs = 100 }: AuditLogOptions): Source {
  const name = `audit_log:${path}`
  const typeOf = new Map(Object.entries(kinds))

  /** What a query finds, and the highest `seq` ever given, which SQLite keeps when that row is gone; in one snapshot. */
  function select(sql: string, ...parameters: (string | number)[]): { rows: Row[]; head: Cursor } {
    const database = new DatabaseSync(path, { readOnly: true, timeout: 1000 })
    try {
      database.exec('begin')
      const [newest] = database.prepare(HEAD).all() as unknown as Row[]
      return { rows: database.prepare(sql).all(...parameters) as unknown as Row[], head: newest?.id ?? '0' }
    } finally {
      database.close()
    }
  }

  function parse(cursor: Cursor): bigint {
    if (/^(0|[1-9]\d{0,17})?$/.test(cursor)) return BigInt(cursor)
    throw new CursorInvalidError(name, { cursor, expected: 'the seq of a row' })
  }

  /** Rows after `cursor`; throws if some of them may be gone. */
  function rowsAfter(cursor: Cursor, limit: number): { rows: Row[]; head: Cursor } {
    const position = parse(cursor)
    const { rows, head } = select(ROWS, cursor, limit + 1)
    if (position > BigInt(head)) throw new CursorAheadError(name, { cursor, reason: 'beyond', found: head })
    const earliest = rows[0]?.id
    if (earliest === cursor) rows.shift()
    else if (cursor !== '' && cursor !== head && earliest !== String(position + 1n))
      throw new CursorTrimmedError(name, { cursor, ...(earliest === undefined ? {} : { earliest }) })
    return { rows, head }
  }

  const stream: StreamFunc = async (after, options) => {
    checkStreamOptions(name, after, options)
    const { signal, toHead, fromHead, types } = options
    signal?.throwIfAborted()
    const { head } = rowsAfter(after, 0) // the proof of the cursor
    const end = toHead ? BigInt(head) : Number.POSITIVE_INFINITY
    const closed = new AbortController()

    async function* batches(): AsyncGenerator<Batch> {
      let cursor = fromHead ? head : after
      if (fromHead) yield { events: [], cursor }
      while (BigInt(cursor) < end) {
        const { rows, head: newest } = rowsAfter(cursor, pageSize)
        if (toHead && BigInt(newest) < end)
          throw new CursorAheadError(name, { cursor: head, reason: 'beyond', found: newest })
        const events = eventsOf(rows.filter(({ id }) => BigInt(id) <= end))
        const last = events.at(-1)
        if (last !== undefined) {
          cursor = last.id
          yield { events: events.filter(({ type }) => types?.includes(type) ?? true), cursor }
        } else if (toHead)
          return // what was left has been deleted
        else await systemClock.sleep(pollMs, closed.signal)
      }
    }
    return eventStream(batches(), () => closed.abort(), { signal })
  }

  /** The events up to the first row that is none; throws if that is the first. */
  function eventsOf(rows: readonly Row[]): Event[] {
    const events: Event[] = []
    for (const { id, at, kind, entity: foreignId, body: metadata } of rows) {
      try {
        const type = typeOf.get(kind)
        if (type === undefined) throw new TypeError(`expected one of the kinds ${Object.keys(kinds)}, found ${kind}`)
        const timestamp = Date.parse(at)
        if (new Date(timestamp).toISOString() !== at) throw new TypeError(`expected ISO 8601 in UTC, found ${at}`)
        if (typeof foreignId !== 'string' || typeof metadata !== 'object')
          throw new TypeError('expected a TEXT and a BLOB')
        events.push({ id, type, foreignId, timestamp, metadata, headers: {} })
      } catch (cause) {
        if (events.length > 0) break
        throw new DecodeError(name, { position: id, cause })
      }
    }
    return events
  }

  return {
    name,
    stream,
    head: async ({ signal } = {}) => {
      signal?.throwIfAborted()
      return select(HEAD).head
    },
    backlog: async (after, { signal } = {}) => {
      signal?.throwIfAborted()
      rowsAfter(after, 0)
      return { count: BigInt(select(COUNT, after).rows[0]?.id ?? 0), unit: 'events' }
    },
    at: async (timestamp, { signal } = {}) => {
      signal?.throwIfAborted()
      const { rows, head } = select(BEFORE, new Date(timestamp).toISOString())
      return rows[0]?.id ?? head
    },
    compare: (a, b) => Number(parse(a) - parse(b)),
  }
}

const HEAD = "select cast(seq as text) as id from sqlite_sequence where name = 'audit_log'"
const BEFORE = 'select cast(min(seq) - 1 as text) as id from audit_log where at >= ?'
const COUNT = 'select cast(count(*) as text) as id from audit_log where seq > cast(? as integer)'
const ROWS = `select cast(seq as text) as id, at, kind, entity, body
  from audit_log where seq >= cast(? as integer) order by seq limit ?`

/** A row as it should be. */
interface Row {
  readonly id: string
  readonly at: string
  readonly kind: string
  readonly entity: string
  readonly body: Uint8Array | null
}

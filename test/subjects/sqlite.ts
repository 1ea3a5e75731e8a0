import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { openSqlite, sqliteCursors, sqliteEvents, sqliteSink } from '../../src/adapters/sqlite/index.ts'
import type { Event } from '../../src/core/event.ts'
import { wireNames } from '../../src/core/wire.ts'
import { parseTableCursor } from '../../src/sql/table-stream.ts'
import type { CursorStoreSubject } from '../../src/testing/cursors/cursor-store-subject.ts'
import type { SinkSubject } from '../../src/testing/sink/sink-subject.ts'
import type { SourceSubject } from '../../src/testing/source/source-subject.ts'
import type { AdapterSubjects } from './adapter-subjects.ts'

/** Tables of SQLite, in files and in memory. */
export async function sqliteSubjects(): Promise<AdapterSubjects> {
  const places = Object.entries({ file: inFile, memory: inMemory })
  const each = <T>(make: (place: Place) => Promise<T>, what: string): Record<string, () => Promise<T>> =>
    Object.fromEntries(places.map(([where, place]) => [`${what} in ${where}`, () => make(place())]))
  return {
    sources: each(source, 'sqliteEvents'),
    sinks: each(sink, 'sqliteSink'),
    stores: each(store, 'sqliteCursors'),
    [Symbol.asyncDispose]: async () => {},
  }
}

/** A database and how it is opened once more, as another process would. */
interface Place {
  readonly database: DatabaseSync
  another(): DatabaseSync
  /** Those of adapters; nothing where the system does not tell. */
  readonly members: { connections?(): Promise<number> }
  end(): Promise<void>
}

function inFile(): Place {
  const { file, remove } = temporaryFile()
  const opened = [openSqlite(file)]
  return {
    database: opened[0] as DatabaseSync,
    another: () => {
      const another = openSqlite(file)
      opened.push(another)
      return another
    },
    members: process.platform === 'linux' ? { connections: async () => sqliteConnections(file) - opened.length } : {},
    end: async () => {
      for (const each of opened) each.close()
      remove()
    },
  }
}

function inMemory(): Place {
  const database = openSqlite(':memory:')
  return { database, another: () => database, members: {}, end: async () => database.close() }
}

/** The path of a file in a new folder, which goes with all that is in it. */
export function temporaryFile(): { readonly file: string; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'reflex-bridge-sqlite-'))
  return { file: join(folder, 'test.db'), remove: () => rmSync(folder, { recursive: true, force: true }) }
}

/** How many connections of this process are open on `file`, where the system tells (Linux). */
export function sqliteConnections(file: string): number {
  // Each has its own descriptor of the write-ahead log. Those of the database itself SQLite keeps for the next connection.
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === `${file}-wal`
    } catch {
      return false // the descriptor of the listing itself
    }
  }).length
}

async function source({ database, members, end }: Place): Promise<SourceSubject> {
  const events = sqliteEvents(database, { batchSize: 3 })
  events.createTable()
  const run = (sql: string, ...values: (string | bigint)[]): void => void database.prepare(sql).run(...values)
  return {
    source: events.source,
    append: async (all) => {
      if (all.length === 0) return []
      database.exec('begin immediate')
      try {
        const { ids } = events.insert(database, ...all)
        database.exec('commit')
        events.wake()
        return ids
      } finally {
        if (database.isTransaction) database.exec('rollback')
      }
    },
    trim: async (id) => run('delete from events where id < ?', BigInt(id)),
    remove: async (id) => run('delete from events where id = ?', BigInt(id)),
    recreate: async () => {
      database.exec('drop table events')
      events.createTable()
    },
    rewind: async (id) => {
      run('delete from events where id > ?', BigInt(id))
      run("update sqlite_sequence set seq = ? where name = 'events'", BigInt(id))
    },
    corrupt: async () => {
      run("insert into events (foreign_id, timestamp, type, headers) values ('x', 0, 1, '[]')")
      events.wake()
    },
    malformed: ['x', '-1', '1.5', '1-0', '1 ', '01', '9'.repeat(30), '@1'],
    ...members,
    [Symbol.asyncDispose]: end,
  }
}

async function sink({ database, another, members, end }: Place): Promise<SinkSubject> {
  const made = sqliteSink(database)
  made.createTable()
  const { source: written } = sqliteEvents(database)
  const read = async (): Promise<Event[]> => {
    const events: Event[] = []
    await using stream = await written.stream('', { toHead: true })
    for await (const batch of stream) events.push(...batch.events)
    return events
  }
  return {
    sink: () => sqliteSink(another()),
    read,
    loseTail: async (count) => {
      // As in an older copy: the rows, what the route says, and the counter of ids go together.
      const last = (await read()).at(-count - 1)
      const cursor = (last?.headers[wireNames.sourceId] ?? '') as string
      const mark = parseTableCursor('test', last?.id ?? '')
      database.prepare('delete from events where id > ?').run(mark)
      database.prepare('update routes set cursor = ?, mark = ?').run(cursor, mark)
      database.prepare('update sqlite_sequence set seq = ?').run(mark)
    },
    wipe: async () => {
      database.exec('drop table events; drop table routes')
      made.createTable()
    },
    refuse: async () => {
      database.exec("create trigger refuse before insert on events begin select raise(abort, 'quota'); end")
      database.exec("create trigger refuse_cursor before update on routes begin select raise(abort, 'quota'); end")
      return () => database.exec('drop trigger refuse; drop trigger refuse_cursor')
    },
    ...members,
    [Symbol.asyncDispose]: end,
  }
}

async function store({ database, another, end }: Place): Promise<CursorStoreSubject> {
  const cursors = sqliteCursors(database)
  cursors.createTable()
  return { cursors, another: () => sqliteCursors(another()), [Symbol.asyncDispose]: end }
}

import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { openSqlite, sqliteCursors, sqliteEvents, sqliteSink } from '../../src/adapters/sqlite/index.ts'
import { parseTableCursor } from '../../src/sql/table-stream.ts'
import { cursorStoreSuite } from '../suites/cursor-store.ts'
import { reader } from '../suites/reader.ts'
import { sinkSuite } from '../suites/sink.ts'
import { sourceSuite } from '../suites/source.ts'
import { newFolder, openConnections } from './folder.ts'

const malformed = ['x', '-1', '1.5', '1-0', '1 ', '01', '9'.repeat(30), '@1']

/** A database and how a second one of the same data is opened. */
interface Place {
  readonly database: DatabaseSync
  readonly file: string | undefined
  another(): DatabaseSync
  end(): void
}

function inFile(): Place {
  const folder = newFolder()
  const file = join(folder.path, 'test.db')
  const opened = [openSqlite(file)]
  const another = (): DatabaseSync => {
    opened.push(openSqlite(file))
    return opened.at(-1) as DatabaseSync
  }
  const end = (): void => {
    for (const each of opened) each.close()
    folder.remove()
  }
  return { database: opened[0] as DatabaseSync, file, another, end }
}

function inMemory(): Place {
  const database = openSqlite(':memory:')
  return { database, file: undefined, another: () => database, end: () => database.close() }
}

for (const [where, place] of Object.entries({ file: inFile, memory: inMemory })) {
  sourceSuite(`sqlite ${where}`, async ({ batchSize }) => {
    const { database, file, end } = place()
    const events = sqliteEvents(database, batchSize === undefined ? {} : { batchSize })
    events.createTable()
    const run = (sql: string, ...values: (string | bigint)[]): void => void database.prepare(sql).run(...values)
    return {
      source: events.source,
      append: async (all) => {
        if (all.length === 0) return []
        database.exec('begin immediate')
        const ids = events.insert(database, ...all)
        database.exec('commit')
        events.wake()
        return ids
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
      ...(file === undefined || openConnections(file) === undefined
        ? {}
        : { sockets: async () => openConnections(file) as number }),
      malformed,
      [Symbol.asyncDispose]: async () => end(),
    }
  })

  cursorStoreSuite(`sqlite ${where}`, async () => {
    const { database, another, end } = place()
    const cursors = sqliteCursors(database)
    cursors.createTable()
    return { cursors, another: async () => sqliteCursors(another()), [Symbol.asyncDispose]: async () => end() }
  })

  sinkSuite(`sqlite ${where}`, async () => {
    const { database, another, end } = place()
    const sink = sqliteSink(database)
    sink.createTable()
    const { source } = sqliteEvents(database)
    const read = async () => {
      await using all = reader(await source.stream('', { toHead: true }))
      return await all.rest()
    }
    return {
      sink,
      another: async () => sqliteSink(another()),
      read,
      loseTail: async (count) => {
        // As in an older copy: the rows, what the route says, and the counter of ids go together.
        const left = (await read()).slice(0, -count)
        const last = left.at(-1)
        const cursor = (last?.headers['reflex-source-id'] ?? '') as string
        const mark = parseTableCursor('test', last?.id ?? '')
        database.prepare('delete from events where id > ?').run(mark)
        database.prepare('update routes set cursor = ?, mark = ?').run(cursor, mark)
        database.prepare('update sqlite_sequence set seq = ?').run(mark)
      },
      wipe: async () => {
        database.exec('drop table events; drop table routes')
        sink.createTable()
      },
      refuse: async () => {
        database.exec("create trigger refuse before insert on events begin select raise(abort, 'quota'); end")
        database.exec("create trigger refuse_cursor before update on routes begin select raise(abort, 'quota'); end")
        return { [Symbol.asyncDispose]: async () => database.exec('drop trigger refuse; drop trigger refuse_cursor') }
      },
      [Symbol.asyncDispose]: async () => end(),
    }
  })
}

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Event, memoryCursors, run } from 'reflex-bridge'
import { openSqlite, sqliteEvents, sqliteSink } from 'reflex-bridge/sqlite'
import { COUNT, sampleEvents } from '../events.ts'
import { compare, type Result, rate } from '../measure.ts'

const PAGE = 1000

/** SQLite: source and run against a bare paging loop, the sink against bare inserts in transactions of as many rows. */
export async function sqliteCases(): Promise<Result[]> {
  const folder = mkdtempSync(join(tmpdir(), 'reflex-bridge-bench-'))
  using stack = new DisposableStack()
  stack.defer(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'events.db')
  const database = openSqlite(path)
  stack.defer(() => database.close())
  const table = sqliteEvents(path)
  table.createTable()
  table.insert(database, ...sampleEvents())
  const events: Event[] = sampleEvents().map((event, i) => ({
    timestamp: 0,
    metadata: null,
    headers: {},
    ...event,
    id: String(i + 1),
  }))

  const bare = database.prepare(
    'select id, foreign_id, timestamp, type, metadata, headers from events where id > ? order by id limit ?',
  )
  const source = await compare({
    case: 'SQLite source + run',
    unit: 'events/s',
    referenceName: 'bare paging loop (node:sqlite)',
    ours: () =>
      rate(COUNT, () =>
        run(
          { stream: table.source.stream, cursors: memoryCursors(), consumer: { name: 'bench', handle: () => {} } },
          { toHead: true },
        ),
      ),
    reference: () =>
      rate(COUNT, async () => {
        for (let after: unknown = 0; ; ) {
          const rows = bare.all(after as number, PAGE)
          if (rows.length < PAGE) return
          after = rows.at(-1)?.['id']
        }
      }),
  })

  let fresh = 0
  const log = (): ReturnType<typeof openSqlite> => {
    const destination = openSqlite(join(folder, `log-${++fresh}.db`))
    stack.defer(() => destination.close())
    sqliteSink(destination).createTable()
    return destination
  }
  const sink = await compare({
    case: 'SQLite sink',
    unit: 'events/s',
    referenceName: 'bare inserts in transactions of 1,000 (node:sqlite)',
    ours: async () => {
      await using writer = await sqliteSink(log()).open({ route: 'bench', source: 'bench' })
      return await rate(COUNT, async () => {
        for (let i = 0; i < COUNT; i += PAGE) {
          const batch = events.slice(i, i + PAGE)
          await writer.append(batch, batch.at(-1)?.id ?? '')
        }
      })
    },
    reference: async () => {
      const destination = log()
      const insert = destination.prepare(
        'insert into events (foreign_id, timestamp, type, metadata, headers) values (?, ?, ?, ?, ?)',
      )
      return rate(COUNT, async () => {
        for (let i = 0; i < COUNT; i += PAGE) {
          destination.exec('begin immediate')
          for (const { id, foreignId, timestamp, type, metadata } of events.slice(i, i + PAGE)) {
            insert.run(foreignId, timestamp, type, metadata, `{"reflex-source":"bench","reflex-source-id":"${id}"}`)
          }
          destination.exec('commit')
        }
      })
    },
  })
  return [source, sink]
}

// A process that uses all of the adapter on a file, closes what has a close, and then has nothing more to do.
import { openSqlite, sqliteCursors, sqliteEvents, sqliteSink } from '../../src/adapters/sqlite/index.ts'
import { bridge } from '../../src/bridge/bridge.ts'
import { run } from '../../src/core/run.ts'

const database = openSqlite(process.argv[2] ?? '')
const events = sqliteEvents(database)
const cursors = sqliteCursors(database)
const copy = sqliteSink(database, { table: 'copied' })
for (const each of [events, cursors, copy]) each.createTable()
events.insert(database, { type: 1, foreignId: 'a' }, { type: 1, foreignId: 'b' })
await bridge({ name: 'copy', source: events.source, sink: copy, checkpoints: cursors }, { toHead: true })
const { source } = sqliteEvents(database, { table: 'copied' })
let handled = 0
const controller = new AbortController()
const handle = (): void => {
  if (++handled === 2) controller.abort()
}
const { reason } = await run(
  { stream: source.stream, cursors, consumer: { name: 'c', handle } },
  { signal: controller.signal },
)
process.stdout.write(`${reason} ${handled}\n`)

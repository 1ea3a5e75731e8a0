// A process that forwards from `events` to `log` in a SQLite file until it is killed, with dead letters; the transform throws at events
// with the header `poison`. Argument: the file. Sends the cursor of each checkpoint.
import {
  openSqlite,
  sqliteCursors,
  sqliteDeadLetters,
  sqliteEvents,
  sqliteSink,
} from '../../src/adapters/sqlite/index.ts'
import { bridge } from '../../src/bridge/bridge.ts'
import { type Event, supervise } from '../../src/core/index.ts'

process.on('disconnect', () => process.exit(1))
const database = openSqlite(process.argv[2] ?? '')
const spec = {
  name: 'route',
  source: sqliteEvents(database, { batchSize: 9 }).source,
  sink: sqliteSink(database, { table: 'log' }),
  checkpoints: sqliteCursors(database),
  deadLetters: sqliteDeadLetters(database),
  transform: (event: Event) => {
    if (event.headers['poison'] !== undefined) throw new Error('poison')
    return event
  },
}
await supervise((o) => bridge(spec, o), {
  observer: { saved: (cursor) => void process.send?.(cursor) },
  minDelayMs: 10,
  maxDelayMs: 100,
})

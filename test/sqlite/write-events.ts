// A process that writes events in transactions of its own. Arguments: file, name, how many to commit.
// Foreign ids are `<name>-<n>`, n from 1 without a hole in what was committed; each is printed once it is committed.
import { setImmediate } from 'node:timers/promises'
import { openSqlite, sqliteEvents } from '../../src/adapters/sqlite/index.ts'

const [file = '', name = '', count = '0'] = process.argv.slice(2)
const database = openSqlite(file)
const events = sqliteEvents(database)
events.createTable()

let committed = 0
while (committed < Number(count)) {
  const size = Math.min(1 + Math.floor(Math.random() * 4), Number(count) - committed)
  const rollback = Math.random() < 0.3
  const body = Array.from({ length: size }, (_, i) => ({
    type: 1,
    foreignId: rollback ? 'rolled back' : `${name}-${committed + i + 1}`,
    metadata: Buffer.from(name),
  }))
  database.exec('begin immediate')
  for (const each of body) {
    events.insert(database, each)
    if (Math.random() < 0.1) await setImmediate()
  }
  database.exec(rollback ? 'rollback' : 'commit')
  if (!rollback) committed += size
  if (!rollback) process.stdout.write(`${committed}\n`)
  await setImmediate() // what was printed goes out, and another writer gets its turn
}
database.close()

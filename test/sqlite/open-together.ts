// A process that opens new files at times that others use as well. Arguments: folder, time of the first (epoch in ms), how many.
// Prints how many it has opened.
import { join } from 'node:path'
import { openSqlite, sqliteEvents } from '../../src/adapters/sqlite/index.ts'

const [folder = '', startAt = '', count = '0'] = process.argv.slice(2)
let opened = 0
while (opened < Number(count)) {
  while (Date.now() < Number(startAt) + opened * 8) {} // no timer is as exact
  const database = openSqlite(join(folder, `${opened}.db`))
  const events = sqliteEvents(database)
  events.createTable()
  events.insert(database, { type: 1, foreignId: 'a' })
  database.close()
  opened++
}
process.stdout.write(`${opened}\n`)

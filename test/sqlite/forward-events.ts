// A process that bridges the table `events` of one file into the table `events` of another. Arguments: source file, target file,
// and the number of the checkpoint before whose save the process kills itself (0: never). Prints the cursor of each append, and the code of its failure.
import { openSqlite, sqliteCursors, sqliteEvents, sqliteSink } from '../../src/adapters/sqlite/index.ts'
import { bridge } from '../../src/bridge/bridge.ts'
import { codeOf } from '../../src/core/errors.ts'

const [from = '', to = '', killAt = '0'] = process.argv.slice(2)
const database = openSqlite(from)
const cursors = sqliteCursors(database)
let saves = 0
const checkpoints: typeof cursors = {
  ...cursors,
  set: async (...save) => {
    if (++saves === Number(killAt)) process.kill(process.pid, 'SIGKILL')
    await cursors.set(...save)
  },
}
try {
  await bridge(
    {
      name: 'copy',
      source: sqliteEvents(database, { batchSize: 20 }).source,
      sink: sqliteSink(openSqlite(to)),
      checkpoints,
    },
    { observer: { progress: ({ cursor }) => process.stdout.write(`${cursor}\n`) } },
  )
} catch (error) {
  process.stdout.write(`${codeOf(error)}\n`)
}

// A process with a consumer whose effects are rows, until it is killed. Arguments: the URL of the database, and whether it ends
// at the head. Prints a line for each event that is handled, and for each save.
import { createPool } from 'mysql2/promise'
import { mysqlEvents, mysqlOptions, mysqlTransactions } from '../../src/adapters/mysql/index.ts'
import { run } from '../../src/core/run.ts'
import { supervise } from '../../src/core/supervise.ts'
import { writeEffect } from './write-effect.ts'

const [uri = '', until = ''] = process.argv.slice(2)
const pool = createPool({ ...mysqlOptions, uri })
const spec = mysqlTransactions(
  pool,
  {
    stream: mysqlEvents(pool, { batchSize: 20 }).source.stream,
    consumer: {
      name: 'counter',
      handle: async (event, { connection }) => {
        await writeEffect(connection, event)
        process.stdout.write('handled\n')
      },
    },
  },
  { maxEvents: 5 },
)
const observer = { saved: () => void process.stdout.write('saved\n') }
await supervise((o) => run(spec, { ...o, toHead: until === 'head' }), { observer, minDelayMs: 10, maxDelayMs: 100 })
await pool.end()

import { mysqlCursors, mysqlEvents } from '../../src/adapters/mysql/index.ts'
import { startServer } from '../../src/testing/servers/index.ts'
import { cursorStoreSuite } from '../suites/cursor-store.ts'
import { type CreateSource, type ServerFaults, sourceSuite } from '../suites/source.ts'
import { type Database, newDatabase } from './database.ts'

const malformed = ['x', '-1', '1.5', '1-0', '1 ', '01', '9'.repeat(30), '@1']

async function fixture(database: Database, { batchSize }: Parameters<CreateSource>[0]): ReturnType<CreateSource> {
  const pollMs = { min: 250, max: 250 } // long: a reader at the head is woken, and finds a fault when it is asked about
  const events = mysqlEvents(database.pool, { pollMs, ...(batchSize === undefined ? {} : { batchSize }) })
  await events.createTable()
  return {
    source: events.source,
    append: async (all) => {
      await using connection = await database.pool.getConnection()
      await connection.beginTransaction()
      const ids = await events.insert(connection, ...all)
      await connection.commit()
      events.wake()
      return ids
    },
    trim: async (id) => void (await database.sql('delete from events where id < ?', [id])),
    remove: async (id) => void (await database.sql('delete from events where id = ?', [id])),
    recreate: async () => {
      await database.sql('drop table events')
      await events.createTable()
    },
    rewind: async (id) => {
      await database.sql('delete from events where id > ?', [id])
      await database.sql(`alter table events auto_increment = ${BigInt(id) + 1n}`)
    },
    sockets: database.connections,
    malformed,
    [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
  }
}

sourceSuite('mysql', async (options) => fixture(await newDatabase(), options), {
  withServer: async (options) => {
    const server = await startServer('mysql', { from: ['docker', 'native'] })
    const faults = server.process as ServerFaults
    const made = await fixture(await newDatabase(server), options)
    let killed: Promise<void> | undefined
    return {
      ...made,
      server: {
        freeze: () => faults.freeze(),
        thaw: () => faults.thaw(),
        // Does not wait for the end of the process: the stream may notice it before.
        kill: async () => {
          killed = faults.kill()
        },
        start: async () => {
          await killed
          await faults.start()
        },
      },
      [Symbol.asyncDispose]: async () => {
        await made[Symbol.asyncDispose]()
        await server[Symbol.asyncDispose]()
      },
    }
  },
})

cursorStoreSuite('mysql', async () => {
  const database = await newDatabase()
  const cursors = mysqlCursors(database.pool)
  await cursors.createTable()
  return {
    cursors,
    another: async () => mysqlCursors(database.poolOf({})),
    [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
  }
})

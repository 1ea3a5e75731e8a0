import { connect } from '@nats-io/transport-node'
import { createPool } from 'mysql2/promise'
import { expect, inject, onTestFinished, test } from 'vitest'
import { jetstreamCursors, jetstreamFailFast } from '../../src/adapters/jetstream/index.ts'
import { mysqlCursors, mysqlOptions } from '../../src/adapters/mysql/index.ts'
import { redisCursors } from '../../src/adapters/redis/index.ts'
import { bridge } from '../../src/bridge/bridge.ts'
import { type CursorStore, memoryLog } from '../../src/core/index.ts'
import { type Address, type TcpProxy, tcpProxy } from '../../src/testing/servers/index.ts'
import { simulatedDestination } from '../../src/testing/simulation/simulated-destination.ts'
import { fresh } from '../cli/logs.ts'
import { testDatabase } from '../mysql/database.ts'
import { adapterClient } from '../redis/fixture.ts'

/** Stores that are reached by a proxy. */
const stores: Record<string, { server(): Address; open(at: TcpProxy): Promise<CursorStore> }> = {
  mysql: {
    server: () => inject('servers').mysql,
    open: async ({ host, port }) => {
      const { name } = await testDatabase()
      const pool = createPool({ ...mysqlOptions, host, port, user: 'root', database: name })
      onTestFinished(() => pool.end())
      const cursors = mysqlCursors(pool)
      await cursors.createTable()
      return cursors
    },
  },
  redis: {
    server: () => inject('servers').redis,
    open: async ({ host, port }) => redisCursors(adapterClient(`redis://${host}:${port}`), { prefix: fresh('c') }),
  },
  nats: {
    server: () => inject('servers').nats,
    open: async ({ host, port }) => {
      const servers = `${host}:${port}`
      const cursors = jetstreamCursors({
        connect: () => connect({ servers, ...jetstreamFailFast }),
        bucket: fresh('c'),
      })
      await cursors.createBucket()
      return cursors
    },
  },
}

// What was appended is saved after an abort as well, so that call takes no signal: it is the store that bounds it (rule 3).
test('a bridge that is told to stop waits for a store that is frozen no longer than 5 s, wherever that is', async () => {
  await Promise.all(
    Object.values(stores).map(async ({ server, open }) => {
      const proxy = await tcpProxy(server())
      onTestFinished(() => proxy[Symbol.asyncDispose]())
      const cursors = await open(proxy)
      const log = memoryLog()
      log.append({ type: 1, foreignId: 'a' })
      const stopped = new AbortController()
      let abortedAt = 0
      const checkpoints: CursorStore = {
        ...cursors,
        set: (...args) => {
          proxy.stall()
          const setting = cursors.set(...args)
          abortedAt = performance.now()
          stopped.abort(new Error('stopped'))
          return setting
        },
      }
      const spec = {
        name: 'r',
        source: log.source,
        sink: simulatedDestination({ keeps: 'events' }).sink(),
        checkpoints,
      }
      const ended = await bridge(spec, { signal: stopped.signal })
      expect(performance.now() - abortedAt).toBeLessThan(5500)
      expect(ended).toMatchObject({ reason: 'aborted', error: expect.objectContaining({ retriable: true }) })
      proxy.restore()
      await cursors.get('r') // whether it has arrived is known again
    }),
  )
}, 20_000)

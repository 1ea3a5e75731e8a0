import { Redis } from 'ioredis'
import { inject } from 'vitest'
import { redisCursors } from '../../src/adapters/redis/index.ts'
import { cursorStoreSuite } from '../suites/cursor-store.ts'
import { sinkSuite } from '../suites/sink.ts'
import { sourceSuite } from '../suites/source.ts'
import { adapterClient, fresh, ownServer, sinkFixture, sourceFixture } from './fixture.ts'

sourceSuite('redisStream', (options) => sourceFixture(options), {
  withServer: async (options) => sourceFixture(options, await ownServer()),
})

sinkSuite('redisSink', () => sinkFixture())
sinkSuite('redisSink with the ids of the source', () => sinkFixture({ ids: 'source' }))

cursorStoreSuite('redisCursors', async () => {
  const prefix = `${fresh('cursors')}:`
  return {
    cursors: redisCursors(adapterClient(), { prefix }),
    another: async () => redisCursors(adapterClient(), { prefix }),
    [Symbol.asyncDispose]: async () => {
      const admin = new Redis(inject('servers').redis.url)
      await admin.del(`${prefix}cursors`)
      admin.disconnect()
    },
  }
})

import { Redis } from 'ioredis'
import { wireNames } from 'reflex-bridge'
import { redisFailFast, redisSink, redisStream } from 'reflex-bridge/redis'
import type { Destination } from '../destination.ts'

/** A Redis stream. The bare client appends a page and the cursor in one transaction. */
export const redisDestination: Destination = {
  server: 'redis',
  title: 'Redis',
  referenceName: 'bare select, MULTI of XADDs and the cursor',
  open: async (url) => {
    const redis = new Redis(url, { ...redisFailFast })
    return {
      sink: (log) => redisSink(redis, { key: log }),
      source: (log) => redisStream(redis, { key: log }),
      config: (log) => ({ url, key: log }),
      publisher: async (log) => async (page) => {
        const commands = redis.multi()
        for (const { id, foreign_id, type, timestamp, metadata } of page) {
          commands.xadd(
            log,
            '*',
            ...[wireNames.source, 'bench', wireNames.sourceId, id, wireNames.type, type],
            ...[wireNames.foreignId, foreign_id, wireNames.timestamp, timestamp, 'metadata', metadata ?? ''],
          )
        }
        commands.set(`${log}:cursor`, page.at(-1)?.id ?? '')
        for (const [error] of (await commands.exec()) ?? []) if (error) throw error
      },
      [Symbol.asyncDispose]: async () => redis.disconnect(),
    }
  },
}

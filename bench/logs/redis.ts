import { Redis } from 'ioredis'
import { redisFailFast, redisSink, redisStream } from 'reflex-bridge/redis'
import type { LogKind } from '../log-kind.ts'

/** Keys with a stream each. */
export const redisLogs: LogKind = {
  server: 'redis',
  title: 'Redis',
  plural: 'keys',
  hasSink: true,
  bareName: 'bare XRANGE (ioredis)',
  open: async (url, via) => {
    const admin = new Redis(url, { ...redisFailFast, commandTimeout: 60_000 })
    const to = via === undefined ? url : `redis://${via.host}:${via.port}`
    const client = new Redis(to, { ...redisFailFast })
    return {
      create: async () => {}, // the first entry makes it
      remove: async (name, count = 1) => {
        for (let i = 0; i < count; i++) await admin.unlink(`${name}-${i}`, `reflex:{${name}-${i}}:bench`)
      },
      source: (name, i = 0) => redisStream(client, { key: `${name}-${i}` }),
      sink: (name) => redisSink(client, { key: `${name}-0` }),
      write: async (name, i = 0) => {
        await admin.xadd(`${name}-${i}`, '*', 'a', 'b')
      },
      bareRead: async (name) => {
        const own = new Redis(to, { ...redisFailFast })
        await own.xrangeBuffer(`${name}-0`, '-', '+', 'COUNT', 1)
        const ended = new Promise((resolve) => own.once('end', resolve))
        own.disconnect()
        await ended
      },
      [Symbol.asyncDispose]: async () => admin.disconnect(),
    }
  },
}

import { redisFailFast, redisStream } from '../../../adapters/redis/index.ts'
import { wireNames } from '../../../core/index.ts'
import { importClient } from '../../../service/config/import-client.ts'
import type { Broker } from '../broker.ts'
import type { AuditEntry } from '../stage.ts'

const PAGE = 5000
/** The demo needs two cores for itself: what it only looks through and removes may take longer than a bridge's command. */
const PATIENT = { ...redisFailFast, commandTimeout: 60_000 }

/** A Redis stream. */
export const redisBroker: Broker = {
  name: 'redis',
  server: 'redis',
  variable: 'REDIS_URL',
  title: 'Redis',
  open: async ({ url }, { run, stack }) => {
    const { Redis } = await importClient('ioredis', () => import('ioredis'))
    stack.defer(async () => {
      const redis = new Redis(url, PATIENT)
      const keys = await redis.keys(`*${run}*`)
      if (keys.length > 0) await redis.del(...keys)
      redis.disconnect()
    })

    async function* entries(): AsyncGenerator<AuditEntry> {
      const redis = new Redis(url, PATIENT)
      try {
        for (let from = '-'; ; ) {
          const page = await redis.xrange(run, from, '+', 'COUNT', PAGE)
          for (const [, fields] of page) {
            const field = (name: string): string => fields[fields.indexOf(name) + 1] ?? ''
            yield { sourceId: field(wireNames.sourceId), orderId: field(wireNames.foreignId) }
          }
          if (page.length < PAGE) return
          from = `(${page.at(-1)?.[0]}`
        }
      } finally {
        redis.disconnect()
      }
    }
    return { sink: { url, key: run }, source: redisStream(new Redis(url, { ...redisFailFast }), { key: run }), entries }
  },
}

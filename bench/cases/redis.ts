import { Redis } from 'ioredis'
import { type Event, type EventStream, memoryCursors, run, wireNames } from 'reflex-bridge'
import { redisFailFast, redisSink, redisStream } from 'reflex-bridge/redis'
import { startServer } from 'reflex-bridge/testing'
import { COUNT, sampleEvents } from '../events.ts'
import { latency } from '../latency.ts'
import { compare, type Result, rate } from '../measure.ts'

const PAGE = 1000

/** Redis: source and run against a bare XRANGE loop, the sink against bare pipelines, and the latency against a bare XREAD BLOCK. */
export async function redisCases(): Promise<Result[]> {
  await using server = await startServer('redis')
  const redis = new Redis(server.url, { ...redisFailFast })
  using _ = { [Symbol.dispose]: () => redis.disconnect() }
  const events: Event[] = sampleEvents().map((event, i) => ({
    timestamp: 0,
    metadata: null,
    headers: {},
    ...event,
    id: String(i + 1),
  }))

  const append = async (key: string): Promise<void> => {
    await redis.del(key, `reflex:{${key}}:bench`)
    await using writer = await redisSink(redis, { key }).open({ route: 'bench', source: 'bench' })
    for (let i = 0; i < COUNT; i += PAGE) {
      const batch = events.slice(i, i + PAGE)
      await writer.append(batch, batch.at(-1)?.id ?? '')
    }
  }
  const pipeline = async (key: string): Promise<void> => {
    await redis.del(key)
    for (let i = 0; i < COUNT; i += PAGE) {
      const commands = redis.pipeline()
      for (const { id, foreignId, metadata } of events.slice(i, i + PAGE)) {
        commands.xadd(
          key,
          '*',
          wireNames.source,
          'bench',
          wireNames.sourceId,
          id,
          wireNames.type,
          1,
          wireNames.foreignId,
          foreignId,
          'metadata',
          metadata as Buffer,
        )
      }
      await commands.exec()
    }
  }

  await append('bench-source')
  const sourceCase = await compare({
    case: 'Redis source + run',
    unit: 'events/s',
    referenceName: 'bare XRANGE loop (ioredis)',
    ours: () => {
      const { stream } = redisStream(redis, { key: 'bench-source' })
      return rate(COUNT, () =>
        run({ stream, cursors: memoryCursors(), consumer: { name: 'bench', handle: () => {} } }, { toHead: true }),
      )
    },
    reference: () =>
      rate(COUNT, async () => {
        for (let from = '-'; ; ) {
          const page = await redis.xrangeBuffer('bench-source', from, '+', 'COUNT', PAGE)
          if (page.length < PAGE) return
          from = `(${page.at(-1)?.[0].toString()}`
        }
      }),
  })
  const sinkCase = await compare({
    case: 'Redis sink',
    unit: 'events/s',
    referenceName: 'bare pipelined XADD (ioredis)',
    ours: () => rate(COUNT, () => append('bench-ours')),
    reference: () => rate(COUNT, () => pipeline('bench-bare')),
  })

  const reader = redis.duplicate()
  using __ = { [Symbol.dispose]: () => reader.disconnect() }
  const add = async (key: string): Promise<void> => {
    await redis.xadd(key, '*', 'a', 'b')
  }
  const latencyCases = await latency('Redis XADD → handler', {
    referenceName: 'bare XREAD BLOCK (ioredis)',
    write: add,
    open: (key): Promise<EventStream> => redisStream(redis, { key }).stream('', {}),
    bare: async (key, onEvent, signal) => {
      for (let after = '0-0'; !signal.aborted; ) {
        const found = await reader.xread('COUNT', PAGE, 'BLOCK', 200, 'STREAMS', key, after)
        for (const [id] of found?.[0]?.[1] ?? []) {
          after = id
          onEvent()
        }
      }
    },
  })
  return [sourceCase, sinkCase, ...latencyCases]
}

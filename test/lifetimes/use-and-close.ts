import { Redis } from 'ioredis'
import { jetstreamCursors, jetstreamSink, jetstreamSource } from '../../src/adapters/jetstream/index.ts'
import { kafkaPartition, kafkaSink } from '../../src/adapters/kafka/index.ts'
import { redisCursors, redisFailFast, redisSink, redisStream } from '../../src/adapters/redis/index.ts'
import type { CursorStore } from '../../src/core/cursor.ts'
import type { Sink } from '../../src/core/sink.ts'
import type { Source } from '../../src/core/stream.ts'
import { natsClients } from '../subjects/jetstream.ts'
import { kafkaAdapterClient } from '../subjects/kafka.ts'

/** All that an adapter has. */
interface Adapter {
  readonly source: Source
  readonly sink: Sink
  readonly store?: CursorStore
}

/** The adapters of a log `log` on the server at `url`, by name. */
const adapters: Readonly<Record<string, (url: string, log: string) => Adapter>> = {
  kafka: (url, topic) => {
    const kafka = kafkaAdapterClient(url)
    return { source: kafkaPartition(kafka, { topic, partition: 0 }), sink: kafkaSink(kafka, { topic }) }
  },
  redis: (url, key) => {
    const redis = new Redis(url, { ...redisFailFast })
    return { source: redisStream(redis, { key }), sink: redisSink(redis, { key }), store: redisCursors(redis) }
  },
  ...Object.fromEntries(
    Object.entries(natsClients).map(([name, connector]) => [
      name,
      (url: string, stream: string): Adapter => {
        const connect = connector(url)
        const store = jetstreamCursors({ connect, bucket: stream })
        return {
          source: jetstreamSource({ connect, stream }),
          sink: jetstreamSink({ connect, stream, subject: stream }),
          store,
        }
      },
    ]),
  ),
}

/** The names of the adapters that `useAndClose` knows. */
export const adapterNames: readonly string[] = Object.keys(adapters)

/** As a program of its own: uses everything of an adapter once, says so, and does not end the process. */
export async function useAndClose(name: string, url: string, log: string): Promise<void> {
  const { source, sink, store } = (adapters[name] as (typeof adapters)[string])(url, log)
  const event = { id: '1', type: 1, foreignId: 'a', timestamp: Date.now(), metadata: null, headers: {} }
  {
    await using writer = await sink.open({ route: 'route', source: 'source' })
    await writer.append([event], '1')
  }
  {
    await using stream = await source.stream('', {})
    const iterator = stream[Symbol.asyncIterator]()
    await iterator.next()
    void iterator.next() // pending at the head
    await source.head?.()
    await source.backlog?.('')
    await source.at?.(Date.now())
    await store?.get('a')
    await store?.set('a', '1', '')
  }
  console.log('closed')
}

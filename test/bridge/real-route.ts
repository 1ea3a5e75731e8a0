import { connect as connectNats } from '@nats-io/transport-node'
import { Redis } from 'ioredis'
import { createPool } from 'mysql2/promise'
import { jetstreamFailFast, jetstreamSink } from '../../src/adapters/jetstream/index.ts'
import { kafkaSink } from '../../src/adapters/kafka/index.ts'
import { mysqlCursors, mysqlEvents, mysqlOptions } from '../../src/adapters/mysql/index.ts'
import { redisFailFast, redisSink } from '../../src/adapters/redis/index.ts'
import { openSqlite, sqliteCursors, sqliteEvents, sqliteSink } from '../../src/adapters/sqlite/index.ts'
import type { BridgeSpec } from '../../src/bridge/bridge.ts'
import { disposeStack, type Event } from '../../src/core/index.ts'
import type { Address } from '../../src/testing/servers/index.ts'
import { kafkaAdapterClient } from '../subjects/kafka.ts'

/** Where a log is, as it is told to another process. */
export type SourceAt =
  | { readonly kind: 'mysql'; readonly uri: string }
  | { readonly kind: 'sqlite'; readonly file: string }

/** Where a destination is. */
export type SinkAt =
  | { readonly kind: 'jetstream'; readonly servers: string; readonly stream: string; readonly subject: string }
  | { readonly kind: 'kafka'; readonly brokers: string; readonly topics: readonly string[]; readonly via?: Address }
  | { readonly kind: 'redis'; readonly url: string; readonly key: string }
  | { readonly kind: 'sqlite'; readonly file: string }

/** A route that can be opened by any process; its checkpoint is beside the source. */
export interface RouteAt {
  /** Of the route, and of its source. */
  readonly name: string
  readonly source: SourceAt
  readonly sink: SinkAt
}

/** An open route. */
export interface RealRoute extends AsyncDisposable {
  readonly spec: BridgeSpec
}

/** Opens a route with connections of its own. Small batches make many moments at which it can be hit. */
export function openRoute({ name, source, sink }: RouteAt): RealRoute {
  const opened = disposeStack()

  const openSource = (): Pick<BridgeSpec, 'source' | 'checkpoints'> => {
    switch (source.kind) {
      case 'mysql': {
        const pool = createPool({ ...mysqlOptions, uri: source.uri, connectionLimit: 4 })
        opened.defer(() => pool.end())
        return { source: mysqlEvents(pool, { name, batchSize: 20 }).source, checkpoints: mysqlCursors(pool) }
      }
      case 'sqlite': {
        const database = openSqlite(source.file)
        opened.defer(() => database.close())
        return { source: sqliteEvents(database, { name, batchSize: 20 }).source, checkpoints: sqliteCursors(database) }
      }
    }
  }
  const openSink = (): Pick<BridgeSpec, 'sink'> => {
    switch (sink.kind) {
      case 'jetstream': {
        const { servers, stream, subject } = sink
        return {
          sink: jetstreamSink({
            connect: () => connectNats({ servers, ...jetstreamFailFast }),
            ...{ stream, subject: `${subject}.{type}.of-{foreignId}` },
          }),
        }
      }
      case 'kafka': {
        const { brokers, topics, via } = sink
        const topic = {
          name: `all of ${topics[0]}`,
          of: ({ id }: Event) => topics[Number(id) % topics.length] as string,
        }
        return { sink: kafkaSink(kafkaAdapterClient(brokers, via), { topic, topics }) }
      }
      case 'redis':
        return { sink: redisSink(new Redis(sink.url, { ...redisFailFast }), { key: sink.key }) }
      case 'sqlite': {
        const database = openSqlite(sink.file)
        opened.defer(() => database.close())
        return { sink: sqliteSink(database) }
      }
    }
  }
  return {
    spec: { name, ...openSource(), ...openSink() },
    [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
  }
}

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { connect as connectNats } from '@nats-io/transport-node'
import { Redis } from 'ioredis'
import { jetstreamFailFast, jetstreamSource, type NatsConnection } from '../../src/adapters/jetstream/index.ts'
import { openSqlite, sqliteEvents, sqliteSink } from '../../src/adapters/sqlite/index.ts'
import { type Event, type Source, wireNames } from '../../src/core/index.ts'
import { type Address, type Server, startServer } from '../../src/testing/servers/index.ts'
import { cutLog } from '../kafka/cut-log.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { committedEvents, kafkaAdapterClient, kafkaTestClient } from '../subjects/kafka.ts'
import { natsAdmin } from '../subjects/nats-admin.ts'
import { eventsIn } from '../subjects/redis.ts'
import { temporaryFile } from '../subjects/sqlite.ts'
import { eventually } from '../tools/reader.ts'
import type { Line } from './origins.ts'
import type { SinkAt } from './real-route.ts'

/** A server whose process is under our control. */
export type OwnServer = Server & Required<Pick<Server, 'process'>>

/** A log of its own on a server, that several routes may go into. */
export interface Destination extends AsyncDisposable {
  /** Where a route goes, as it is reached at `address`, which may be a proxy's. */
  at(route: string, address?: Address): SinkAt
  /** What the route `route` has appended. */
  lines(route: string): Promise<Line[]>
  /** Somebody else writes there. */
  writeForeign(): Promise<void>
  /** The server loses some of what it has confirmed. */
  loseTail(): Promise<void>
}

/** A broker that routes go to. */
export interface Broker {
  start(): Promise<OwnServer>
  /** As `start`, but so that `loseTail` can be staged. */
  startForgetful(): Promise<OwnServer>
  /** It may lose what it has confirmed when it is killed, however it is started (docs/traps.md, kafka 10). */
  readonly loses?: true
  make(server: OwnServer): Promise<Destination>
}

const own = async (starting: Promise<Server>): Promise<OwnServer> => (await starting) as OwnServer

/** The brokers. Each is one entry. */
export const brokers: Readonly<Record<string, Broker>> = {
  jetstream: {
    start: () => own(startServer('nats', { from: ['docker', 'native'] })),
    startForgetful: () => own(startServer('nats', { from: ['docker', 'native'] })),
    make: async (server) => {
      const stream = fresh('out')
      const admin = await natsAdmin(server.url)
      await admin.createStream(stream, { allow_atomic: true })
      let backup = await admin.backUp(stream)
      return {
        at: (route, { host, port } = server) => ({
          kind: 'jetstream',
          servers: `${host}:${port}`,
          stream,
          subject: `${stream}.${route}`,
        }),
        lines: async (route) => {
          const connect = (): Promise<NatsConnection> => connectNats({ servers: server.url, ...jetstreamFailFast })
          return linesOf(jetstreamSource({ connect, stream, subjects: [`${stream}.${route}.>`] }))
        },
        writeForeign: async () => void (await admin.publish(`${stream}.foreign`)),
        loseTail: async () => {
          await admin.restore(stream, backup)
          backup = await admin.backUp(stream)
        },
        [Symbol.asyncDispose]: () => admin[Symbol.asyncDispose](),
      }
    },
  },
  kafka: {
    start: () => own(startServer('kafka', { from: ['docker', 'native'] })),
    startForgetful: () => own(startServer('kafka', { from: ['native'] })), // its files are cut
    loses: true,
    make: async (server) => {
      const topics = [fresh('out'), fresh('out')]
      const kafka = kafkaTestClient(server.url)
      const [admin, producer] = [kafka.admin(), kafka.producer({ allowAutoTopicCreation: false })]
      await Promise.all([admin.connect(), producer.connect()])
      const created = topics.map((topic) => ({ topic, numPartitions: PARTITIONS }))
      await admin.createTopics({ topics: created, waitForLeaders: false })
      const isThere = (): Promise<boolean> =>
        admin.fetchTopicMetadata({ topics }).then(
          () => true,
          () => false,
        )
      await eventually(isThere, 20_000, 'the leaders')
      const folder = await logFolder(admin)
      return {
        at: (_, via) => ({
          kind: 'kafka',
          brokers: server.url,
          topics,
          ...(via && { via: { host: via.host, port: via.port } }),
        }),
        // Each partition is in order: together they are in the order of the source, in which they are held against it.
        lines: async (route) => {
          const client = kafkaAdapterClient(server.url)
          const partitions = topics.flatMap((topic) =>
            Array.from({ length: PARTITIONS }, (_, i) => committedEvents(client, topic, i)),
          )
          return inSourceOrder((await Promise.all(partitions)).map((events) => events.filter(isOf(route)).map(lineOf)))
        },
        writeForeign: async () =>
          void (await producer.send({ topic: topics[0] as string, messages: [{ value: 'of others' }] })),
        loseTail: async () => {
          await server.process.kill()
          for (const topic of topics)
            for (let i = 0; i < PARTITIONS; i++) {
              const file = join(folder, `${topic}-${i}`, '00000000000000000000.log')
              if (existsSync(file)) await cutLog(file, 0.5 + Math.random() / 2) // a broker that is soon killed has not made all of them
            }
          await server.process.start()
        },
        [Symbol.asyncDispose]: async () => {
          await admin.deleteTopics({ topics }).catch(() => {}) // the server may be gone
          await Promise.all([admin.disconnect(), producer.disconnect()])
        },
      }
    },
  },
  redis: {
    start: () => own(startServer('redis', { from: ['docker', 'native'], args: ['--appendfsync', 'always'] })), // else it may lose some
    startForgetful: () => own(startServer('redis', { from: ['docker', 'native'], redis: { appendonly: false } })),
    make: async (server) => {
      const key = fresh('out')
      const client = new Redis(server.url, { lazyConnect: true })
      client.on('error', () => {}) // while the server is down
      return {
        at: (_, { host, port } = server) => ({ kind: 'redis', url: `redis://${host}:${port}`, key }),
        lines: async (route) => (await eventsIn(client, key)).filter(isOf(route)).map(lineOf),
        writeForeign: async () => void (await client.xadd(key, '*', 'by', 'others')),
        loseTail: async () => {
          await server.process.kill()
          await server.process.start()
          await client.save() // of what it has until then, more than nothing is there after the next time
        },
        [Symbol.asyncDispose]: async () => client.disconnect(),
      }
    },
  },
}
const PARTITIONS = 3

/** A table of its own in a file, with the sink of SQLite; one route goes there. */
export function sqliteDestination(): Pick<Destination, 'at' | 'lines' | keyof AsyncDisposable> {
  const { file, remove } = temporaryFile()
  const database = openSqlite(file)
  sqliteSink(database).createTable()
  return {
    at: () => ({ kind: 'sqlite', file }),
    lines: () => linesOf(sqliteEvents(database).source),
    [Symbol.asyncDispose]: async () => {
      database.close()
      remove()
    },
  }
}

/** Whether an event came by a route, whose source is called like it. */
const isOf =
  (route: string) =>
  ({ headers }: Event): boolean =>
    headers[wireNames.source] === route

async function linesOf(source: Source): Promise<Line[]> {
  const lines: Line[] = []
  await using stream = await source.stream('', { toHead: true })
  for await (const { events } of stream) lines.push(...events.map(lineOf))
  return lines
}

function lineOf({ headers, foreignId }: Event): Line {
  return [headers[wireNames.sourceId] as string, foreignId]
}

/** The lines of several partitions as one log, each line after those with lower ids; a line that is out of order in its partition stays so. */
function inSourceOrder(partitions: readonly (readonly Line[])[]): Line[] {
  const lines: Line[] = []
  const left = partitions.map((partition) => [...partition])
  for (;;) {
    const next = left.filter(({ length }) => length > 0).sort(([a], [b]) => Number(a?.[0]) - Number(b?.[0]))[0]
    if (next === undefined) return lines
    lines.push(next.shift() as Line)
  }
}

/** Where a broker keeps its logs. */
async function logFolder(admin: ReturnType<ReturnType<typeof kafkaTestClient>['admin']>): Promise<string> {
  const broker = { type: BROKER, name: '1', configNames: ['log.dirs'] }
  const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [broker] })
  return resources[0]?.configEntries[0]?.configValue as string
}

/** kafkajs's `ConfigResourceTypes.BROKER`, which Node finds only in its default export. */
const BROKER = 4

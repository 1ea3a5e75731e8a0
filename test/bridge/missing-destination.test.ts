import { join } from 'node:path'
import { expect, inject, onTestFinished, test } from 'vitest'
import { jetstreamSink } from '../../src/adapters/jetstream/index.ts'
import { kafkaSink } from '../../src/adapters/kafka/index.ts'
import { redisSink } from '../../src/adapters/redis/index.ts'
import { openSqlite, sqliteEvents, sqliteSink } from '../../src/adapters/sqlite/index.ts'
import { bridge } from '../../src/bridge/bridge.ts'
import { memoryCursors, memoryLog, type Sink, wireNames } from '../../src/core/index.ts'
import { newFolder } from '../cli/command.ts'
import { connector } from '../jetstream/fixture.ts'
import { route as jetstreamRoute } from '../jetstream/sink-route.ts'
import { adapterClient as kafkaClient } from '../kafka/fixture.ts'
import { route as kafkaRoute } from '../kafka/sink-route.ts'
import { adapterClient as redisClient, testClient } from '../redis/fixture.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { eventsIn } from '../subjects/redis.ts'
import { reader } from '../tools/reader.ts'
import { throughFault } from './mended-route.ts'

interface Place {
  readonly sink: Sink
  remove(): Promise<unknown>
  create(): Promise<unknown>
  ids(): Promise<unknown[]>
}

const places: Record<string, () => Promise<Place>> = {
  'a stream of JetStream': async () => {
    const { to, stream, prefix, ids } = await jetstreamRoute()
    const { config } = await to.info(stream)
    return {
      sink: jetstreamSink({ connect: connector('@nats-io v3', inject('servers').nats.url), stream, subject: prefix }),
      remove: () => to.api(`STREAM.DELETE.${stream}`),
      create: () => to.createStream(stream, config),
      ids,
    }
  },
  'a topic of Kafka': async () => {
    const { topic, checkpointTopic, topics, ids } = await kafkaRoute()
    const sink = kafkaSink(kafkaClient(), { topic, checkpointTopic })
    return {
      sink,
      remove: () => topics.admin.deleteTopics({ topics: [topic] }),
      create: () => sink.createTopic(),
      ids: async () => (await ids()).flat(),
    }
  },
  'a table of SQLite': async () => {
    const database = openSqlite(join(newFolder(), 'log.db'))
    onTestFinished(() => database.close())
    const sink = sqliteSink(database)
    sink.createTable()
    return {
      sink,
      remove: async () => database.exec('drop table events; drop table routes'),
      create: async () => sink.createTable(),
      ids: async () => {
        await using all = reader(await sqliteEvents(database).source.stream('', { toHead: true }))
        return (await all.rest()).map(({ headers }) => headers[wireNames.sourceId])
      },
    }
  },
}

test.for(Object.entries(places))(
  '%s that is deleted is waited for, and refilled when it is there again',
  async ([, place]) => {
    const { sink, remove, create, ids } = await place()
    const codes = await throughFault({ sink, kind: 'retriable', stage: remove, mend: create })
    expect(codes.join()).toMatch(/JETSTREAM_10059|KAFKA_UNKNOWN_TOPIC|TABLE_MISSING/)
    expect(await ids()).toEqual(Array.from({ length: 10 }, (_, i) => `${i + 1}`))
  },
)

test('a key of Redis that is deleted is made anew by the next append, and refilled', async () => {
  const key = fresh('out')
  const client = testClient(inject('servers').redis.url)
  onTestFinished(async () => void (await client.del(key, `reflex:{${key}}:r`)))
  const log = memoryLog()
  const sink = redisSink(redisClient(inject('servers').redis.url), { key })
  const spec = { name: 'r', source: log.source, sink, checkpoints: memoryCursors() }
  log.append(...Array.from({ length: 5 }, () => ({ type: 1, foreignId: 'a' })))
  await bridge(spec, { toHead: true })
  await client.del(key)
  const repairs: string[] = []
  await bridge(spec, { toHead: true, observer: { repaired: (text) => repairs.push(text) } })
  const ids = (await eventsIn(client, key)).map(({ headers }) => headers[wireNames.sourceId])
  expect([ids.join(), repairs.length]).toEqual(['1,2,3,4,5', 1])
})

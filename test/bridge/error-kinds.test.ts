import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ConfigResourceTypes } from 'kafkajs'
import { expect, inject, test } from 'vitest'
import { jetstreamSink } from '../../src/adapters/jetstream/index.ts'
import { kafkaSink } from '../../src/adapters/kafka/index.ts'
import { mysqlDeadLetters } from '../../src/adapters/mysql/index.ts'
import { redisSink } from '../../src/adapters/redis/index.ts'
import { bridge } from '../../src/bridge/bridge.ts'
import { skipEvent } from '../../src/bridge/skip-event.ts'
import { memoryCursors, memoryLog, type Sink, supervise, wireNames } from '../../src/core/index.ts'
import { simulatedDestination } from '../../src/testing/simulation/simulated-destination.ts'
import { newFolder } from '../cli/command.ts'
import { connector, ownServer as ownNats, testAdmin } from '../jetstream/fixture.ts'
import { route as jetstreamRoute } from '../jetstream/sink-route.ts'
import { adapterClient as kafkaClient } from '../kafka/fixture.ts'
import { route as kafkaRoute } from '../kafka/sink-route.ts'
import { testDatabase } from '../mysql/database.ts'
import { ownServer as ownRedis, adapterClient as redisClient, testClient } from '../redis/fixture.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { hasAtomicBatches } from '../subjects/jetstream.ts'
import { natsAdmin } from '../subjects/nats-admin.ts'
import { eventsIn } from '../subjects/redis.ts'
import { errorOf, eventually } from '../tools/reader.ts'
import { memoryDeadLetters } from './memory-dead-letters.ts'
import { throughFault } from './mended-route.ts'

// Every fault is met by a bridge that has dead letters: none of them may put an event there.

const upTo = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i + 1))
const large = { type: 1, foreignId: 'large', metadata: Buffer.alloc(3000, 120) }

test('Redis: without a permission, without memory and as a replica it keeps the route waiting, and nothing is lost or twice', async () => {
  const server = await ownRedis()
  const admin = testClient(server.url)
  const key = fresh('out')
  await admin.call('ACL', 'SETUSER', 'bridge', 'on', 'nopass', '~*', '+@all')
  const sink = redisSink(redisClient(server.url, { username: 'bridge', password: 'x' }), { key })
  const ids = async (): Promise<unknown[]> =>
    (await eventsIn(admin, key)).map(({ headers }) => headers[wireNames.sourceId])
  const faults = [
    {
      kind: 'auth',
      code: 'REDIS_NOPERM',
      stage: () => admin.call('ACL', 'SETUSER', 'bridge', '-xadd'),
      mend: () => admin.call('ACL', 'SETUSER', 'bridge', '+xadd'),
    },
    {
      kind: 'quota',
      code: 'REDIS_OOM',
      stage: () => admin.config('SET', 'maxmemory', '1'),
      mend: () => admin.config('SET', 'maxmemory', '0'),
    },
    {
      kind: 'read-only',
      code: 'REDIS_READONLY',
      stage: () => admin.call('REPLICAOF', '127.0.0.1', '1'),
      mend: () => admin.call('REPLICAOF', 'NO', 'ONE'),
    },
  ] as const
  for (const { code, ...fault } of faults) {
    await admin.flushdb()
    expect(await throughFault({ sink, ...fault })).toContain(code)
    expect(await ids()).toEqual(upTo(10))
  }
})

test('JetStream: a stream that is full and a payload above the limit keep the route waiting', async () => {
  const full = await jetstreamRoute({ config: { max_bytes: 2500, discard: 'new' } })
  const sinkOf = ({ stream, prefix }: typeof full) =>
    jetstreamSink({ connect: connector('@nats-io v3'), stream, subject: prefix })
  const update = ({ to, stream, prefix }: typeof full, config: object): Promise<unknown> =>
    to.api(`STREAM.UPDATE.${stream}`, { name: stream, subjects: [`${prefix}.>`], storage: 'file', ...config })
  const quota = await throughFault({
    ...{ sink: sinkOf(full), kind: 'quota', meets: [large, large] },
    stage: () => {},
    mend: () => update(full, { max_bytes: 1_000_000, discard: 'new' }),
  })
  expect(quota).toContain('JETSTREAM_10077')
  expect(await full.ids()).toEqual(upTo(7))

  const narrow = await jetstreamRoute({ config: { max_msg_size: 1000 } })
  const oversize = await throughFault({
    ...{ sink: sinkOf(narrow), kind: 'oversize', meets: [large] },
    stage: () => {},
    mend: () => update(narrow, { max_msg_size: -1 }),
  })
  expect(oversize).toEqual(['EVENT_TOO_LARGE'])
  expect(await narrow.ids()).toEqual(upTo(6))
})

// NATS 2.9 answers nothing any more after it has read its configuration again.
const reloads = { skip: !hasAtomicBatches(inject('servers').nats.version) }

test(
  'JetStream: a permission to publish that is taken away keeps the route waiting until it is given back',
  reloads,
  async () => {
    const path = join(newFolder(), 'nats.conf')
    const configure = (publish: string): Promise<void> =>
      writeFile(
        path,
        `authorization { users = [
        { user: admin, password: p }
        { user: bridge, password: p, permissions: { publish: [${publish}], subscribe: "_INBOX.>" } } ] }`,
      )
    await configure('"$JS.API.>", "s.>", "probe"')
    const server = await ownNats({ args: ['-c', path] })
    const to = await testAdmin(server.url, { user: 'admin', pass: 'p' })
    const { stream, prefix, ids } = await jetstreamRoute({ url: server.url, to, prefix: 's' })
    const connect = connector('@nats-io v3', server.url, { user: 'bridge', pass: 'p' })
    const reload = async (publish: string): Promise<void> => {
      await configure(publish)
      process.kill(server.process.pid, 'SIGHUP')
    }
    const codes = await throughFault({
      ...{ sink: jetstreamSink({ connect, stream, subject: prefix }), kind: 'auth' },
      stage: async () => {
        await reload('"$JS.API.>"')
        // Nobody answers there until the server has read it, while it does it may refuse the user altogether.
        const isDenied = async (): Promise<boolean> => {
          const asking = natsAdmin(server.url, { user: 'bridge', pass: 'p' }).then(async (probe) => {
            await using _ = probe
            await probe.publish('probe')
          })
          return /permission/i.test(String(await errorOf(asking)))
        }
        await eventually(isDenied, 10_000, 'the reload')
      },
      mend: () => reload('"$JS.API.>", "s.>"'),
    })
    expect(codes).toContain('NATS_NO_PERMISSION')
    expect(await ids()).toEqual(upTo(10))
  },
)

test('Kafka: an event above the limit of the topic keeps the route waiting until the limit is raised', async () => {
  const { topic, checkpointTopic, topics, ids } = await kafkaRoute()
  const limit = (value: string): Promise<unknown> =>
    topics.admin.alterConfigs({
      validateOnly: false,
      resources: [
        { type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name: 'max.message.bytes', value }] },
      ],
    })
  const codes = await throughFault({
    ...{ sink: kafkaSink(kafkaClient(), { topic, checkpointTopic }), kind: 'oversize', meets: [large] },
    stage: () => limit('2000'),
    mend: () => limit('10000'),
  })
  expect(codes).toEqual(['EVENT_TOO_LARGE'])
  expect(await ids()).toEqual([upTo(6)])
})

/** Fresh destinations, and the source ids in them. */
const destinations: Readonly<Record<string, () => Promise<{ readonly sink: Sink; ids(): Promise<unknown[]> }>>> = {
  Redis: async () => {
    const [client, key] = [testClient(), fresh('out')]
    const ids = async (): Promise<unknown[]> =>
      (await eventsIn(client, key)).map(({ headers }) => headers[wireNames.sourceId])
    return { sink: redisSink(redisClient(), { key }), ids }
  },
  JetStream: async () => {
    const { stream, prefix, ids } = await jetstreamRoute()
    return { sink: jetstreamSink({ connect: connector('@nats-io v3'), stream, subject: prefix }), ids }
  },
  Kafka: async () => {
    const { topic, checkpointTopic, ids } = await kafkaRoute()
    return { sink: kafkaSink(kafkaClient(), { topic, checkpointTopic }), ids: async () => (await ids()).flat() }
  },
}

test.each(Object.entries(destinations))(
  '%s: what stands around an event that it cannot hold arrives once and in order, whether that is skipped or put aside',
  async (_, make) => {
    const { sink, ids } = await make()
    const log = memoryLog()
    const poison = { type: 1, foreignId: 'b', headers: { h: '\ud800' } }
    log.append(poison, ...['a', 'c'].map((foreignId) => ({ type: 1, foreignId })))
    const spec = { name: 'r', source: log.source, sink, checkpoints: memoryCursors() }
    expect(await errorOf(bridge(spec, { toHead: true }))).toMatchObject({ kind: 'poison', eventId: '1' })
    await skipEvent(spec, { eventId: '1', by: 'ada', at: 0, why: 'it is a test' })
    await bridge(spec, { toHead: true })
    expect(await ids()).toEqual(['2', '3'])

    const deadLetters = memoryDeadLetters()
    log.append(...['a', 'b'].map((foreignId) => ({ type: 1, foreignId })), poison)
    log.append(...['b', 'a'].map((foreignId) => ({ type: 1, foreignId })), poison, { type: 1, foreignId: 'c' })
    await bridge({ ...spec, deadLetters }, { toHead: true })
    expect(await ids()).toEqual(['2', '3', '4', '5', '8', '10'])
    expect(deadLetters.letters.map(({ eventId }) => eventId)).toEqual(['6', '7', '9'])
  },
)

test('MySQL: dead letters that may not be written stop the route, which goes on when they may; there is one letter', async () => {
  const database = await testDatabase()
  const { user, quoted } = await database.account()
  const table = `${database.name}.dead_letters`
  const own = mysqlDeadLetters(database.pool, { table: 'dead_letters' })
  await own.createTable()
  await database.sql(`grant select, update on ${table} to ${quoted}`)
  const deadLetters = mysqlDeadLetters(database.poolOf({ user }), { table: 'dead_letters' })

  const log = memoryLog()
  const destination = simulatedDestination()
  log.append(
    { type: 1, foreignId: 'a' },
    { type: 1, foreignId: 'b', headers: { h: '\ud800' } },
    { type: 1, foreignId: 'c' },
  )
  const spec = { name: 'r', source: log.source, sink: destination.sink(), checkpoints: memoryCursors(), deadLetters }
  const met: unknown[] = []
  const running = supervise((o) => bridge(spec, { ...o, toHead: true }), {
    ...{ minDelayMs: 20, maxDelayMs: 200 },
    observer: {
      restarting: ({ error }) => {
        met.push(error)
        if (met.length === 2) void database.sql(`grant insert on ${table} to ${quoted}`)
      },
    },
  })
  await running
  expect(met[0]).toMatchObject({ code: 'MYSQL_DENIED', kind: 'auth', eventId: '2' })
  const letters = await own.list({ consumer: 'r' })
  expect(letters.map(({ eventId, attempts, event }) => [eventId, attempts, event?.headers])).toEqual([
    ['2', 1, { h: '\ud800' }],
  ])
  expect(destination.events.map(({ headers }) => headers[wireNames.sourceId])).toEqual(['1', '3'])
})

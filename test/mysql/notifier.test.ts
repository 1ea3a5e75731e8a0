import { once } from 'node:events'
import { connect } from '@nats-io/transport-node'
import { Redis } from 'ioredis'
import { expect, inject, onTestFinished, test } from 'vitest'
import { jetstreamFailFast, natsNotifier } from '../../src/adapters/jetstream/index.ts'
import { type MysqlEventsOptions, mysqlEvents } from '../../src/adapters/mysql/index.ts'
import { redisNotifier } from '../../src/adapters/redis/index.ts'
import type { Notifier } from '../../src/core/notifier.ts'
import { eventually, reader, within } from '../tools/reader.ts'
import { type Database, testDatabase } from './database.ts'

/** What is never found by polling within a test. */
const NEVER = { min: 60_000, max: 60_000 }

/** What is inserted by an object of its own, as in another process, wakes a reader that does not poll. */
async function wakesAcross(database: Database, there: Notifier, here: Notifier): Promise<void> {
  const [writing, reading] = [
    mysqlEvents(database.pool, { notifier: there }),
    mysqlEvents(database.pool, { notifier: here, pollMs: NEVER }),
  ]
  await writing.createTable()
  await using stream = reader(await reading.source.stream('', {}))
  await using connection = await database.pool.getConnection()
  for (let events = 20; events > 0; events--) {
    const read = stream.take(1)
    await writing.insert(connection, { type: 1, foreignId: 'a' })
    writing.wake()
    await within(read, 5000, 'a hint')
  }
}

test('redisNotifier wakes streams of other processes', async () => {
  const redis = new Redis(inject('servers').redis.url, { lazyConnect: true })
  onTestFinished(() => redis.disconnect())
  const database = await testDatabase()
  await wakesAcross(database, redisNotifier(redis, database.name), redisNotifier(redis, database.name))
  const subscribers = async () => (await redis.pubsub('NUMSUB', database.name))[1]
  await eventually(async () => (await subscribers()) === 0, 1000, 'the subscription has ended')
})

test('natsNotifier wakes streams of other processes', async () => {
  const database = await testDatabase()
  const servers = inject('servers').nats.url
  const notifier = () => natsNotifier(() => connect({ servers, ...jetstreamFailFast }), database.name)
  await wakesAcross(database, notifier(), notifier())
})

test('a notifier that fails is told of once, and streams go on by polling', async () => {
  const database = await testDatabase()
  const told: unknown[] = []
  const broken = new Error('broken')
  const notifier: Notifier = {
    notify: () => Promise.reject(broken),
    subscribe: () => Promise.reject(broken),
  }
  const options: MysqlEventsOptions = { notifier, onNotifierFailed: (error) => told.push(error) }
  const events = mysqlEvents(database.pool, options)
  await events.createTable()
  await using stream = reader(await events.source.stream('', {}))
  const other = mysqlEvents(database.pool)
  await using connection = await database.pool.getConnection()
  for (let count = 3; count > 0; count--) {
    const read = stream.take(1)
    await other.insert(connection, { type: 1, foreignId: 'a' })
    await read
    events.wake()
  }
  expect(told).toEqual([broken])
})

test('a subscription that is lost is told of, and streams go on by polling', async () => {
  const redis = new Redis(inject('servers').redis.url, { lazyConnect: true, connectionName: `r${process.pid}` })
  onTestFinished(() => redis.disconnect())
  const database = await testDatabase()
  const told = Promise.withResolvers<unknown>()
  const events = mysqlEvents(database.pool, {
    notifier: redisNotifier(redis, database.name),
    onNotifierFailed: told.resolve,
  })
  await events.createTable()
  await using stream = reader(await events.source.stream('', {}))
  const read = stream.take(1)
  await eventually(async () => (await redis.pubsub('NUMSUB', database.name))[1] === 1, 5000, 'the subscription')
  const clients = String(await redis.call('CLIENT', 'LIST', 'TYPE', 'pubsub')).split('\n')
  const own = clients.find((each) => each.includes(`name=r${process.pid}`))
  await redis.call('CLIENT', 'KILL', 'ID', /id=(\d+)/.exec(own ?? '')?.[1] ?? '')
  expect(String(await within(told.promise, 5000, 'being told'))).toContain(`channel ${database.name} is lost`)
  await database.sql("insert into events (foreign_id, timestamp, type) values ('x', utc_timestamp(6), 1)")
  expect((await read).map(({ id }) => id)).toEqual(['1'])
})

test('hints that are under way are not sent again for each commit, and the last commit has one after it', async () => {
  const database = await testDatabase()
  const sent = new EventTarget()
  let hints = 0
  let done = Promise.withResolvers<void>()
  const notifier: Notifier = {
    notify: async () => {
      hints++
      sent.dispatchEvent(new Event('hint'))
      await done.promise
    },
    subscribe: (_, signal) => once(signal, 'abort').then(() => {}),
  }
  const events = mysqlEvents(database.pool, { notifier })
  for (let commits = 100; commits > 0; commits--) events.wake()
  expect(hints).toBe(1)
  const second = once(sent, 'hint')
  done.resolve()
  done = Promise.withResolvers()
  await second
  expect(hints).toBe(2)
  done.resolve()
})

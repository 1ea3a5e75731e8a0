import { join } from 'node:path'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { Redis } from 'ioredis'
import { Kafka } from 'kafkajs'
import { createPool } from 'mysql2/promise'
import { inject, onTestFinished } from 'vitest'
import { jetstreamFailFast, jetstreamSink, jetstreamSource } from '../../src/adapters/jetstream/index.ts'
import { kafkaFailFast, kafkaPartition, kafkaSink } from '../../src/adapters/kafka/index.ts'
import { mysqlEvents, mysqlOptions } from '../../src/adapters/mysql/index.ts'
import { redisFailFast, redisSink, redisStream } from '../../src/adapters/redis/index.ts'
import { openSqlite, sqliteEvents } from '../../src/adapters/sqlite/index.ts'
import type { Event, NewEvent } from '../../src/core/event.ts'
import type { Sink } from '../../src/core/sink.ts'
import { eventsOf, openStream, type Source } from '../../src/core/stream.ts'
import { newFolder } from './command.ts'

/** A fresh log that the command line can read, and the test can write. */
export interface TestLog {
  /** As `tail` takes it. */
  readonly url: string
  /** Keys that stand beside the URL in a configuration. */
  readonly keys: Readonly<Record<string, string>>
  append(events: readonly NewEvent[]): Promise<void>
  /** All that is in it. */
  read(): Promise<Event[]>
}

let count = 0

/** A name that no other test uses. */
export function fresh(what: string): string {
  return `${what}_${process.pid}_${Date.now().toString(36)}_${count++}`
}

/** All events of a source, up to its head. */
export async function eventsIn(source: Source): Promise<Event[]> {
  const all: Event[] = []
  for await (const event of eventsOf(await openStream(source.stream, '', { toHead: true }))) all.push(event)
  return all
}

/** An event table in a new SQLite file. */
export function sqliteLog(): TestLog {
  const path = join(newFolder(), 'log.db')
  const database = openSqlite(path)
  onTestFinished(() => database.close())
  const { source, createTable, insert } = sqliteEvents(database)
  createTable()
  return {
    url: `sqlite:${path}`,
    keys: {},
    append: async (events) => void insert(database, ...events),
    read: () => eventsIn(source),
  }
}

/** An event table in a new MySQL database. */
export async function mysqlLog(): Promise<TestLog> {
  const { url } = inject('servers').mysql
  const name = fresh('cli')
  const pool = createPool({ ...mysqlOptions, uri: url })
  onTestFinished(() => pool.end())
  await pool.query(`create database ${name}`)
  onTestFinished(async () => void (await pool.query(`drop database ${name}`)))
  const at = Object.assign(new URL(url), { pathname: `/${name}` }).href
  const log = createPool({ ...mysqlOptions, uri: at })
  onTestFinished(() => log.end())
  const { source, createTable, insert } = mysqlEvents(log)
  await createTable()
  return {
    url: at,
    keys: {},
    append: async (events) => {
      const connection = await log.getConnection()
      await insert(connection, ...events)
      connection.release()
    },
    read: () => eventsIn(source),
  }
}

/** Appends through a sink, each time as another process would. */
function appendWith(sink: Sink): TestLog['append'] {
  let written = 0
  return async (events) => {
    await using writer = await sink.open({ route: 'test', source: 'test' })
    const rest = { timestamp: Date.now(), metadata: null, headers: {} }
    const all = events.map((event) => ({ ...rest, ...event, id: String(++written) }))
    await writer.append(all, String(written))
  }
}

/** A new Redis stream. */
export async function redisLog(): Promise<TestLog> {
  const { url } = inject('servers').redis
  const key = fresh('cli')
  const client = new Redis(url, { ...redisFailFast })
  return {
    url: `${url}?key=${key}`,
    keys: { key },
    append: appendWith(redisSink(client, { key })),
    read: () => eventsIn(redisStream(client, { key })),
  }
}

/** A new JetStream stream. */
export async function jetstreamLog(): Promise<TestLog> {
  const { url } = inject('servers').nats
  const stream = fresh('cli')
  const nats = { connect: () => connect({ servers: url, ...jetstreamFailFast }), stream }
  const connection = await nats.connect()
  await (await jetstreamManager(connection)).streams.add({ name: stream, subjects: [`${stream}.>`] })
  await connection.close()
  return {
    url: `${url}?stream=${stream}`,
    keys: { stream },
    append: appendWith(jetstreamSink({ ...nats, subject: stream })),
    read: () => eventsIn(jetstreamSource(nats)),
  }
}

/** A new Kafka topic of one partition. */
export async function kafkaLog(): Promise<TestLog> {
  const { url } = inject('servers').kafka
  const topic = fresh('cli')
  const kafka = new Kafka({ brokers: url.split(','), ...kafkaFailFast })
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 1 }], waitForLeaders: true })
  await admin.disconnect()
  return {
    url: `kafka://${url}?topic=${topic}`,
    keys: { topic },
    append: appendWith(kafkaSink(kafka, { topic, delivery: 'at-least-once' })), // without control records, which move the cursor on
    read: () => eventsIn(kafkaPartition(kafka, { topic, partition: 0 })),
  }
}

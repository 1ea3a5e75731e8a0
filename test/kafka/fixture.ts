import { type Admin, ConfigResourceTypes, Kafka, type Message, type Producer } from 'kafkajs'
import { inject, onTestFinished } from 'vitest'
import { encodeRecord } from '../../src/adapters/kafka/codec.ts'
import { type KafkaSinkOptions, kafkaFailFast, kafkaPartition, kafkaSink } from '../../src/adapters/kafka/index.ts'
import { openPartition, type PartitionBounds } from '../../src/adapters/kafka/partition-log.ts'
import type { Isolation } from '../../src/adapters/kafka/protocol/fetch.ts'
import type { Event, NewEvent } from '../../src/core/event.ts'
import type { Server, StartServerOptions } from '../../src/testing/servers/index.ts'
import { startServer } from '../../src/testing/servers/index.ts'
import { detached } from '../suites/detached.ts'
import { eventually, reader } from '../suites/reader.ts'
import type { SinkFixture } from '../suites/sink.ts'
import type { SourceFixture } from '../suites/source.ts'

process.env['KAFKAJS_NO_PARTITIONER_WARNING'] = '1'

let count = 0

/** A name that no other test uses, in this run or an earlier one. */
export function fresh(what: string): string {
  return `${what}-${process.pid}-${Date.now().toString(36)}-${count++}`
}

/** The client that is handed to an adapter. */
export function adapterClient(brokers: string = inject('servers').kafka.url): Kafka {
  return new Kafka({ brokers: brokers.split(','), ...kafkaFailFast })
}

/** A client of the test's own, which tries again. */
export function testClient(brokers: string = inject('servers').kafka.url): Kafka {
  return new Kafka({
    brokers: brokers.split(','),
    logLevel: 0,
    retry: { initialRetryTime: 50, retries: 20, maxRetryTime: 500 },
  })
}

/** A broker whose process the test controls. */
export async function ownServer(options: StartServerOptions = {}): Promise<Server & Required<Pick<Server, 'process'>>> {
  const server = await startServer('kafka', { from: ['native'], ...options })
  onTestFinished(() => server[Symbol.asyncDispose]())
  return server as Server & Required<Pick<Server, 'process'>>
}

/** What a test does to a topic, with kafkajs's own admin and producer. */
export interface TopicAdmin extends AsyncDisposable {
  readonly admin: Admin
  readonly producer: Producer
  /** Deletes what is before `offset`. */
  trim(offset: string, partition?: number): Promise<void>
  /** Deletes the topic, and makes another of the same name. */
  recreate(): Promise<void>
}

/** Makes a topic, which is deleted with the admin. */
export async function topicAdmin(
  topic: string,
  {
    brokers,
    partitions = 1,
    config = {},
  }: { brokers?: string; partitions?: number; config?: Readonly<Record<string, string>> } = {},
): Promise<TopicAdmin> {
  const kafka = testClient(brokers)
  const admin = kafka.admin()
  const producer = kafka.producer({ allowAutoTopicCreation: false })
  await Promise.all([admin.connect(), producer.connect()])
  const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }))
  const create = async (): Promise<void> => {
    await admin.createTopics({ topics: [{ topic, numPartitions: partitions, configEntries }], waitForLeaders: true })
  }
  await create()
  return {
    admin,
    producer,
    trim: async (offset, partition = 0) => {
      await admin.fetchTopicOffsets(topic) // it must know the topic first
      await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset }] })
    },
    recreate: async () => {
      await admin.deleteTopics({ topics: [topic] })
      await create()
    },
    [Symbol.asyncDispose]: async () => {
      await admin.deleteTopics({ topics: [topic] }).catch(() => {}) // a test may have done it
      await Promise.all([admin.disconnect(), producer.disconnect()])
    },
  }
}

/** The record of an event as `kafkaSink` writes it, but with the event's own time. */
export function recordOf(event: NewEvent): Message {
  const whole: Event = { id: '0', timestamp: Date.now(), metadata: null, headers: {}, ...event }
  const { key, value, headers: fields } = encodeRecord(whole, 'suite')
  const headers: Record<string, string[]> = Object.create(null)
  for (const [name, text] of fields) {
    headers[name] ??= []
    headers[name].push(text)
  }
  const time = Math.floor(whole.timestamp)
  const times = time >= 0 && time <= Date.now() ? { timestamp: String(time) } : {}
  return { key, value: value && Buffer.from(value), headers: { ...headers }, ...times }
}

/** A source over a fresh topic of one partition. */
export async function sourceFixture(
  { batchSize }: { readonly batchSize?: number },
  server?: Server & Required<Pick<Server, 'process'>>,
): Promise<SourceFixture> {
  const brokers = server?.url ?? inject('servers').kafka.url
  const topic = fresh('log')
  const admin = await topicAdmin(topic, { brokers })
  return {
    source: kafkaPartition(adapterClient(brokers), {
      topic,
      partition: 0,
      ...(batchSize === undefined ? {} : { batchSize }),
    }),
    append: async (events) => {
      if (events.length === 0) return []
      const messages = events.map(recordOf)
      const [result] = await admin.producer.send({
        topic,
        acks: -1,
        messages: messages.map((message) => ({ ...message, partition: 0 })),
      })
      return events.map((_, i) => String(BigInt(result?.baseOffset ?? 0) + BigInt(i)))
    },
    trim: (id) => admin.trim(id),
    recreate: () => admin.recreate(),
    server: server && detached(server.process),
    sockets: async () => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length,
    malformed: ['abc', '-2', '1-0', '01', '+1', '1.5', '9223372036854775808', ' 1', '@', '1@'],
    [Symbol.asyncDispose]: async () => {
      await admin[Symbol.asyncDispose]()
      await server?.[Symbol.asyncDispose]()
    },
  }
}

/** The events of each partition of a topic, once no transaction is open: what was committed may be seen a moment later. */
export async function partitionsOf(topic: string, brokers: string | undefined, partitions: number): Promise<Event[][]> {
  const kafka = adapterClient(brokers)
  return Promise.all(
    Array.from({ length: partitions }, async (_, partition) => {
      const end = (await boundsOf(kafka, topic, partition, 'all')).high
      const settled = async () => (await boundsOf(kafka, topic, partition, 'committed')).high >= end
      await eventually(settled, 15_000, 'the end of all transactions')
      await using all = reader(await kafkaPartition(kafka, { topic, partition }).stream('', { toHead: true }))
      return await all.rest()
    }),
  )
}

async function boundsOf(
  kafka: Kafka,
  topic: string,
  partition: number,
  isolation: Isolation,
): Promise<PartitionBounds> {
  await using log = await openPartition(kafka, { log: 'test', topic, partition, isolation })
  return await log.bounds()
}

/** A sink into a fresh topic of one partition. */
export async function sinkFixture(options: Partial<KafkaSinkOptions> = {}): Promise<SinkFixture> {
  const topic = fresh('destination')
  const topics = await topicAdmin(topic)
  const sink = () => kafkaSink(adapterClient(), { topic, ...options })
  const setLargest = (bytes: string) =>
    topics.admin.alterConfigs({
      validateOnly: false,
      resources: [
        {
          type: ConfigResourceTypes.TOPIC,
          name: topic,
          configEntries: [{ name: 'max.message.bytes', value: bytes }],
        },
      ],
    })
  return {
    sink: sink(),
    another: async () => sink(),
    read: async () => (await partitionsOf(topic, undefined, 1)).flat(),
    wipe: () => topics.recreate(),
    refuse: async () => {
      await setLargest('150')
      return { [Symbol.asyncDispose]: async () => void (await setLargest('1048588')) }
    },
    [Symbol.asyncDispose]: () => topics[Symbol.asyncDispose](),
  }
}

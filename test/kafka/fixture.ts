import type { Admin, Kafka, Producer } from 'kafkajs'
import { inject, onTestFinished } from 'vitest'
import type { Event } from '../../src/core/event.ts'
import type { Server, StartServerOptions } from '../../src/testing/servers/index.ts'
import { startServer } from '../../src/testing/servers/index.ts'
import { committedEvents, kafkaAdapterClient, kafkaTestClient } from '../subjects/kafka.ts'

/** The client that is handed to an adapter. */
export function adapterClient(brokers: string = inject('servers').kafka.url): Kafka {
  return kafkaAdapterClient(brokers)
}

/** A client of the test's own, which tries again. */
export function testClient(brokers: string = inject('servers').kafka.url): Kafka {
  return kafkaTestClient(brokers)
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

/** The events of each partition of a topic, once no transaction is open. */
export async function partitionsOf(topic: string, brokers: string | undefined, partitions: number): Promise<Event[][]> {
  const kafka = adapterClient(brokers)
  return Promise.all(Array.from({ length: partitions }, (_, partition) => committedEvents(kafka, topic, partition)))
}

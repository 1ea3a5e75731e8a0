import type { Admin, ITopicConfig, Kafka, Producer } from 'kafkajs'
import { inject } from 'vitest'
import type { Event } from '../../src/core/event.ts'
import type { Server, StartServerOptions } from '../../src/testing/servers/index.ts'
import { startServer } from '../../src/testing/servers/index.ts'
import { committedEvents, kafkaAdapterClient, kafkaTestClient } from '../subjects/kafka.ts'
import { onTestFinished } from '../tools/on-test-finished.ts'
import { eventually } from '../tools/reader.ts'

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
  const create = (): Promise<void> => createTopics(admin, [{ topic, numPartitions: partitions, configEntries }])
  await create()
  return {
    admin,
    producer,
    trim: async (offset, partition = 0) => {
      await admin.fetchTopicOffsets(topic) // it must know the topic first
      await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset }] })
    },
    recreate: async () => {
      await deleteTopic(admin, topic)
      await create()
    },
    [Symbol.asyncDispose]: async () => {
      await admin.deleteTopics({ topics: [topic] }).catch(() => {}) // a test may have done it
      await Promise.all([admin.disconnect(), producer.disconnect()])
    },
  }
}

/** Deletes a topic; resolves when the broker has heard of it: until then it appends to it. */
export async function deleteTopic(admin: Admin, topic: string): Promise<void> {
  await admin.deleteTopics({ topics: [topic] })
  const isGone = (): Promise<boolean> =>
    admin.fetchTopicMetadata({ topics: [topic] }).then(
      () => false,
      () => true,
    )
  await eventually(isGone, 20_000, 'the deletion')
}

/** Creates topics; resolves when their partitions have leaders. kafkajs's own waiting fails where a broker has not heard of a topic yet. */
export async function createTopics(admin: Admin, topics: readonly ITopicConfig[]): Promise<void> {
  await admin.createTopics({ topics: [...topics], waitForLeaders: false })
  const isThere = (topic: string): Promise<boolean> =>
    admin.fetchTopicMetadata({ topics: [topic] }).then(
      () => true,
      () => false,
    )
  for (const { topic } of topics) await eventually(() => isThere(topic), 20_000, 'the leaders')
}

/** The events of each partition of a topic, once no transaction is open. */
export async function partitionsOf(topic: string, brokers: string | undefined, partitions: number): Promise<Event[][]> {
  const kafka = adapterClient(brokers)
  return Promise.all(Array.from({ length: partitions }, (_, partition) => committedEvents(kafka, topic, partition)))
}

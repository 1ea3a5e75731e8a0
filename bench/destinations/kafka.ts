import { Kafka, logLevel } from 'kafkajs'
import { wireNames } from 'reflex-bridge'
import { kafkaFailFast, kafkaPartition, kafkaSink } from 'reflex-bridge/kafka'
import type { Destination } from '../destination.ts'

/** With kafkajs's own, a transaction that follows another one waits for 300 ms. */
const RETRY = { initialRetryTime: 5, maxRetryTime: 50, retries: 50, factor: 0, multiplier: 1.5 }

/** A topic of one partition. The bare client sends a page and the cursor in one transaction. */
export const kafkaDestination: Destination = {
  server: 'kafka',
  title: 'Kafka',
  referenceName: 'bare select, transaction with the cursor (kafkajs)',
  open: async (url) => {
    const brokers = url.split(',')
    const kafka = new Kafka({ brokers, retry: RETRY, logLevel: logLevel.NOTHING })
    const ours = new Kafka({ brokers, ...kafkaFailFast })
    const admin = kafka.admin()
    await admin.connect()
    const stack = new AsyncDisposableStack()
    stack.defer(() => admin.disconnect())
    return {
      create: async (log) => {
        const topics = [log, `${log}-cursor`].map((topic) => ({ topic, numPartitions: 1 }))
        await admin.createTopics({ topics, waitForLeaders: true })
      },
      sink: (log) => kafkaSink(ours, { topic: log }),
      source: (log) => kafkaPartition(ours, { topic: log, partition: 0 }),
      config: (log) => ({ url: `kafka://${url}`, topic: log }),
      publisher: async (log) => {
        const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1, transactionalId: log })
        await producer.connect()
        stack.defer(() => producer.disconnect())
        return async (page) => {
          const messages = page.map(({ id, foreign_id, type, timestamp, metadata }) => ({
            key: foreign_id,
            value: metadata,
            headers: {
              [wireNames.source]: 'bench',
              [wireNames.sourceId]: id,
              [wireNames.type]: String(type),
              [wireNames.timestamp]: timestamp,
            },
          }))
          const cursor = { topic: `${log}-cursor`, messages: [{ key: log, value: page.at(-1)?.id ?? '' }] }
          const transaction = await producer.transaction()
          await transaction.sendBatch({ topicMessages: [{ topic: log, messages }, cursor], acks: -1 })
          await transaction.commit()
        }
      },
      [Symbol.asyncDispose]: () => stack.disposeAsync(),
    }
  },
}

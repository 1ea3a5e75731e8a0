import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { kafkaFailFast, kafkaPartition } from '../../../adapters/kafka/index.ts'
import { wireNames } from '../../../core/index.ts'
import { importClient } from '../../../service/config/import-client.ts'
import type { Broker } from '../broker.ts'
import type { AuditEntry } from '../stage.ts'

const END_HEADER = 'demo-end'

/** A topic of one partition. */
export const kafkaBroker: Broker = {
  name: 'kafka',
  server: 'kafka',
  variable: 'KAFKA_BROKERS',
  title: 'Kafka',
  open: async ({ url }, { run: topic, stack }) => {
    const { Kafka, logLevel } = await importClient('kafkajs', () => import('kafkajs'))
    const brokers = url.split(',')
    const [first, ...further] = brokers
    const checkpointTopic = `${topic}_checkpoints`
    const kafka = new Kafka({ brokers, logLevel: logLevel.NOTHING })
    const asAdmin = async (work: (admin: ReturnType<typeof kafka.admin>) => Promise<unknown>): Promise<void> => {
      const admin = kafka.admin()
      await admin.connect()
      try {
        await work(admin)
      } finally {
        await admin.disconnect()
      }
    }
    await asAdmin((admin) => admin.createTopics({ topics: [{ topic, numPartitions: 1 }], waitForLeaders: true }))
    stack.defer(() =>
      asAdmin(async (admin) => {
        const topics = (await admin.listTopics()).filter((name) => name === topic || name === checkpointTopic)
        await admin.deleteTopics({ topics })
      }),
    )

    /** All that is committed. The log may end in records that no consumer is shown, so a last one is sent to read up to. */
    async function* entries(): AsyncGenerator<AuditEntry> {
      const end = randomUUID()
      const producer = kafka.producer({ allowAutoTopicCreation: false })
      await producer.connect()
      await producer.send({ topic, messages: [{ partition: 0, value: null, headers: { [END_HEADER]: end } }] })
      await producer.disconnect()

      const found = new PassThrough({ objectMode: true })
      const consumer = kafka.consumer({ groupId: topic, readUncommitted: false, maxWaitTimeInMs: 100 })
      let begun = false
      consumer.on(consumer.events.CRASH, ({ payload: { restart, error } }) => {
        // While the groups' coordinator is loading it starts again by itself. Later on it would read everything twice.
        if (begun || !restart) found.destroy(error)
      })
      await consumer.connect()
      await consumer.subscribe({ topic, fromBeginning: true })
      await consumer.run({
        autoCommit: false,
        eachBatch: async ({ batch }) => {
          begun = true
          for (const { key, headers } of batch.messages) {
            const marker = headers?.[END_HEADER]
            if (String(marker) === end) return void found.end()
            if (marker !== undefined) continue
            if (!found.write({ sourceId: String(headers?.[wireNames.sourceId]), orderId: String(key) }))
              await once(found, 'drain')
          }
        },
      })
      try {
        yield* found as AsyncIterable<AuditEntry>
      } finally {
        await consumer.disconnect()
        // A member that could not sign off may still be there; an empty group without offsets goes by itself.
        await asAdmin((admin) => admin.deleteGroups([topic])).catch(() => {})
      }
    }
    return {
      sink: {
        url: `kafka://${first}`,
        ...(further.length === 0 ? {} : { brokers: further.join(',') }),
        ...{ topic, checkpointTopic },
      },
      source: kafkaPartition(new Kafka({ brokers, ...kafkaFailFast }), { topic, partition: 0 }),
      entries,
    }
  },
}

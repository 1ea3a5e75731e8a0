import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import { kafkaFailFast, kafkaPartition, kafkaSink } from 'reflex-bridge/kafka'
import { fetcher } from '../cases/kafka.ts'
import type { LogKind } from '../log-kind.ts'

const LEADS_WITHIN_MS = 20_000

/** The partitions of a topic. */
export const kafkaLogs: LogKind = {
  server: 'kafka',
  title: 'Kafka',
  plural: 'partitions',
  hasSink: true,
  bareName: 'bare cluster, first fetch (kafkajs)',
  open: async (url, via) => {
    const brokers = url.split(',')
    const patient = new Kafka({ brokers, logLevel: logLevel.NOTHING })
    // A broker tells its own address, from which this leads away.
    const byWay = via && {
      socketFactory: ({ onConnect }: { onConnect: () => void }) => connect(via.port, via.host, onConnect),
    }
    const ours = new Kafka({ brokers, ...kafkaFailFast, ...byWay })
    const admin = patient.admin()
    const producer = patient.producer()
    await Promise.all([admin.connect(), producer.connect()])
    return {
      create: async (topic, count = 1) => {
        await admin.createTopics({ topics: [{ topic, numPartitions: count }], waitForLeaders: true })
        // A broker says that it leads a partition a moment before it does.
        for (const deadline = Date.now() + LEADS_WITHIN_MS; ; await sleep(50)) {
          try {
            return void (await admin.fetchTopicOffsets(topic))
          } catch (error) {
            if (Date.now() > deadline) throw error
          }
        }
      },
      remove: (topic) => admin.deleteTopics({ topics: [topic] }),
      source: (topic, partition = 0) => kafkaPartition(ours, { topic, partition }),
      sink: (topic) => kafkaSink(ours, { topic }),
      write: async (topic, partition = 0) => {
        await producer.send({ topic, acks: -1, messages: [{ value: 'x', partition }] })
      },
      bareRead: async (topic) => {
        const { cluster, fetch } = await fetcher(new Kafka({ brokers, logLevel: logLevel.NOTHING, ...byWay }), topic)
        await fetch(0n)
        await cluster.disconnect()
      },
      [Symbol.asyncDispose]: async () => {
        await Promise.all([admin.disconnect(), producer.disconnect()])
      },
    }
  },
}

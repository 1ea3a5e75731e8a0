import { type Appended, type Appender, withKnownOutcome } from '../../core/appender.ts'
import { OptionError } from '../../core/errors.ts'
import { encodeRecord } from './codec.ts'
import { checkKafkaClient, type KafkaClient } from './kafka-client.ts'
import { connectKafka, type KafkaConnection } from './kafka-connection.ts'
import { type KafkaProducer, openProducer } from './kafka-producer.ts'
import { partitionOfKey } from './partition-of-key.ts'
import type { TopicMetadata } from './protocol/metadata.ts'
import type { NewRecord } from './protocol/new-record-batch.ts'

/** Options of `kafkaPublisher`. */
export interface KafkaPublisherOptions {
  /** The topic. It must exist. */
  readonly topic: string
}

/** A connection that is made when it is needed. */
interface Opened {
  readonly connection: KafkaConnection
  readonly producer: KafkaProducer
  readonly topic: TopicMetadata
}

/** So soon after the last publish the connection is closed (rule 6 allows 1 s). */
const IDLE_MS = 500
/** The broker may have appended although it answers with one of these. */
const UNKNOWN = new Set([
  'KAFKA_CONNECTION',
  'KAFKA_REQUEST_TIMED_OUT',
  'KAFKA_NOT_ENOUGH_REPLICAS_AFTER_APPEND',
  'KAFKA_STORAGE_ERROR',
])

/**
 * A Kafka topic that anybody publishes to, record by record, each acknowledged by all replicas in sync; the key, and with it the
 * partition, is the foreignId. The id is the offset. Kafka keeps no keys of what it was given, and compares no offset before
 * it appends: an idempotency key and an expected id are refused. Publishes are sent one after the other, over a connection that is
 * closed 0.5 s after the last.
 *
 * @example publisher({ to: kafkaPublisher(new Kafka({ brokers, ...kafkaFailFast }), { topic: 'orders' }), client: 'web-1' })
 */
export function kafkaPublisher(kafka: KafkaClient, { topic }: KafkaPublisherOptions): Appender {
  checkKafkaClient(kafka)
  if (typeof topic !== 'string' || topic === '')
    throw new OptionError(`kafkaPublisher: topic must be the name of a topic, but is ${JSON.stringify(topic)}`)
  const log = `kafka:${topic}`
  let opened: Opened | undefined
  let last: Promise<unknown> = Promise.resolve()
  let waiting = 0
  let idle: NodeJS.Timeout | undefined

  async function open(): Promise<Opened> {
    const connection = await connectKafka(kafka, { log, topic })
    try {
      const producer = await openProducer(connection, { where: log, transactionalId: undefined })
      return { connection, producer, topic: await connection.topic(topic) }
    } catch (error) {
      await connection[Symbol.asyncDispose]()
      throw error
    }
  }
  async function close(): Promise<void> {
    const unused = opened
    opened = undefined
    await unused?.connection[Symbol.asyncDispose]()
  }

  async function appendNow(record: NewRecord, send: () => void): Promise<Appended> {
    opened ??= await open()
    const { producer, topic: metadata } = opened
    const partition = partitionOfKey(record.key, metadata.partitions.length)
    const leader = metadata.partitions.find((each) => each.partition === partition)?.leader ?? -1
    send()
    try {
      const [appended] = await producer.send([{ topic, partition, leader, records: [record] }])
      return { id: String(appended?.first), partition, duplicate: false }
    } catch (error) {
      await close() // a producer is dead after its first error; the next publish opens another
      throw error
    }
  }

  return {
    name: log,
    honours: [],
    append: (event, { source, signal }) => {
      const record = encodeRecord(event, source)
      return withKnownOutcome(log, { signal, refused: (code) => !UNKNOWN.has(code) }, (send) => {
        waiting++
        clearTimeout(idle)
        const work = last.then(() => appendNow(record, send))
        last = work
          .catch(() => {}) // told to whom it concerns
          .finally(() => {
            waiting--
            if (waiting === 0) idle = setTimeout(() => void close().catch(() => {}), IDLE_MS)
          })
        return work
      })
    },
  }
}

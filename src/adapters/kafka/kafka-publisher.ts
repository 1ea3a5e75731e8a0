import { untilAborted } from '../../core/abort.ts'
import { type Appended, type Appender, withKnownOutcome } from '../../core/appender.ts'
import { OptionError } from '../../core/errors.ts'
import { encodeRecord } from './codec.ts'
import { eventLimit } from './event-limit.ts'
import { checkKafkaClient, type KafkaClient } from './kafka-client.ts'
import { connectKafka } from './kafka-connection.ts'
import { openProducer } from './kafka-producer.ts'
import { type PublishSession, publishQueue } from './publish-queue.ts'

/** Options of `kafkaPublisher`. */
export interface KafkaPublisherOptions {
  /** The topic. It must exist. */
  readonly topic: string
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
 * A Kafka topic that anybody publishes to, each record acknowledged by all replicas in sync; the key, and with it the partition, is the
 * foreignId. The id is the offset. Kafka keeps no keys of what it was given, and compares no offset before it appends: an
 * idempotency key and an expected id are refused. Of each partition one request is under way at a time, and what is published
 * meanwhile goes with the next one, in order; where one is refused, the others of its partition go on in order. The connection is closed 0.5 s after the last publish.
 *
 * @example publisher({ to: kafkaPublisher(new Kafka({ brokers, ...kafkaFailFast }), { topic: 'orders' }), client: 'web-1' })
 */
export function kafkaPublisher(kafka: KafkaClient, { topic }: KafkaPublisherOptions): Appender {
  checkKafkaClient(kafka)
  if (typeof topic !== 'string' || topic === '')
    throw new OptionError(`kafkaPublisher: topic must be the name of a topic, but is ${JSON.stringify(topic)}`)
  const log = `kafka:${topic}`
  let waiting = 0
  let idle: NodeJS.Timeout | undefined

  async function open(signal: AbortSignal): Promise<PublishSession> {
    const connection = await connectKafka(kafka, { log, topic, signal })
    try {
      const producer = await openProducer(connection, { where: log, transactionalId: undefined })
      const { id: topicId, partitions } = await connection.topic(topic)
      const limit = await eventLimit(connection, { where: log, topic })
      const leaders = new Map(partitions.map(({ partition, leader }) => [partition, leader]))
      return {
        partitions: partitions.length,
        send: (partition, records, told) => {
          const leader = leaders.get(partition) ?? -1
          return producer.send([{ topic, topicId, partition, leader, records }], ({ count, first }) =>
            told(count, first),
          )
        },
        explain: (error, record) => limit.explain(error, [{ records: [record] }]),
        [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
      }
    } catch (error) {
      await connection[Symbol.asyncDispose]()
      throw error
    }
  }
  const queue = publishQueue({ open, isUnknown: (code) => UNKNOWN.has(code) })

  return {
    name: log,
    honours: [],
    append: (event, { source, signal }) => {
      const record = encodeRecord(event, source)
      return withKnownOutcome(log, { signal, refused: (code) => !UNKNOWN.has(code) }, (send) => {
        waiting++
        clearTimeout(idle)
        const { promise, resolve, reject } = Promise.withResolvers<Appended>()
        queue.add({ record, send, resolve, reject })
        return untilAborted(promise, signal).finally(() => {
          waiting--
          if (waiting === 0) idle = setTimeout(() => queue.close(), IDLE_MS)
        })
      })
    },
  }
}

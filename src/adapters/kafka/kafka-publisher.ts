import { untilAborted } from '../../core/abort.ts'
import { type Appended, type Appender, withKnownOutcome } from '../../core/appender.ts'
import { codeOf, OptionError } from '../../core/errors.ts'
import { encodeRecord } from './codec.ts'
import { type EventLimit, eventLimit } from './event-limit.ts'
import { checkKafkaClient, type KafkaClient } from './kafka-client.ts'
import { connectKafka, type KafkaConnection } from './kafka-connection.ts'
import { type KafkaProducer, openProducer } from './kafka-producer.ts'
import { partitionOfKey } from './partition-of-key.ts'
import type { TopicMetadata } from './protocol/metadata.ts'
import { type PublishLane, publishLane, type Unpublished } from './publish-lane.ts'

/** Options of `kafkaPublisher`. */
export interface KafkaPublisherOptions {
  /** The topic. It must exist. */
  readonly topic: string
}

/** A connection that is made when it is needed. */
interface Session {
  add(one: Unpublished): void
  close(): Promise<void>
}

interface SessionOptions extends Pick<TopicMetadata, 'partitions'> {
  readonly topicId: Buffer
  readonly producer: KafkaProducer
  readonly limit: EventLimit
  /** The next publish opens another one. */
  forget(): void
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

/** It was refused for the size of a record, and the first that was not appended is that one. */
const TOO_LARGE = new Set(['KAFKA_MESSAGE_TOO_LARGE', 'KAFKA_RECORD_LIST_TOO_LARGE'])

/**
 * A Kafka topic that anybody publishes to, each record acknowledged by all replicas in sync; the key, and with it the partition, is the
 * foreignId. The id is the offset. Kafka keeps no keys of what it was given, and compares no offset before it appends: an
 * idempotency key and an expected id are refused. Of each partition one request is under way at a time, and what is published
 * meanwhile goes with the next one, in order. The connection is closed 0.5 s after the last publish.
 *
 * @example publisher({ to: kafkaPublisher(new Kafka({ brokers, ...kafkaFailFast }), { topic: 'orders' }), client: 'web-1' })
 */
export function kafkaPublisher(kafka: KafkaClient, { topic }: KafkaPublisherOptions): Appender {
  checkKafkaClient(kafka)
  if (typeof topic !== 'string' || topic === '')
    throw new OptionError(`kafkaPublisher: topic must be the name of a topic, but is ${JSON.stringify(topic)}`)
  const log = `kafka:${topic}`
  let session: Promise<Session> | undefined
  let unwanted = new AbortController()
  let waiting = 0
  let idle: NodeJS.Timeout | undefined

  async function open(forget: () => void): Promise<Session> {
    const connection = await connectKafka(kafka, { log, topic, signal: unwanted.signal })
    try {
      const producer = await openProducer(connection, { where: log, transactionalId: undefined })
      const { id: topicId, partitions } = await connection.topic(topic)
      const limit = await eventLimit(connection, { where: log, topic })
      return sessionOf(connection, { producer, topicId, partitions, limit, forget })
    } catch (error) {
      await connection[Symbol.asyncDispose]()
      throw error
    }
  }
  function sessionOf(
    connection: KafkaConnection,
    { producer, topicId, partitions, limit, forget }: SessionOptions,
  ): Session {
    const lanes = new Map<number, PublishLane>()
    let hasFailed = false
    const close = async (): Promise<void> => await connection[Symbol.asyncDispose]()

    /** A producer is dead after its first error: what was not sent goes by another one, unless nobody answers. */
    async function failed(error: unknown, records: readonly Unpublished[]): Promise<void> {
      hasFailed = true
      forget()
      const code = codeOf(error) ?? ''
      const isSize = TOO_LARGE.has(code)
      const [first] = records
      const unsent = [...lanes.values()].flatMap((lane) => lane.takeUnsent())
      for (const one of isSize ? records.slice(1) : []) enqueue(one)
      for (const one of unsent) UNKNOWN.has(code) ? one.reject(error) : enqueue(one)
      for (const one of isSize ? [] : records) one.reject(error)
      if (isSize && first !== undefined) first.reject(await limit.explain(error, [{ records: [first.record] }]))
    }
    function laneOf(partition: number): PublishLane {
      const there = lanes.get(partition)
      if (there !== undefined) return there
      const leader = partitions.find((each) => each.partition === partition)?.leader ?? -1
      const lane = publishLane(partition, {
        send: (records, told) =>
          producer.send([{ topic, topicId, partition, leader, records }], ({ count, first }) => told(count, first)),
        failed,
        idle: () => {
          if (hasFailed && [...lanes.values()].every(({ isBusy }) => !isBusy)) close().catch(() => {})
        },
      })
      lanes.set(partition, lane)
      return lane
    }
    return {
      add: (one) => (hasFailed ? enqueue(one) : laneOf(partitionOfKey(one.record.key, partitions.length)).add(one)),
      close,
    }
  }
  function current(): Promise<Session> {
    if (session !== undefined) return session
    const forget = (): void => {
      if (session === made) session = undefined
    }
    unwanted = new AbortController()
    const made = open(forget)
    made.catch(forget) // told to whom it concerns
    session = made
    return made
  }
  function enqueue(one: Unpublished): void {
    current().then(({ add }) => add(one), one.reject)
  }
  function closeUnused(): void {
    session?.then(({ close }) => close()).catch(() => {})
    session = undefined
    unwanted.abort() // one that is still being made, of a broker that does not answer
  }

  return {
    name: log,
    honours: [],
    append: (event, { source, signal }) => {
      const record = encodeRecord(event, source)
      return withKnownOutcome(log, { signal, refused: (code) => !UNKNOWN.has(code) }, (send) => {
        waiting++
        clearTimeout(idle)
        const { promise, resolve, reject } = Promise.withResolvers<Appended>()
        enqueue({ record, send, resolve, reject })
        return untilAborted(promise, signal).finally(() => {
          waiting--
          if (waiting === 0) idle = setTimeout(closeUnused, IDLE_MS)
        })
      })
    },
  }
}

import { OptionError } from '../../core/errors.ts'
import type { Batch, Cursor } from '../../core/event.ts'
import {
  checkStreamOptions,
  type EventStream,
  eventStream,
  type Source,
  type StreamOptions,
} from '../../core/stream.ts'
import { type DecodeRecord, decodeRecord } from './codec.ts'
import { checkKafkaClient, type KafkaClient } from './kafka-client.ts'
import { parseOffset } from './offset-cursor.ts'
import { partitionBatches } from './partition-batches.ts'
import { openPartition, type PartitionLog, proveOffset } from './partition-log.ts'
import type { KafkaRecord } from './protocol/record-batch.ts'

/** Options of `kafkaPartition`. */
export interface KafkaPartitionOptions {
  /** The topic's name. It must exist. */
  readonly topic: string
  /** The partition's number, from 0 on. */
  readonly partition: number
  /** The source's name in errors, metrics and dedupe keys. Default: `kafka:<topic>/<partition>`. */
  readonly name?: string | undefined
  /** The most events in a batch. Default: 1,000. */
  readonly batchSize?: number | undefined
  /** About the most bytes of a batch, and of what is fetched at once; while that is handled, as much is on its way. Default: 1 MiB. */
  readonly batchBytes?: number | undefined
  /**
   * Makes an event of a record; what it throws ends the stream with a `DecodeError`. Default: what `kafkaSink` writes
   * (docs/wire.md); another record has type 0, its key as foreignId, its value as `metadata`, its timestamp and its headers.
   */
  readonly decode?: DecodeRecord | undefined
}

/**
 * A partition of a Kafka topic as a source, without a consumer group: the cursor is the offset of the last record, and nothing is
 * kept in Kafka. Reads what is committed, up to the last stable offset: events of aborted transactions never come, an open
 * transaction holds back what follows it. Each open stream has connections of its own. Kafka 3.1 or newer, for its topic ids:
 * a topic that was made anew under the same name is an error and not another log. `at` goes by the records' timestamps.
 * The checksum of every batch is checked. gzip, snappy, lz4 and zstd are read: snappy and lz4 with the packages `snappy` 7 and
 * `lz4-napi` 2, which are loaded when the first such batch comes; without them, that is an error with the code `KAFKA_COMPRESSION`.
 *
 * @example kafkaPartition(new Kafka({ brokers, ...kafkaFailFast }), { topic: 'orders', partition: 0 })
 */
export function kafkaPartition(kafka: KafkaClient, options: KafkaPartitionOptions): Source {
  checkKafkaClient(kafka)
  const { topic, partition, batchSize = 1000, batchBytes = 1024 * 1024, decode } = options
  if (typeof topic !== 'string' || topic === '')
    throw new OptionError('kafka: topic must be a string that is not empty')
  const { name: log = `kafka:${topic}/${partition}` } = options
  if (!Number.isInteger(partition) || partition < 0 || partition > 0x7fff_ffff)
    throw new OptionError(`${log}: partition must be an integer from 0 on, but is ${partition}`)
  for (const [option, value] of Object.entries({ batchSize, batchBytes })) {
    if (!Number.isInteger(value) || value < 1 || value > 0x7fff_ffff)
      throw new OptionError(`${log}: ${option} must be a positive 32-bit integer, but is ${value}`)
  }
  const reading =
    decode === undefined
      ? { toEvent: decodeRecord, toEventOfText: decodeRecord }
      : { toEvent: (record: KafkaRecord) => ({ ...decode(record, topic), id: record.offset }) }
  const open = (signal: AbortSignal | undefined): Promise<PartitionLog> =>
    openPartition(kafka, { log, topic, partition, signal })
  /** Opens the partition for one question. */
  const ask = async <T>(signal: AbortSignal | undefined, question: (log: PartitionLog) => Promise<T>): Promise<T> => {
    await using partitionLog = await open(signal)
    return await question(partitionLog)
  }

  async function stream(after: Cursor, options: StreamOptions): Promise<EventStream> {
    checkStreamOptions(log, after, options)
    const { signal, toHead, fromHead, types } = options
    parseOffset(log, after, after.slice(after.lastIndexOf('@') + 1)) // before a connection is made
    const partitionLog = await open(signal)
    const { topicId } = partitionLog
    try {
      const position = parseOffset(log, after, topicId)
      const bounds = await partitionLog.bounds()
      if (position !== undefined) proveOffset(log, position + 1n, bounds)
      const from = fromHead ? bounds.high : position === undefined ? bounds.low : position + 1n
      const batches = partitionBatches(partitionLog, {
        log,
        from,
        proven: position !== undefined || fromHead === true,
        end: toHead ? bounds.high : undefined,
        ...{ ...reading, batchSize, batchBytes, types },
      })
      const whole = fromHead ? pinned(String(from - 1n), batches) : batches
      const close = (): PromiseLike<void> => partitionLog[Symbol.asyncDispose]()
      return eventStream(whole, close, { signal, incarnation: topicId })
    } catch (error) {
      await partitionLog[Symbol.asyncDispose]()
      throw error
    }
  }

  return {
    name: log,
    stream,
    head: ({ signal } = {}) => ask(signal, async (partition) => String((await partition.bounds()).high - 1n)),
    backlog: async (after, { signal } = {}) => {
      parseOffset(log, after, after.slice(after.lastIndexOf('@') + 1))
      return ask(signal, async (partition) => {
        const bounds = await partition.bounds()
        const position = parseOffset(log, after, partition.topicId)
        if (position !== undefined) proveOffset(log, position + 1n, bounds)
        return { count: bounds.high - (position === undefined ? bounds.low : position + 1n), unit: 'positions' }
      })
    },
    at: async (timestamp, { signal } = {}) => {
      if (!Number.isFinite(timestamp))
        throw new OptionError(`${log}: a timestamp must be epoch ms, but is ${timestamp}`)
      if (timestamp < 1) return ''
      const from = Math.min(Math.ceil(timestamp), Number.MAX_SAFE_INTEGER)
      return ask(signal, async (partition) => {
        const { high } = await partition.bounds() // first: what comes in between is not passed over
        return String(((await partition.offsetAt(from)) ?? high) - 1n)
      })
    },
    compare: (a, b) => {
      const [x, y] = [a, b].map((cursor) => parseOffset(log, cursor, cursor.slice(cursor.lastIndexOf('@') + 1)))
      if (x === undefined || y === undefined) return x === y ? 0 : x === undefined ? -1 : 1
      return x < y ? -1 : x > y ? 1 : 0
    },
  }
}

/** The position from which on events come, before them. */
async function* pinned(cursor: Cursor, batches: AsyncIterable<Batch>): AsyncGenerator<Batch> {
  yield { events: [], cursor }
  yield* batches
}

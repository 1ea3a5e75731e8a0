import type { CursorStore } from '../../core/cursor.ts'
import { OptionError } from '../../core/errors.ts'
import type { Ended } from '../../core/run.ts'
import type { Backlog } from '../../core/stream.ts'
import type { KafkaClient } from './kafka-client.ts'
import { connectKafka } from './kafka-connection.ts'
import { type KafkaPartitionOptions, kafkaPartition } from './kafka-partition.ts'
import { parseOffset } from './offset-cursor.ts'
import { proveOffset } from './partition-log.ts'
import { runTopic, type TopicRunOptions, type TopicSpec } from './run-topic.ts'
import { topicBounds } from './topic-bounds.ts'
import { topicCursors } from './topic-cursors.ts'

/** Options of `kafkaTopic`. What is said there of a batch holds for each partition. */
export interface KafkaTopicOptions extends Omit<KafkaPartitionOptions, 'partition' | 'name'> {
  /** The topic's name in errors, and that of its partitions with their number behind it. Default: `kafka:<topic>`. */
  readonly name?: string | undefined
}

/** A topic of Kafka, of which all partitions are consumed. */
export interface KafkaTopic {
  readonly name: string
  /**
   * Runs one consumer for each partition, and starts each one again after a failure, as `supervise` does, while the others go
   * on. The cursor of a partition is kept under the name `<consumer>/<topic>/<partition>`. A partition that is added to the topic
   * is read from its earliest, `fromHead` or not, within `partitionsEveryMs` and the time that the brokers take to hear of it.
   * With `fromHead`, the head or that earliest is stored before a partition is read; a reset to `""` is the earliest then as well,
   * but for partition 0, and those above it up to the first with a cursor: these start at the head.
   *
   * A partition that has failed for good (a trimmed, ahead or invalid cursor, a record that cannot be decoded) is told to the
   * observer of the topic, and is read again as soon as its cursor has been reset to another one; meanwhile the others go on.
   *
   * Resolves when all partitions have reached what was the head as they were opened (`toHead`), or after the abort. Rejects, with the
   * code of what went wrong, when all that is left has ended and some partitions have failed for good; at once if all of them
   * have, if another runner of the same name is at work (`ANOTHER_RUNNER`), and if the topic was deleted and made anew: also
   * where a cursor is found that was saved for the earlier one.
   */
  run(spec: TopicSpec, options?: TopicRunOptions): Promise<Ended>
  /** How many positions follow the cursors of a consumer, over all partitions. Rejects where a cursor cannot be honoured. */
  backlog(
    of: {
      readonly cursors: CursorStore
      /** The consumer's name. */
      readonly consumer: string
    },
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<Backlog>
}

/**
 * All partitions of a Kafka topic, each consumed as `kafkaPartition` says, with connections of its own and no consumer group.
 * Order is kept within a partition; consumers of different partitions are at work at the same time. One process consumes the
 * whole topic under one name. Each partition holds up to two batches in memory: give many of them a smaller `batchBytes`.
 *
 * @example
 * const orders = kafkaTopic(new Kafka({ brokers, ...kafkaFailFast }), { topic: 'orders' })
 * await orders.run({ cursors, consumer: (partition) => ({ name: 'mailer', handle: (event) => send(event) }) }, { signal })
 */
export function kafkaTopic(kafka: KafkaClient, { name, ...options }: KafkaTopicOptions): KafkaTopic {
  const { topic } = options
  const log = name ?? `kafka:${topic}`
  const partitionOf = (partition: number): ReturnType<typeof kafkaPartition> =>
    kafkaPartition(kafka, { ...options, partition, name: `${log}/${partition}` })
  partitionOf(0) // checks the client and the options
  const connect = (signal: AbortSignal | undefined): ReturnType<typeof connectKafka> =>
    connectKafka(kafka, { log, topic, signal })
  return {
    name: log,
    run: (spec, options = {}) => runTopic({ log, topic, connect, partitionOf }, spec, options),
    backlog: async ({ cursors, consumer }, { signal } = {}) => {
      if (typeof consumer !== 'string' || consumer === '')
        throw new OptionError(
          `${log}: consumer must be the name of one, a string that is not empty, but is ${JSON.stringify(consumer)}`,
        )
      await using connection = await connect(signal)
      const { topicId, partitions } = await topicBounds(connection, { log, topic })
      const of = topicCursors({ log, topic, cursors, consumer })
      const stored = await of.all({ id: topicId, partitions: partitions.length, signal })
      let count = 0n
      for (const [partition, bounds] of partitions.entries()) {
        const position = parseOffset(`${log}/${partition}`, stored[partition] ?? '', topicId)
        if (position !== undefined) proveOffset(`${log}/${partition}`, position + 1n, bounds)
        count += bounds.high - (position === undefined ? bounds.low : position + 1n)
      }
      return { count, unit: 'positions' }
    },
  }
}

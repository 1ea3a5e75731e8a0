import { codeOf, ReflexError } from '../../core/errors.ts'
import { createTopic, replication, topicOnceThere } from './create-topic.ts'
import type { KafkaConnection } from './kafka-connection.ts'
import { partitionOf } from './partition-log.ts'
import type { PartitionMetadata, TopicMetadata } from './protocol/metadata.ts'
import { recordsBackwards, type TailLog } from './read-tail.ts'
import { parseCheckpoint, type StoredCheckpoint } from './route-checkpoint.ts'

/** The topic with the checkpoints of all routes. */
export interface CheckpointTopic {
  readonly topicId: Buffer
  /** The node id of the leader of its one partition. */
  readonly leader: number
  /** That partition, to be read without regard to open transactions. */
  readonly tail: TailLog
  /**
   * The checkpoints under `key`, the newest first, as far back as they are there. `where` names the route in errors, `only` is its
   * topic if it has one.
   */
  history(
    where: string,
    options: { readonly key: Buffer; readonly only: string | undefined },
  ): AsyncGenerator<StoredCheckpoint>
}

/** Older records are kept for an hour: they tell where to go on if a partition loses its tail (docs/adr/0007). */
const config: Readonly<Record<string, string>> = {
  'cleanup.policy': 'compact',
  'min.compaction.lag.ms': '3600000',
  'segment.bytes': '16777216',
}

/** Opens the topic of checkpoints; makes it if there is none. `log` names the destination in errors. */
export async function openCheckpoints(
  connection: KafkaConnection,
  { log, topic }: { log: string; topic: string },
): Promise<CheckpointTopic> {
  const { id, partitions } = await findOrCreate(connection, { log, topic })
  const { leader, leaderEpoch } = partitions.find(({ partition }) => partition === 0) as PartitionMetadata
  const name = `kafka:${topic}`
  const tail = await partitionOf(connection, { log: name, topic, partition: 0, isolation: 'all' })
  return {
    topicId: id,
    leader,
    tail,
    history: async function* (where, { key, only }) {
      let followed = false
      const producers = new Set<bigint>()
      for await (const { record, committed, ...batch } of recordsBackwards(name, tail, await tail.bounds())) {
        if (!record.key?.equals(key)) continue
        producers.add(batch.producerId)
        if (!committed) {
          followed = true
          continue
        }
        if (record.value === null) return // a tombstone: what is before it is not meant to be there, compacted or not yet
        const isPresent = batch.leaderEpoch === leaderEpoch
        const how = { isPresent, isLast: isPresent && !followed, producers: new Set(producers) }
        yield { ...parseCheckpoint(where, record.value.toString(), only), ...how }
        followed = true
      }
    },
  }
}

async function findOrCreate(
  connection: KafkaConnection,
  { log, topic }: { log: string; topic: string },
): Promise<TopicMetadata> {
  try {
    return await connection.topic(topic)
  } catch (error) {
    if (codeOf(error) !== 'KAFKA_UNKNOWN_TOPIC_OR_PARTITION') throw error
  }
  try {
    await createTopic(connection, { topic, partitions: 1, config })
  } catch (cause) {
    const { replicationFactor, safe } = replication(connection)
    const how = Object.entries({ ...safe, ...config }).map(([name, value]) => `--config ${name}=${value}`)
    throw new ReflexError(
      codeOf(cause) ?? 'KAFKA_CONNECTION',
      `${log}: the topic of checkpoints ${topic} is not there and could not be created; create it: kafka-topics.sh --create --topic ${topic} --partitions 1 --replication-factor ${replicationFactor} ${how.join(' ')}`,
      { cause },
    )
  }
  return topicOnceThere(connection, topic)
}

import { systemClock } from '../../core/clock.ts'
import { codeOf } from '../../core/errors.ts'
import type { KafkaConnection } from './kafka-connection.ts'
import type { TopicMetadata } from './protocol/metadata.ts'

const WITHIN_MS = 4000
/** The broker's `num.partitions` and `default.replication.factor`. */
const BY_DEFAULT = -1

/** What is created. */
export interface NewTopic {
  readonly topic: string
  /** Default: the broker's `num.partitions`. */
  readonly partitions?: number
  /** Settings of the topic, such as `cleanup.policy`. Default: the broker's. */
  readonly config?: Readonly<Record<string, string>>
}

/** Creates a topic, with as many replicas as the broker gives by default. One that is there already stays as it is. */
export async function createTopic(
  connection: KafkaConnection,
  { topic, partitions = BY_DEFAULT, config = {} }: NewTopic,
): Promise<void> {
  const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }))
  const controller = await connection.controller()
  try {
    await controller.call((broker) =>
      broker.createTopics({
        topics: [
          { topic, numPartitions: partitions, replicationFactor: BY_DEFAULT, replicaAssignment: [], configEntries },
        ],
        validateOnly: false,
        timeout: WITHIN_MS,
      }),
    )
  } catch (error) {
    if (codeOf(error) !== 'KAFKA_TOPIC_ALREADY_EXISTS') throw error
  }
}

/** A topic that has just been created, as soon as it has leaders. */
export async function topicOnceThere(connection: KafkaConnection, topic: string): Promise<TopicMetadata> {
  for (const until = Date.now() + WITHIN_MS; ; await systemClock.sleep(20)) {
    try {
      return await connection.topic(topic)
    } catch (error) {
      const soon = ['KAFKA_UNKNOWN_TOPIC_OR_PARTITION', 'KAFKA_LEADER_NOT_AVAILABLE'].includes(codeOf(error) ?? '')
      if (!soon || Date.now() > until) throw error
    }
  }
}

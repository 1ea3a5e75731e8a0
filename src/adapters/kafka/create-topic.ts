import { systemClock } from '../../core/clock.ts'
import { codeOf } from '../../core/errors.ts'
import type { KafkaConnection } from './kafka-connection.ts'
import type { TopicMetadata } from './protocol/metadata.ts'

const WITHIN_MS = 4000
/** The broker's `num.partitions`. */
const BY_DEFAULT = -1
/** With these, and two that must be in sync, a broker may fail without that anything is lost or refused; with two, nothing is lost. */
const REPLICAS = 3
/** ListOffsets' name for the end of a log. */
const LATEST = -1

/** What is created. */
export interface NewTopic {
  readonly topic: string
  /** Default: the broker's `num.partitions`. */
  readonly partitions?: number | undefined
  /** Settings of the topic, such as `cleanup.policy`. Default: the broker's, but for those that keep what was acknowledged. */
  readonly config: Readonly<Record<string, string>>
}

/** Creates a topic with three replicas, or with as many as there are brokers; two of them must be in sync. One that is there already stays as it is. */
export async function createTopic(
  connection: KafkaConnection,
  { topic, partitions = BY_DEFAULT, config }: NewTopic,
): Promise<void> {
  const { replicationFactor, safe } = replication(connection)
  const configEntries = Object.entries({ ...safe, ...config }).map(([name, value]) => ({ name, value }))
  const controller = await connection.controller()
  try {
    await controller.call((broker) =>
      broker.createTopics({
        topics: [{ topic, numPartitions: partitions, replicationFactor, replicaAssignment: [], configEntries }],
        validateOnly: false,
        timeout: WITHIN_MS,
      }),
    )
  } catch (error) {
    if (codeOf(error) !== 'KAFKA_TOPIC_ALREADY_EXISTS') throw error
  }
}

/** How many copies a new topic gets, and the settings that keep what they have acknowledged. */
export function replication(connection: Pick<KafkaConnection, 'brokers'>): {
  readonly replicationFactor: number
  readonly safe: Readonly<Record<string, string>>
} {
  const replicationFactor = Math.min(REPLICAS, connection.brokers())
  const insync = replicationFactor > 1 ? { 'min.insync.replicas': '2' } : {}
  return { replicationFactor, safe: { 'unclean.leader.election.enable': 'false', ...insync } }
}

const soonThere = new Set([
  'KAFKA_UNKNOWN_TOPIC_OR_PARTITION',
  'KAFKA_LEADER_NOT_AVAILABLE',
  'KAFKA_NOT_LEADER_FOR_PARTITION',
])

/** A topic that has just been created, as soon as its leaders lead: brokers tell who they are before they do. */
export async function topicOnceThere(connection: KafkaConnection, topic: string): Promise<TopicMetadata> {
  for (const until = performance.now() + WITHIN_MS; ; await systemClock.sleep(20)) {
    try {
      const found = await connection.topic(topic)
      for (const [leader, led] of Map.groupBy(found.partitions, (each) => each.leader)) {
        const partitions = led.map(({ partition }) => ({ partition, timestamp: LATEST }))
        const broker = await connection.broker(leader)
        const asked = { replicaId: -1, isolationLevel: 0, topics: [{ topic, partitions }] }
        await broker.call((one) => one.listOffsets(asked))
      }
      return found
    } catch (error) {
      if (!soonThere.has(codeOf(error) ?? '') || performance.now() > until) throw error
    }
  }
}

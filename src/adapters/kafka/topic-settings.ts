import { codeOf } from '../../core/errors.ts'
import type { KafkaBroker } from './kafka-connection.ts'

/** Settings of a topic by their names; one that is not its own is the broker's default. */
export type TopicSettings = Readonly<Record<string, string>>

/** kafkajs's `ConfigResourceTypes.TOPIC`. */
const TOPIC = 2

const names = [
  ...['cleanup.policy', 'max.message.bytes', 'min.insync.replicas', 'retention.bytes', 'retention.ms'],
  ...['segment.bytes', 'unclean.leader.election.enable'],
] as const

/** What is set of a topic, as far as it matters to a sink and is told. Undefined where the user's ACLs do not permit DescribeConfigs. */
export async function topicSettings(broker: KafkaBroker, topic: string): Promise<TopicSettings | undefined> {
  try {
    const { resources } = await broker.call((one) =>
      one.describeConfigs({ resources: [{ type: TOPIC, name: topic, configNames: names }], includeSynonyms: false }),
    )
    const entries = resources.flatMap(({ configEntries }) => configEntries)
    return Object.fromEntries(
      entries.flatMap(({ configName, configValue }) => (configValue === null ? [] : [[configName, configValue]])),
    )
  } catch (error) {
    if (codeOf(error) === 'KAFKA_TOPIC_AUTHORIZATION_FAILED') return undefined
    throw error
  }
}

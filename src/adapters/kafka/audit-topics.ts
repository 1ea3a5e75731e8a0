import { codeOf } from '../../core/errors.ts'
import type { KafkaConnection } from './kafka-connection.ts'
import { type RiskyTopic, topicRisks } from './topic-risks.ts'
import { topicSettings } from './topic-settings.ts'

/** A topic of a sink. */
export type AuditedTopic = Pick<RiskyTopic, 'topic' | 'holds'>

/**
 * What of the topics can lose what they have acknowledged; `note` is told what could not be looked at. A topic of checkpoints that
 * is not there has no risks yet; throws if one of events is not.
 */
export async function auditTopics(
  connection: KafkaConnection,
  topics: readonly AuditedTopic[],
  note: (text: string) => void,
): Promise<string[]> {
  const brokers = connection.brokers()
  const risks = topics.map(async ({ topic, holds }): Promise<string[]> => {
    try {
      const { partitions } = await connection.topic(topic)
      const replicas = Math.min(...partitions.map((each) => each.replicas))
      const settings = await topicSettings(await connection.anyBroker(), topic)
      if (settings === undefined)
        note(
          `the settings of the topic ${topic} are not known, since the user's ACLs do not permit DescribeConfigs on it; grant that, so that risks are seen, and events that are too large are refused before they are sent`,
        )
      return topicRisks({ topic, holds, replicas, brokers, settings })
    } catch (error) {
      if (holds === 'events' || codeOf(error) !== 'KAFKA_UNKNOWN_TOPIC_OR_PARTITION') throw error
      return []
    }
  })
  return (await Promise.all(risks)).flat()
}

import type { Source } from '../../core/stream.ts'
import type { KafkaClient } from './kafka-client.ts'
import { connectKafka } from './kafka-connection.ts'
import { kafkaPartition } from './kafka-partition.ts'

/** What the partitions of a topic that are read at the same time have in memory together, in bytes, as long as they are not too many. */
const ALL_BYTES = 16 * 1024 * 1024
const LEAST_BYTES = 64 * 1024
const MOST_BYTES = 1024 * 1024

/** The partitions that a topic has now as sources, to be read side by side. Rejects if there is no such topic. */
export async function topicSources(
  kafka: KafkaClient,
  { topic, signal }: { readonly topic: string; readonly signal?: AbortSignal | undefined },
): Promise<Source[]> {
  await using connection = await connectKafka(kafka, { log: `kafka:${topic}`, topic, signal })
  const { partitions } = await connection.topic(topic)
  const share = Math.floor(ALL_BYTES / Math.max(1, partitions.length))
  const batchBytes = Math.min(MOST_BYTES, Math.max(LEAST_BYTES, share))
  return partitions.map(({ partition }) => kafkaPartition(kafka, { topic, partition, batchBytes }))
}

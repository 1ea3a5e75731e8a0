import { ReflexError } from '../../core/errors.ts'
import type { KafkaConnection } from './kafka-connection.ts'
import type { PartitionBounds } from './partition-log.ts'
import { type Isolation, isolationLevels } from './protocol/fetch.ts'

const EARLIEST = -2
const LATEST = -1

/** The partitions of a topic that are there now. */
export interface TopicBounds {
  /** The topic's id, as Kafka's tools print it. */
  readonly topicId: string
  /** Where each partition begins and ends, by its number; it ends at the last stable offset, or the high watermark. */
  readonly partitions: readonly PartitionBounds[]
}

/** Where all partitions of a topic begin and end: two requests for each broker that leads some. Throws if one has no leader. */
export async function topicBounds(
  connection: KafkaConnection,
  { log, topic, isolation = 'committed' }: { log: string; topic: string; isolation?: Isolation },
): Promise<TopicBounds> {
  const { id, partitions } = await connection.topic(topic)
  const low = new Map<number, bigint>()
  const high = new Map<number, bigint>()
  for (const [leader, led] of Map.groupBy(partitions, ({ leader }) => leader)) {
    const broker = await connection.broker(leader)
    for (const [timestamp, found] of [
      [EARLIEST, low],
      [LATEST, high],
    ] as const) {
      const { responses } = await broker.call((kafkajs) =>
        kafkajs.listOffsets({
          replicaId: -1,
          isolationLevel: isolationLevels[isolation],
          topics: [{ topic, partitions: led.map(({ partition }) => ({ partition, timestamp })) }],
        }),
      )
      for (const each of responses[0]?.partitions ?? []) found.set(each.partition, BigInt(each.offset))
    }
  }
  const of = (found: ReadonlyMap<number, bigint>, partition: number): bigint => {
    const offset = found.get(partition)
    if (offset === undefined)
      throw new ReflexError('KAFKA_CONTRACT', `${log}: the broker did not tell the ends of partition ${partition}`)
    return offset
  }
  return {
    topicId: id.toString('base64url'),
    partitions: partitions.map((_, partition) => {
      const ends = { low: of(low, partition), high: of(high, partition) }
      if (ends.high < ends.low) return { ...ends, high: ends.low } // an open transaction may have begun in what was trimmed
      return ends
    }),
  }
}

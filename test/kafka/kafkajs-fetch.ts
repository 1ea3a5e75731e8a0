import type { Kafka } from 'kafkajs'
import { onTestFinished } from 'vitest'
import { testClient } from './fixture.ts'

/** A message as kafkajs's own fetch gives it. */
export interface KafkajsMessage {
  readonly offset: string
  readonly timestamp: string
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Readonly<Record<string, Buffer | readonly Buffer[]>>
  readonly isControlRecord?: boolean
  readonly batchContext: {
    readonly firstOffset: string
    readonly lastOffsetDelta: number
    readonly timestampType: number
  }
}

/** What kafkajs's own fetch gives of a partition. */
export interface KafkajsFetched {
  readonly lastStableOffset: string
  readonly abortedTransactions: readonly { readonly producerId: string; readonly firstOffset: string }[]
  readonly messages: readonly KafkajsMessage[]
}

/** kafkajs's cluster, as it hands it to an assigner of partitions, and its fetch of partition 0. */
export interface KafkajsPartition {
  /** The versions of each request that the broker takes, by the request's number. */
  readonly versions: Readonly<Record<number, { readonly minVersion: number; readonly maxVersion: number }>>
  /** From an offset on; `maxBytes` is 1 MiB by default. */
  fetch(offset: number | bigint, maxBytes?: number): Promise<KafkajsFetched>
}

interface KafkajsCluster {
  connect(): Promise<void>
  disconnect(): Promise<void>
  addTargetTopic(topic: string): Promise<void>
  findLeaderForPartitions(topic: string, partitions: readonly number[]): Readonly<Record<string, readonly number[]>>
  findBroker(o: { nodeId: string }): Promise<{
    readonly versions: KafkajsPartition['versions']
    fetch(o: object): Promise<{ responses: { partitions: KafkajsFetched[] }[] }>
  }>
}

/** The client as it is, without a group: what it makes of a partition's log. It is disconnected with the test. */
export async function kafkajsPartition(topic: string, kafka: Kafka = testClient()): Promise<KafkajsPartition> {
  const found = Promise.withResolvers<KafkajsCluster>()
  kafka.consumer({
    groupId: 'none',
    partitionAssigners: [
      (context) => {
        found.resolve((context as unknown as { cluster: KafkajsCluster }).cluster)
        return {} as never
      },
    ],
  })
  const cluster = await found.promise
  await cluster.connect()
  onTestFinished(() => cluster.disconnect())
  await cluster.addTargetTopic(topic)
  const [leader = ''] = Object.keys(cluster.findLeaderForPartitions(topic, [0]))
  const broker = await cluster.findBroker({ nodeId: leader })
  return {
    versions: broker.versions,
    fetch: async (offset, maxBytes = 1024 * 1024) => {
      const partitions = [{ partition: 0, fetchOffset: String(offset), maxBytes }]
      const wait = { maxWaitTime: 100, minBytes: 1, maxBytes, isolationLevel: 1 }
      const { responses } = await broker.fetch({ ...wait, topics: [{ topic, partitions }] })
      return responses[0]?.partitions[0] as KafkajsFetched
    },
  }
}

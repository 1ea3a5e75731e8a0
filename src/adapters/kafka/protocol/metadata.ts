import { reader } from './reader.ts'
import { type KafkaRequest, kafkaRequest } from './request.ts'
import { writer } from './writer.ts'

/** A topic, as a broker knows it at the moment. */
export interface TopicMetadata {
  /** 0, or the error's code. */
  readonly errorCode: number
  /** The topic's id, 16 bytes: another one under the same name is another topic. */
  readonly id: Buffer
  readonly partitions: readonly PartitionMetadata[]
}

/** Where a partition is. */
export interface PartitionMetadata {
  readonly errorCode: number
  readonly partition: number
  /** The node id of its leader; -1 if it has none. */
  readonly leader: number
  /** It rises with each election: without one, nothing that was acknowledged is lost. */
  readonly leaderEpoch: number
  /** How many brokers have a copy of it, in sync or not. */
  readonly replicas: number
}

/** A cluster, as a broker knows it at the moment. */
export interface ClusterMetadata {
  readonly controllerId: number
  readonly brokers: readonly {
    readonly nodeId: number
    readonly host: string
    readonly port: number
    readonly rack: string | undefined
  }[]
  /** The topic that was asked for. */
  readonly topic: TopicMetadata | undefined
}

const version = { apiKey: 3, apiVersion: 12 } as const
const NO_ID = Buffer.alloc(16)

/** Asks for one topic by its name (Metadata 12, the first with topic ids of Kafka 3.1). Does not create it. */
export function metadataRequest(topic: string): KafkaRequest<TopicMetadata> {
  return kafkaRequest('Metadata', version, body(topic), (reply) => {
    const { topic } = decode(reply)
    if (topic === undefined) throw new RangeError('a reply to Metadata without the topic that was asked for')
    return topic
  })
}

/** Asks for the brokers, and for one topic if it has a name. */
export function clusterRequest(topic: string | undefined): KafkaRequest<ClusterMetadata> {
  return kafkaRequest('Metadata', version, body(topic), decode)
}

function body(topic: string | undefined): Buffer {
  const request = writer()
    .noTags()
    .compactLength(topic === undefined ? 0 : 1)
  if (topic !== undefined) request.uuid(NO_ID).compactString(topic).noTags()
  return request
    .int8(0) // allow_auto_topic_creation
    .int8(0) // include_topic_authorized_operations
    .noTags()
    .done()
}

function decode(reply: Buffer): ClusterMetadata {
  const from = reader(reply)
  from.tags()
  from.int32() // throttle_time_ms
  const brokers = from.compactArray(() => {
    const broker = {
      nodeId: from.int32(),
      host: from.compactString() ?? '',
      port: from.int32(),
      rack: from.compactString(),
    }
    from.tags()
    return broker
  })
  from.compactString() // cluster_id
  const controllerId = from.int32()
  const [topic] = from.compactArray(() => {
    const errorCode = from.int16()
    from.compactString() // name
    const id = from.uuid()
    from.int8() // is_internal
    const partitions = from.compactArray(() => {
      const partition = {
        errorCode: from.int16(),
        partition: from.int32(),
        leader: from.int32(),
        leaderEpoch: from.int32(),
        replicas: from.compactArray(() => from.int32()).length,
      }
      for (let nodes = 0; nodes < 2; nodes++) from.compactArray(() => from.int32()) // isr, offline
      from.tags()
      return partition
    })
    from.int32() // topic_authorized_operations
    from.tags()
    return { errorCode, id, partitions }
  })
  return { controllerId, brokers, topic }
}

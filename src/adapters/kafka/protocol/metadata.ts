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
}

const version = { apiKey: 3, apiVersion: 12 } as const
const NO_ID = Buffer.alloc(16)

/** Asks for one topic by its name (Metadata 12, the first with topic ids of Kafka 3.1). Does not create it. */
export function metadataRequest(topic: string): KafkaRequest<TopicMetadata> {
  const body = writer()
    .noTags()
    .compactLength(1)
    .uuid(NO_ID)
    .compactString(topic)
    .noTags()
    .int8(0) // allow_auto_topic_creation
    .int8(0) // include_topic_authorized_operations
    .noTags()
    .done()
  return kafkaRequest('Metadata', version, body, decode)
}

function decode(reply: Buffer): TopicMetadata {
  const from = reader(reply)
  from.tags()
  from.int32() // throttle_time_ms
  from.compactArray(() => {
    from.int32() // node_id
    from.compactString() // host
    from.int32() // port
    from.compactString() // rack
    from.tags()
  })
  from.compactString() // cluster_id
  from.int32() // controller_id
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
      }
      for (let nodes = 0; nodes < 3; nodes++) from.compactArray(() => from.int32()) // replicas, isr, offline
      from.tags()
      return partition
    })
    from.int32() // topic_authorized_operations
    from.tags()
    return { errorCode, id, partitions }
  })
  if (topic === undefined) throw new RangeError('a reply to Metadata without the topic that was asked for')
  return topic
}

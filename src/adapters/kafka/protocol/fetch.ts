import { reader } from './reader.ts'
import { type RecordBatch, readRecordBatches } from './record-batch.ts'
import { type KafkaRequest, kafkaRequest } from './request.ts'
import { writer } from './writer.ts'

/** What is asked for. */
export interface FetchOptions {
  readonly topicId: Buffer
  readonly partition: number
  /** The position to read from. A batch that contains it comes as a whole. */
  readonly offset: bigint
  /** The leader epoch of the batch before: if the leader's log differs from it, it says so (KIP-595). -1 if unknown. */
  readonly lastEpoch: number
  /** About the most bytes; the first batch comes whatever its size. */
  readonly maxBytes: number
  /** How long the broker waits for data, in ms. */
  readonly maxWaitMs: number
  /** Up to where: `committed` is up to the last stable offset, `all` takes open and aborted transactions in. */
  readonly isolation: Isolation
}

/** Which records are seen. */
export type Isolation = 'committed' | 'all'

/** The isolation levels of Kafka's protocol. */
export const isolationLevels: Readonly<Record<Isolation, number>> = { all: 0, committed: 1 }

/** What a partition's leader replied. */
export interface Fetched {
  /** 0, or the error's code. */
  readonly errorCode: number
  readonly throttleMs: number
  /** The position after the last record that is committed and not of an open transaction. */
  readonly lastStableOffset: bigint
  /** The position of the earliest record. */
  readonly logStartOffset: bigint
  /** Aborted transactions that overlap with what was fetched. */
  readonly aborted: readonly { readonly producerId: bigint; readonly firstOffset: bigint }[]
  /** Where the leader's log has left the one that was read: records after it have been lost. */
  readonly divergingEnd: bigint | undefined
  readonly batches: readonly RecordBatch[]
}

const version = { apiKey: 1, apiVersion: 13 } as const

/** Asks for records of one partition, by topic id (Fetch 13, KIP-516), without a session and without a group. */
export function fetchRequest(o: FetchOptions): KafkaRequest<Fetched> {
  const body = writer()
    .noTags()
    .int32(-1) // replica_id
    .int32(o.maxWaitMs)
    .int32(1) // min_bytes
    .int32(o.maxBytes)
    .int8(isolationLevels[o.isolation])
    .int32(0) // session_id
    .int32(-1) // session_epoch
    .compactLength(1)
    .uuid(o.topicId)
    .compactLength(1)
    .int32(o.partition)
    .int32(-1) // current_leader_epoch
    .int64(o.offset)
    .int32(o.lastEpoch)
    .int64(-1n) // log_start_offset
    .int32(o.maxBytes)
    .noTags()
    .noTags()
    .compactLength(0) // forgotten_topics_data
    .compactString('') // rack_id
    .noTags()
    .done()
  return kafkaRequest('Fetch', version, body, decodeReady)
}

/** Its batches can be unpacked. */
async function decodeReady(reply: Buffer): Promise<Fetched> {
  const fetched = decode(reply)
  for (const { ready } of fetched.batches) if (ready !== undefined) await ready
  return fetched
}

const DIVERGING_EPOCH = 0

function decode(reply: Buffer): Fetched {
  const from = reader(reply)
  from.tags()
  const throttleMs = from.int32()
  const wholeError = from.int16()
  from.int32() // session_id
  const [partition] = from
    .compactArray(() => {
      from.uuid()
      const partitions = from.compactArray(() => {
        from.int32() // partition_index
        const errorCode = from.int16()
        from.int64() // high_watermark
        const lastStableOffset = from.int64()
        const logStartOffset = from.int64()
        const aborted = from.compactArray(() => {
          const transaction = { producerId: from.int64(), firstOffset: from.int64() }
          from.tags()
          return transaction
        })
        from.int32() // preferred_read_replica
        const batches = readRecordBatches(from.bytes(Math.max(0, from.uvarint() - 1)))
        let divergingEnd: bigint | undefined
        from.tags((tag) => {
          if (tag !== DIVERGING_EPOCH) return
          from.int32() // epoch
          divergingEnd = from.int64()
        })
        return { errorCode, throttleMs, lastStableOffset, logStartOffset, aborted, divergingEnd, batches }
      })
      from.tags()
      return partitions
    })
    .flat()
  if (partition !== undefined && wholeError === 0) return partition
  return {
    errorCode: wholeError,
    throttleMs, // a reply that was held back names no partition
    lastStableOffset: -1n,
    logStartOffset: -1n,
    aborted: [],
    divergingEnd: undefined,
    batches: [],
  }
}

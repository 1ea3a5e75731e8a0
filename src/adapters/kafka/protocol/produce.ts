import { type BatchProducer, type NewRecord, sizeOfBatch, writeRecordBatch } from './new-record-batch.ts'
import { reader } from './reader.ts'
import { type KafkaRequest, kafkaRequest } from './request.ts'
import { writer } from './writer.ts'

/** What is appended. */
export interface ProduceOptions {
  /** Null: not in a transaction. */
  readonly transactionalId: string | null
  readonly producerId: bigint
  readonly producerEpoch: number
  /** How long the broker waits for the replicas, in ms. */
  readonly timeoutMs: number
  readonly partitions: readonly NewPartitionRecords[]
}

/** Records for one partition. */
export interface NewPartitionRecords {
  readonly topic: string
  readonly topicId: Buffer
  readonly partition: number
  readonly records: readonly NewRecord[]
  readonly sequence: number
}

/** What became of all of them. */
export interface ProduceReply {
  /** For so long the broker reads nothing more from this connection, since a quota is used up (KIP-219). */
  readonly throttleMs: number
  readonly produced: readonly Produced[]
}

/** What became of the records for one partition. */
interface Produced {
  readonly topic: string
  readonly partition: number
  /** 0, or the error's code. */
  readonly errorCode: number
  /** The broker's words; mostly there are none. */
  readonly message: string | undefined
  /** The offset of the first record. */
  readonly baseOffset: bigint
}

const version = { apiKey: 0, apiVersion: 8 } as const
/** Produce 13 (KIP-516), which brokers know from Kafka 4.1 on. */
export const produceById = { apiKey: 0, apiVersion: 13 } as const
const ALL_IN_SYNC = -1

/** Appends records to all replicas in sync (Produce 8, with the time of now). */
export function produceRequest(o: ProduceOptions): KafkaRequest<ProduceReply> {
  const body = writer().string(o.transactionalId).int16(ALL_IN_SYNC).int32(o.timeoutMs).int32(o.partitions.length)
  const now = Date.now()
  for (const each of o.partitions) {
    body.string(each.topic).int32(1).int32(each.partition)
    body.bytesInPlace(sizeOfBatch(each.records), (buffer, at) => writeBatch(o, each, now, buffer, at))
  }
  return kafkaRequest('Produce', version, body.done(), decode)
}

/** The same without a transaction, and only to the very topics that are meant: others of their names are refused (Produce 13). */
export function produceByIdRequest(o: Omit<ProduceOptions, 'transactionalId'>): KafkaRequest<ProduceReply> {
  const body = writer()
    .noTags()
    .compactLength(-1) // transactional_id
    .int16(ALL_IN_SYNC)
    .int32(o.timeoutMs)
    .compactLength(o.partitions.length)
  const topics = new Map<string, string>()
  const now = Date.now()
  for (const each of o.partitions) {
    topics.set(each.topicId.toString('hex'), each.topic)
    const buffer = Buffer.allocUnsafe(sizeOfBatch(each.records))
    const batch = buffer.subarray(0, writeBatch({ ...o, transactionalId: null }, each, now, buffer, 0))
    body.uuid(each.topicId).compactLength(1).int32(each.partition)
    body.compactLength(batch.length).bytes(batch).noTags().noTags()
  }
  return kafkaRequest('Produce', produceById, body.noTags().done(), (reply) => decodeById(reply, topics))
}

/** Returns where it ends. */
function writeBatch(
  { producerId, producerEpoch, transactionalId }: ProduceOptions,
  { records, sequence }: NewPartitionRecords,
  now: number,
  buffer: Buffer,
  at: number,
): number {
  const producer: BatchProducer = { producerId, producerEpoch, transactional: transactionalId !== null, sequence }
  return writeRecordBatch(buffer, at, records, producer, now)
}

function decode(reply: Buffer): ProduceReply {
  const from = reader(reply)
  const produced = from
    .array(() => {
      const topic = from.string() ?? ''
      return from.array(() => {
        const [partition, errorCode, baseOffset] = [from.int32(), from.int16(), from.int64()]
        from.int64() // log_append_time_ms
        from.int64() // log_start_offset
        from.array(() => [from.int32(), from.string()]) // record_errors
        return { topic, partition, errorCode, message: from.string(), baseOffset }
      })
    })
    .flat()
  return { produced, throttleMs: from.int32() }
}

function decodeById(reply: Buffer, topics: ReadonlyMap<string, string>): ProduceReply {
  const from = reader(reply)
  from.tags()
  const produced = from
    .compactArray(() => {
      const topic = topics.get(from.uuid().toString('hex')) ?? ''
      const partitions = from.compactArray(() => {
        const [partition, errorCode, baseOffset] = [from.int32(), from.int16(), from.int64()]
        from.int64() // log_append_time_ms
        from.int64() // log_start_offset
        from.compactArray(() => {
          from.int32()
          from.compactString()
          from.tags()
        }) // record_errors
        const message = from.compactString()
        from.tags()
        return { topic, partition, errorCode, message, baseOffset }
      })
      from.tags()
      return partitions
    })
    .flat()
  return { produced, throttleMs: from.int32() }
}

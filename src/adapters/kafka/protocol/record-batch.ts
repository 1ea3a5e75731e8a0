import { isUtf8 } from 'node:buffer'
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { ReflexError } from '../../../core/errors.ts'

/** A record of a partition. */
export interface KafkaRecord {
  /** Its offset, in decimal. */
  readonly offset: string
  /** Epoch in ms: of its creation, or of its append if the topic says so. */
  readonly timestamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  /** In the order in which they were given; a name may come more than once. */
  readonly headers: readonly (readonly [name: string, value: Buffer | null])[]
}

/** A batch of records, as a producer made it and as it lies in the log. */
export interface RecordBatch {
  readonly baseOffset: bigint
  /** Of its last record, also when that has been compacted away: it may have none. */
  readonly lastOffset: bigint
  readonly leaderEpoch: number
  readonly producerId: bigint
  readonly transactional: boolean
  /** What a transaction ends with: such a batch has no records of anyone. */
  readonly control: 'commit' | 'abort' | 'other' | undefined
  /** In the order of the log. Throws on a compression that is not known. */
  records(): Iterable<KafkaRecord>
}

/** The length is that of what follows it. */
const LENGTH_END = 12
const HEADER_BYTES = 61
const MAGIC = 2

/** The batches in a reply; the last, which may have been cut off, is left out. Throws if that is the first: what follows it is not known. */
export function readRecordBatches(buffer: Buffer): RecordBatch[] {
  const batches: RecordBatch[] = []
  let at = 0
  while (at + LENGTH_END <= buffer.length) {
    const end = at + LENGTH_END + buffer.readInt32BE(at + 8)
    if (end > buffer.length) break
    batches.push(readBatch(buffer.subarray(at, end)))
    at = end
  }
  if (at === 0 && buffer.length > 0)
    throw new RangeError(`expected a batch of records, but found ${buffer.length} bytes`)
  return batches
}

/** RecordBatch: baseOffset 0, batchLength 8, partitionLeaderEpoch 12, magic 16, crc 17, attributes 21, lastOffsetDelta 23, baseTimestamp 27, maxTimestamp 35, producerId 43, producerEpoch 51, baseSequence 53, records 57. */
function readBatch(batch: Buffer): RecordBatch {
  const magic = batch.readInt8(16)
  const baseOffset = batch.readBigInt64BE(0)
  if (magic !== MAGIC) {
    throw new ReflexError(
      'KAFKA_MESSAGE_FORMAT',
      `the batch at offset ${baseOffset} has message format ${magic}, of before Kafka 0.11; only format ${MAGIC} is read`,
      { retriable: false },
    )
  }
  const attributes = batch.readInt16BE(21)
  return {
    baseOffset,
    lastOffset: baseOffset + BigInt(batch.readInt32BE(23)),
    leaderEpoch: batch.readInt32BE(12),
    producerId: batch.readBigInt64BE(43),
    transactional: (attributes & 0x10) !== 0,
    control: (attributes & 0x20) === 0 ? undefined : controlOf(batch),
    records: () => readRecords(batch, attributes, baseOffset),
  }
}

/** The key of a control record is its version and its type, two int16. */
function controlOf(batch: Buffer): 'commit' | 'abort' | 'other' {
  const [record] = readRecords(batch, 0, 0n)
  const type = record?.key?.readInt16BE(2)
  return type === 0 ? 'abort' : type === 1 ? 'commit' : 'other'
}

const LOG_APPEND_TIME = 0x08

function* readRecords(batch: Buffer, attributes: number, baseOffset: bigint): Generator<KafkaRecord> {
  const bytes = decompress(attributes & 0x07, batch.subarray(HEADER_BYTES), baseOffset)
  const baseTimestamp = Number(batch.readBigInt64BE(27))
  const appendTime = (attributes & LOG_APPEND_TIME) === 0 ? undefined : Number(batch.readBigInt64BE(35))
  const count = batch.readInt32BE(57)
  const base = Number(baseOffset)
  const exact = Number.isSafeInteger(base + 0x7fff_ffff)

  let at = 0
  const varint = (): number => {
    let byte = bytes[at++] as number
    if (byte < 0x80) return (byte >>> 1) ^ -(byte & 1)
    let value = byte & 0x7f
    let scale = 0x80
    do {
      byte = bytes[at++] as number
      value += (byte & 0x7f) * scale
      scale *= 0x80
    } while (byte >= 0x80)
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2 // zigzag, beyond 32 bits for timestamps
  }
  const blob = (): Buffer | null => {
    const length = varint()
    if (length < 0) return null
    at += length
    return bytes.subarray(at - length, at)
  }
  for (let i = 0; i < count; i++) {
    const length = varint()
    const end = at + length
    at++ // attributes, of which there are none
    const timestamp = baseTimestamp + varint()
    const delta = varint()
    const key = blob()
    const value = blob()
    const headers: [string, Buffer | null][] = []
    for (let left = varint(); left > 0; left--) {
      const size = varint()
      const name = bytes.toString('utf8', at, at + size)
      if (name.includes('\ufffd')) checkName(bytes.subarray(at, at + size), baseOffset)
      at += size
      headers.push([name, blob()])
    }
    if (at !== end || end > bytes.length)
      throw new RangeError(
        `record ${i} of the batch at offset ${baseOffset} is ${length} bytes long, but was read to another end`,
      )
    const offset = exact ? String(base + delta) : String(baseOffset + BigInt(delta))
    yield { offset, timestamp: appendTime ?? timestamp, key, value, headers }
  }
}

/** Names are text to Kafka's own clients. What is not UTF-8 is replaced by U+FFFD, which may also stand there in earnest. */
function checkName(bytes: Buffer, baseOffset: bigint): void {
  if (isUtf8(bytes)) return
  throw new ReflexError(
    'KAFKA_HEADER_NAME',
    `a record of the batch at offset ${baseOffset} has a header whose name is not UTF-8, but the bytes ${bytes.toString('hex')}`,
    { retriable: false },
  )
}

const codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const

function decompress(codec: number, bytes: Buffer, baseOffset: bigint): Buffer {
  switch (codecs[codec]) {
    case 'none':
      return bytes
    case 'gzip':
      return gunzipSync(bytes)
    case 'zstd':
      return zstdDecompressSync(bytes)
    default:
      throw new ReflexError(
        'KAFKA_COMPRESSION',
        `the batch at offset ${baseOffset} is compressed with ${codecs[codec] ?? `codec ${codec}`}, but only gzip and zstd are read: set the producer's compression.type to one of them`,
        { retriable: false },
      )
  }
}

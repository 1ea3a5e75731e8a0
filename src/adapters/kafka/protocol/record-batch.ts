import { isUtf8 } from 'node:buffer'
import { ReflexError } from '../../../core/errors.ts'
import { crc32c } from './crc32c.ts'
import { unpack, unpackerOf } from './unpack.ts'

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

/** A record whose headers are text already, but for those that are not UTF-8: quicker than a view of the bytes for each. */
export interface TextRecord extends Omit<KafkaRecord, 'headers'> {
  readonly headers: readonly (readonly [name: string, value: string | Buffer | null])[]
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
  /** To be awaited before `records`: what unpacks them is being loaded. Never rejects. */
  readonly ready?: Promise<void>
  /** In the order of the log. Throws a `ReflexError` with the offset of the batch if they cannot be read. */
  records(): Iterable<KafkaRecord>
  records(headers: 'text'): Iterable<TextRecord>
}

/** The length is that of what follows it. */
const LENGTH_END = 12
const HEADER_BYTES = 61
const MAGIC_AT = 16
const MAGIC = 2
const CRC_AT = 17
const ATTRIBUTES_AT = 21

/**
 * The batches in a reply, up to the first that was cut off, or whose bytes are not those that the producer sent. Throws if that
 * is the first of all: what follows it is not known.
 */
export function readRecordBatches(buffer: Buffer): RecordBatch[] {
  const batches: RecordBatch[] = []
  let at = 0
  while (at + LENGTH_END <= buffer.length) {
    const end = at + LENGTH_END + buffer.readInt32BE(at + 8)
    if (end > buffer.length || end <= at + MAGIC_AT) break
    const batch = buffer.subarray(at, end)
    const wrong = wrongWith(batch)
    if (wrong !== undefined) {
      if (at === 0) throw wrong
      break
    }
    batches.push(readBatch(batch))
    at = end
  }
  if (at === 0 && buffer.length > 0)
    throw new RangeError(`expected a batch of records, but found ${buffer.length} bytes`)
  return batches
}

/** RecordBatch: baseOffset 0, batchLength 8, partitionLeaderEpoch 12, magic 16, crc 17, attributes 21, lastOffsetDelta 23, baseTimestamp 27, maxTimestamp 35, producerId 43, producerEpoch 51, baseSequence 53, records 57. */
function wrongWith(batch: Buffer): ReflexError | undefined {
  const baseOffset = batch.readBigInt64BE(0)
  const magic = batch.readInt8(MAGIC_AT)
  if (magic !== MAGIC)
    return new ReflexError(
      'KAFKA_MESSAGE_FORMAT',
      `the batch at offset ${baseOffset} has message format ${magic}, of before Kafka 0.11; only format ${MAGIC} is read`,
      { retriable: false },
    )
  if (batch.length >= HEADER_BYTES && batch.readInt32BE(CRC_AT) === crc32c(batch, ATTRIBUTES_AT)) return undefined
  return new ReflexError(
    'KAFKA_CORRUPT_BATCH',
    `the batch at offset ${baseOffset} has other bytes than its checksum says: they were changed on the leader's disk or on the way. ` +
      'It is not skipped, since that would lose its records: try again, or make another replica the leader',
  )
}

function readBatch(batch: Buffer): RecordBatch {
  const baseOffset = batch.readBigInt64BE(0)
  const attributes = batch.readInt16BE(ATTRIBUTES_AT)
  const ready = unpackerOf(attributes & CODEC)
  function records(): Iterable<KafkaRecord>
  function records(headers: 'text'): Iterable<TextRecord>
  function records(headers?: 'text'): Iterable<KafkaRecord | TextRecord> {
    return readRecords(batch, { attributes, baseOffset, valueBetween: headers === 'text' ? textBetween : bytesBetween })
  }
  return {
    baseOffset,
    lastOffset: baseOffset + BigInt(batch.readInt32BE(23)),
    leaderEpoch: batch.readInt32BE(12),
    producerId: batch.readBigInt64BE(43),
    transactional: (attributes & 0x10) !== 0,
    control: (attributes & 0x20) === 0 ? undefined : controlOf(batch),
    ...(ready === undefined ? {} : { ready }),
    records,
  }
}

/** The key of a control record is its version and its type, two int16. */
function controlOf(batch: Buffer): 'commit' | 'abort' | 'other' {
  const [record] = readRecords(batch, { attributes: 0, baseOffset: 0n, valueBetween: bytesBetween })
  const type = record?.key?.readInt16BE(2)
  return type === 0 ? 'abort' : type === 1 ? 'commit' : 'other'
}

const CODEC = 0x07
const LOG_APPEND_TIME = 0x08

/** Makes a header's value of the bytes between two positions. */
type HeaderValue<V> = (bytes: Buffer, start: number, end: number) => V

const bytesBetween: HeaderValue<Buffer> = (bytes, start, end) => bytes.subarray(start, end)
const textBetween: HeaderValue<string | Buffer> = (bytes, start, end) => {
  const text = bytes.toString('utf8', start, end)
  // What is not UTF-8 is replaced by U+FFFD, which may also stand there in earnest.
  return text.includes('\ufffd') ? bytes.subarray(start, end) : text
}

function* readRecords<V>(
  batch: Buffer,
  {
    attributes,
    baseOffset,
    valueBetween,
  }: { readonly attributes: number; readonly baseOffset: bigint; readonly valueBetween: HeaderValue<V> },
): Generator<Omit<KafkaRecord, 'headers'> & { headers: [string, V | null][] }> {
  const bytes = unpack(attributes & CODEC, batch.subarray(HEADER_BYTES), baseOffset)
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
  // Records mostly have the same names in the same places: to compare their bytes is quicker than to decode them.
  const names: { readonly at: number; readonly size: number; readonly text: string }[] = []
  const nameAt = (i: number, size: number): string => {
    const known = names[i]
    if (known !== undefined && known.size === size) {
      let same = 0
      while (same < size && bytes[known.at + same] === bytes[at + same]) same++
      if (same === size) return known.text
    }
    const text = bytes.toString('utf8', at, at + size)
    if (text.includes('\ufffd')) checkName(bytes.subarray(at, at + size), baseOffset)
    names[i] = { at, size, text }
    return text
  }
  for (let i = 0; i < count; i++) {
    const length = varint()
    const end = at + length
    at++ // attributes, of which there are none
    const timestamp = baseTimestamp + varint()
    const delta = varint()
    const key = blob()
    const value = blob()
    const headers: [string, V | null][] = []
    const headerCount = varint()
    for (let n = 0; n < headerCount && at < end; n++) {
      const size = varint()
      if (size < 0) break
      const name = nameAt(n, size)
      at += size
      const length = varint()
      if (length < 0) {
        headers.push([name, null])
        continue
      }
      headers.push([name, valueBetween(bytes, at, at + length)])
      at += length
    }
    if (at !== end || end > bytes.length || headers.length < headerCount)
      throw malformed(`its record ${i} is ${length} bytes long, but was read to another end`, baseOffset)
    const offset = exact ? String(base + delta) : String(baseOffset + BigInt(delta))
    yield { offset, timestamp: appendTime ?? timestamp, key, value, headers }
  }
  if (at !== bytes.length)
    throw malformed(`it says that it has ${count} records, but has ${bytes.length - at} bytes more`, baseOffset)
}

function malformed(what: string, baseOffset: bigint): ReflexError {
  return new ReflexError(
    'KAFKA_CORRUPT_BATCH',
    `the batch at offset ${baseOffset} is not as its producer should have made it: ${what}. ` +
      'It is not skipped, since that would lose its records: find its producer, or reset the cursor to go on behind it',
    { retriable: false },
  )
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

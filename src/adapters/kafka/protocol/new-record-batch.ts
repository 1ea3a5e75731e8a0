import { crc32c } from './crc32c.ts'

/** A record that has no offset yet. */
export interface NewRecord {
  readonly key: Buffer
  readonly value: Uint8Array | null
  /** Names and values in turns: text, which is UTF-8. */
  readonly headers: readonly string[]
}

/** What a batch says of its producer. */
export interface BatchProducer {
  readonly producerId: bigint
  readonly producerEpoch: number
  readonly transactional: boolean
  /** The sequence number of its first record. */
  readonly sequence: number
}

const HEADER_BYTES = 61
const CRC_AT = 17
const ATTRIBUTES_AT = 21
const TRANSACTIONAL = 0x10
/** The length of a record, its attributes, two deltas and three lengths. */
const RECORD_OVERHEAD = 5 + 1 + 1 + 5 + 5 + 5 + 5
const TEXT_OVERHEAD = 5

/** An upper bound of the bytes that a record takes in a batch. */
export function sizeOfRecord({ key, value, headers }: NewRecord): number {
  let bytes = RECORD_OVERHEAD + key.length + (value === null ? 0 : value.length)
  for (const text of headers) bytes += TEXT_OVERHEAD + byteLength(text)
  return bytes
}

/** UTF-8 has at most three bytes for a unit of UTF-16; the exact number is asked for only where that would be much. */
function byteLength(text: string): number {
  return text.length < 64 ? 3 * text.length : Buffer.byteLength(text)
}

/** An upper bound of the bytes that a batch of these records takes. */
export function sizeOfBatch(records: readonly NewRecord[]): number {
  return records.reduce((bytes, record) => bytes + sizeOfRecord(record), HEADER_BYTES)
}

/**
 * Writes a record batch (message format 2), of records that are all of the time `timestamp`, epoch ms, and not compressed, into `buffer`
 * from `start` on, where there must be room for `sizeOfBatch`. Returns where it ends.
 */
export function writeRecordBatch(
  buffer: Buffer,
  start: number,
  records: readonly NewRecord[],
  { producerId, producerEpoch, transactional, sequence }: BatchProducer,
  timestamp: number,
): number {
  let end = start + HEADER_BYTES
  for (let i = 0; i < records.length; i++) end = writeRecord(buffer, end, records[i] as NewRecord, i)

  const batch = buffer.subarray(start, end)
  batch.writeBigInt64BE(0n, 0) // base offset: the broker's to give
  batch.writeInt32BE(batch.length - 12, 8)
  batch.writeInt32BE(-1, 12) // leader epoch
  batch.writeInt8(2, 16) // magic
  batch.writeInt16BE(transactional ? TRANSACTIONAL : 0, ATTRIBUTES_AT)
  batch.writeInt32BE(records.length - 1, 23)
  batch.writeBigInt64BE(BigInt(timestamp), 27)
  batch.writeBigInt64BE(BigInt(timestamp), 35)
  batch.writeBigInt64BE(producerId, 43)
  batch.writeInt16BE(producerEpoch, 51)
  batch.writeInt32BE(sequence, 53)
  batch.writeInt32BE(records.length, 57)
  batch.writeInt32BE(crc32c(batch, ATTRIBUTES_AT), CRC_AT)
  return end
}

/** Writes the body behind room for its length, and then closes the gap: the length of the length is known only afterwards. */
function writeRecord(batch: Buffer, start: number, { key, value, headers }: NewRecord, offsetDelta: number): number {
  const body = start + 5
  let at = body
  batch[at++] = 0 // attributes
  batch[at++] = 0 // timestamp delta
  at = writeVarint(batch, at, offsetDelta)
  at = writeBytes(batch, at, key)
  at = value === null ? writeVarint(batch, at, -1) : writeBytes(batch, at, value)
  at = writeVarint(batch, at, headers.length / 2)
  for (const text of headers) at = writeText(batch, at, text)
  const bodyAt = writeVarint(batch, start, at - body)
  batch.copyWithin(bodyAt, body, at)
  return at - (body - bodyAt)
}

function writeBytes(batch: Buffer, at: number, bytes: Uint8Array): number {
  const start = writeVarint(batch, at, bytes.length)
  batch.set(bytes, start)
  return start + bytes.length
}

function writeText(batch: Buffer, at: number, text: string): number {
  // A text of less than 64 bytes has a length of one byte, whatever it is.
  if (text.length < 22) {
    const length = batch.write(text, at + 1)
    batch[at] = length << 1
    return at + 1 + length
  }
  const start = writeVarint(batch, at, Buffer.byteLength(text))
  return start + batch.write(text, start)
}

/** A zigzag varint of a 32-bit integer. */
function writeVarint(batch: Buffer, start: number, value: number): number {
  let at = start
  let rest = ((value << 1) ^ (value >> 31)) >>> 0
  for (; rest >= 0x80; rest >>>= 7) batch[at++] = (rest & 0x7f) | 0x80
  batch[at++] = rest
  return at
}

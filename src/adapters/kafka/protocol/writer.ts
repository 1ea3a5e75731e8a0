/** Writes the types of Kafka's protocol, one behind the other, into one buffer that grows. */
export interface Writer {
  int8(value: number): Writer
  int16(value: number): Writer
  int32(value: number): Writer
  int64(value: bigint): Writer
  uuid(id: Buffer): Writer
  /** STRING, or NULLABLE_STRING. */
  string(text: string | null): Writer
  /** As they are. */
  bytes(bytes: Buffer): Writer
  /** BYTES of at most `most`: `write` puts them into the buffer, from `at` on, and returns where they end. */
  bytesInPlace(most: number, write: (buffer: Buffer, at: number) => number): Writer
  compactString(text: string): Writer
  /** The length of a COMPACT_ARRAY whose elements follow. */
  compactLength(length: number): Writer
  /** An empty section of tagged fields. */
  noTags(): Writer
  /** What was written, without a copy; nothing may be written after it. */
  done(): Buffer
}

const FIRST_BYTES = 256

/** Starts to write. */
export function writer(): Writer {
  let buffer = Buffer.allocUnsafe(FIRST_BYTES)
  let end = 0
  /** Makes room for `size` bytes more, and returns where they begin. */
  const take = (size: number): number => {
    const start = end
    end += size
    if (end > buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(end, 2 * buffer.length))
      buffer.copy(larger, 0, 0, start)
      buffer = larger
    }
    return start
  }
  const uvarint = (value: number): Writer => {
    const more = value >= 0x80
    const at = take(1)
    buffer[at] = more ? (value & 0x7f) | 0x80 : value
    return more ? uvarint(value >>> 7) : self
  }
  const self: Writer = {
    int8: (value) => {
      const at = take(1)
      buffer.writeInt8(value, at)
      return self
    },
    int16: (value) => {
      const at = take(2)
      buffer.writeInt16BE(value, at)
      return self
    },
    int32: (value) => {
      const at = take(4)
      buffer.writeInt32BE(value, at)
      return self
    },
    int64: (value) => {
      const at = take(8)
      buffer.writeBigInt64BE(value, at)
      return self
    },
    uuid: (id) => {
      const at = take(16)
      id.copy(buffer, at)
      return self
    },
    string: (text) => {
      if (text === null) return self.int16(-1)
      const bytes = Buffer.from(text)
      return self.int16(bytes.length).bytes(bytes)
    },
    bytes: (bytes) => {
      const at = take(bytes.length)
      buffer.set(bytes, at)
      return self
    },
    bytesInPlace: (most, write) => {
      const at = take(4 + most)
      end = write(buffer, at + 4)
      buffer.writeInt32BE(end - at - 4, at)
      return self
    },
    compactString: (text) => {
      const bytes = Buffer.from(text)
      return uvarint(bytes.length + 1).bytes(bytes)
    },
    compactLength: (length) => uvarint(length + 1),
    noTags: () => uvarint(0),
    done: () => buffer.subarray(0, end),
  }
  return self
}

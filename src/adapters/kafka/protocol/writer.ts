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
  const put = (size: number, write: (at: number) => unknown): Writer => {
    write(take(size)) // which may have made another buffer
    return self
  }
  const uvarint = (value: number): Writer => {
    const more = value >= 0x80
    const at = take(1)
    buffer[at] = more ? (value & 0x7f) | 0x80 : value
    return more ? uvarint(value >>> 7) : self
  }
  const self: Writer = {
    int8: (value) => put(1, (at) => buffer.writeInt8(value, at)),
    int16: (value) => put(2, (at) => buffer.writeInt16BE(value, at)),
    int32: (value) => put(4, (at) => buffer.writeInt32BE(value, at)),
    int64: (value) => put(8, (at) => buffer.writeBigInt64BE(value, at)),
    uuid: (id) => put(16, (at) => id.copy(buffer, at)),
    string: (text) => {
      if (text === null) return self.int16(-1)
      const bytes = Buffer.from(text)
      return self.int16(bytes.length).bytes(bytes)
    },
    bytes: (bytes) => put(bytes.length, (at) => buffer.set(bytes, at)),
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

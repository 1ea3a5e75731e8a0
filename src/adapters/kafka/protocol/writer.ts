/** Writes the types of Kafka's protocol, one behind the other. */
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
  compactString(text: string): Writer
  /** The length of a COMPACT_ARRAY whose elements follow. */
  compactLength(length: number): Writer
  /** An empty section of tagged fields. */
  noTags(): Writer
  done(): Buffer
}

/** Starts to write. It makes a buffer for each value: for the few values around the records. */
export function writer(): Writer {
  const parts: Buffer[] = []
  const put = (size: number, write: (buffer: Buffer) => unknown): Writer => {
    const buffer = Buffer.alloc(size)
    write(buffer)
    parts.push(buffer)
    return self
  }
  const uvarint = (value: number): Writer => {
    const bytes: number[] = []
    let rest = value
    for (; rest >= 0x80; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80)
    parts.push(Buffer.from([...bytes, rest]))
    return self
  }
  const self: Writer = {
    int8: (value) => put(1, (buffer) => buffer.writeInt8(value)),
    int16: (value) => put(2, (buffer) => buffer.writeInt16BE(value)),
    int32: (value) => put(4, (buffer) => buffer.writeInt32BE(value)),
    int64: (value) => put(8, (buffer) => buffer.writeBigInt64BE(value)),
    uuid: (id) => put(16, (buffer) => id.copy(buffer)),
    string: (text) => {
      if (text === null) return self.int16(-1)
      const bytes = Buffer.from(text)
      return self.int16(bytes.length).bytes(bytes)
    },
    bytes: (bytes) => {
      parts.push(bytes)
      return self
    },
    compactString: (text) => {
      const bytes = Buffer.from(text)
      uvarint(bytes.length + 1)
      parts.push(bytes)
      return self
    },
    compactLength: (length) => uvarint(length + 1),
    noTags: () => uvarint(0),
    done: () => Buffer.concat(parts),
  }
  return self
}

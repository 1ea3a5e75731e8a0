/** Reads the types of Kafka's protocol, one behind the other. Throws a RangeError behind the end. */
export interface Reader {
  /** Where the next read begins. */
  readonly at: number
  int8(): number
  int16(): number
  int32(): number
  int64(): bigint
  /** UNSIGNED_VARINT. */
  uvarint(): number
  uuid(): Buffer
  /** STRING; undefined of null. */
  string(): string | undefined
  /** ARRAY; null is empty. */
  array<T>(read: () => T): T[]
  /** COMPACT_STRING; undefined of null. */
  compactString(): string | undefined
  /** COMPACT_ARRAY; null is empty. */
  compactArray<T>(read: () => T): T[]
  /** A view, not a copy. */
  bytes(length: number): Buffer
  /** Hands each tagged field to `onTag`; what it does not read is passed over. */
  tags(onTag?: (tag: number, size: number) => void): void
}

/** Starts to read `buffer`. */
export function reader(buffer: Buffer): Reader {
  let at = 0
  const step = (size: number): number => {
    at += size
    return at - size
  }
  const self: Reader = {
    get at() {
      return at
    },
    int8: () => buffer.readInt8(step(1)),
    int16: () => buffer.readInt16BE(step(2)),
    int32: () => buffer.readInt32BE(step(4)),
    int64: () => buffer.readBigInt64BE(step(8)),
    uvarint: () => {
      let value = 0
      for (let shift = 0; shift < 35; shift += 7) {
        const byte = buffer.readUInt8(step(1))
        value += (byte & 0x7f) * 2 ** shift
        if (byte < 0x80) return value
      }
      throw new RangeError('a varint has more than 5 bytes')
    },
    uuid: () => self.bytes(16),
    string: () => {
      const length = self.int16()
      return length < 0 ? undefined : self.bytes(length).toString()
    },
    array: (read) => Array.from({ length: Math.max(0, self.int32()) }, read),
    compactString: () => {
      const length = self.uvarint()
      return length === 0 ? undefined : self.bytes(length - 1).toString()
    },
    compactArray: (read) => {
      const length = self.uvarint()
      return length === 0 ? [] : Array.from({ length: length - 1 }, read)
    },
    bytes: (length) => {
      const from = step(length)
      if (at > buffer.length) throw new RangeError(`expected ${length} bytes, but ${buffer.length - from} are left`)
      return buffer.subarray(from, at)
    },
    tags: (onTag) => {
      for (let left = self.uvarint(); left > 0; left--) {
        const tag = self.uvarint()
        const size = self.uvarint()
        const end = at + size
        onTag?.(tag, size)
        at = end
      }
    },
  }
  return self
}

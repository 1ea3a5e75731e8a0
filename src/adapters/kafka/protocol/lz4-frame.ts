const MAGIC = 0x184d2204
const HEADER_BYTES = 7 // without the optional fields
const CHECKSUM_BYTES = 4
/** What LZ4 makes of a block is at most so many times as long. */
const MOST_TIMES = 255

/**
 * The first frame in `bytes`, alone, as Java's clients read it (LZ4 Frame Format 1.6). Throws a `RangeError` if it could come to more than
 * `maxBytes`, going by its blocks, each of which comes to the block size of the frame at the most; and if it is no frame.
 */
export function lz4Frame(bytes: Buffer, maxBytes: number): Buffer {
  if (bytes.length < HEADER_BYTES || bytes.readUInt32LE(0) !== MAGIC) throw new RangeError('it is no frame of LZ4')
  const flags = bytes.readUInt8(4)
  const has = (bit: number): boolean => (flags & (1 << bit)) !== 0
  const blockBytes = 2 ** (8 + 2 * ((bytes.readUInt8(5) >> 4) & 7)) // 64 KiB to 4 MiB, as 4 to 7
  let at = HEADER_BYTES + (has(3) ? 8 : 0) + (has(0) ? 4 : 0)
  for (let left = maxBytes; at + 4 <= bytes.length; ) {
    const word = bytes.readUInt32LE(at)
    at += 4
    if (word === 0) return bytes.subarray(0, at + (has(2) ? CHECKSUM_BYTES : 0))
    const isPacked = word < 0x8000_0000
    const length = isPacked ? word : word - 0x8000_0000
    left -= isPacked ? Math.min(blockBytes, length * MOST_TIMES) : length
    if (left < 0) throw new RangeError('its blocks may come to more')
    at += length + (has(4) ? CHECKSUM_BYTES : 0)
  }
  return bytes // it was cut off
}

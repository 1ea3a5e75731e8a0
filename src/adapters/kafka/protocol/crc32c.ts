const POLYNOMIAL = 0x82f63b78
/** So many bytes at once: table `k` is for the byte with `k` more behind it. */
const STRIDE = 16

const table = new Int32Array(STRIDE * 256)
for (let byte = 0; byte < 256; byte++) {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? POLYNOMIAL : 0)
  table[byte] = value
}
for (let i = 256; i < table.length; i++) {
  const before = table[i - 256] as number
  table[i] = (before >>> 8) ^ (table[before & 0xff] as number)
}
const at = (k: number, byte: number): number => table[(k << 8) | (byte & 0xff)] as number
/** Four bytes in little-endian order, with `k` more behind the last. */
const four = (k: number, word: number): number =>
  at(k + 3, word) ^ at(k + 2, word >>> 8) ^ at(k + 1, word >>> 16) ^ at(k, word >>> 24)

/** CRC-32C (Castagnoli) of the bytes from `from` on, as a signed 32-bit integer. */
export function crc32c(bytes: Uint8Array, from: number): number {
  const { buffer, byteOffset, length } = bytes
  const view = new DataView(buffer, byteOffset, length)
  let crc = -1
  let i = from
  for (; i + STRIDE <= length; i += STRIDE) {
    crc =
      four(12, crc ^ view.getInt32(i, true)) ^
      four(8, view.getInt32(i + 4, true)) ^
      four(4, view.getInt32(i + 8, true)) ^
      four(0, view.getInt32(i + 12, true))
  }
  for (; i < length; i++) crc = at(0, crc ^ (bytes[i] as number)) ^ (crc >>> 8)
  return ~crc
}

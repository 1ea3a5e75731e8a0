/** The partition, of `count`, of records with this key: as Kafka's own producers choose it (murmur2), so that they agree. */
export function partitionOfKey(key: Buffer, count: number): number {
  return (murmur2(key) & 0x7fff_ffff) % count
}

const SEED = 0x9747b28c
const M = 0x5bd1e995

/** A signed 32-bit hash; `Utils.murmur2` of Kafka's Java client. */
export function murmur2(data: Buffer): number {
  let hash = SEED ^ data.length
  const whole = data.length & ~3
  for (let i = 0; i < whole; i += 4) {
    let k = Math.imul(data.readInt32LE(i), M)
    k ^= k >>> 24
    hash = Math.imul(hash, M) ^ Math.imul(k, M)
  }
  for (let i = data.length - 1; i >= whole; i--) hash ^= (data[i] as number) << (8 * (i - whole))
  if (whole < data.length) hash = Math.imul(hash, M)
  hash = Math.imul(hash ^ (hash >>> 13), M)
  return hash ^ (hash >>> 15)
}

/** A set of whole numbers from 0 on, one bit each. */
export interface BitSet {
  /** Adds `n`; false if it was there already. */
  add(n: number): boolean
  has(n: number): boolean
}

const CHUNK_BITS = 1 << 19

/** Makes an empty set. It takes memory up to the largest number that is added: 12.5 MB for a hundred million. */
export function bitSet(): BitSet {
  const chunks: Uint8Array[] = []
  return {
    add: (n) => {
      const index = Math.floor(n / CHUNK_BITS)
      while (chunks.length <= index) chunks.push(new Uint8Array(CHUNK_BITS / 8))
      const chunk = chunks[index] as Uint8Array
      const at = n % CHUNK_BITS
      const byte = chunk[at >> 3] as number
      const bit = 1 << (at & 7)
      chunk[at >> 3] = byte | bit
      return (byte & bit) === 0
    },
    has: (n) => {
      const at = n % CHUNK_BITS
      return (((chunks[Math.floor(n / CHUNK_BITS)]?.[at >> 3] ?? 0) >> (at & 7)) & 1) === 1
    },
  }
}

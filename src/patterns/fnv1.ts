/** FNV-1 (not FNV-1a), 32 bits, of the UTF-8 bytes of `text`: an unsigned integer, the one that luno/reflex spreads its shards by. */
export function fnv1(text: string): number {
  let hash = 0x811c9dc5
  for (const byte of Buffer.from(text)) hash = Math.imul(hash, 0x01000193) ^ byte
  return hash >>> 0
}

import { open } from 'node:fs/promises'

/**
 * Leaves about `share` of a log's batches, as a broker does that lost what the system had not written yet; with `whole`, no
 * transaction without its end.
 */
export async function cutLog(file: string, share: number, { whole = false }: { whole?: boolean } = {}): Promise<void> {
  await using log = await open(file, 'r+')
  const { size } = await log.stat()
  const header = Buffer.alloc(23)
  let at = 0
  let isOpen = false // a transaction
  while (at < size * share || (whole && isOpen && at < size)) {
    await log.read(header, 0, header.length, at)
    at += 12 + header.readInt32BE(8)
    const attributes = header.readInt16BE(21)
    if ((attributes & 0x10) !== 0) isOpen = (attributes & 0x20) === 0
  }
  await log.truncate(Math.min(at, size))
}

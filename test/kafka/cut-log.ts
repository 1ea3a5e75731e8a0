import { open } from 'node:fs/promises'

/** Leaves about `share` of a log's batches, as a broker does that lost what the system had not written yet. */
export async function cutLog(file: string, share: number): Promise<void> {
  await using log = await open(file, 'r+')
  const { size } = await log.stat()
  const header = Buffer.alloc(12)
  let at = 0
  while (at < size * share) {
    await log.read(header, 0, 12, at)
    at += 12 + header.readInt32BE(8)
  }
  await log.truncate(Math.min(at, size))
}

import { compareIds, ZERO_ID } from './entry-id.ts'
import type { LogState } from './log-page.ts'
import type { RedisConnection } from './redis-connection.ts'

/** Counts without sending the entries. */
const COUNT = `
local rows = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])
return { #rows, #rows > 0 and rows[#rows][1] or '' }`

/** So many entries, or bytes, of one call hold other clients up for about a millisecond. */
const ENTRIES = 1000
const BYTES = 1024 * 1024

/** How many entries follow `after`, in steps that keep the server free for others. O(1) where all do, or none. */
export async function countEntries(
  { call }: RedisConnection,
  { key, after, state, signal }: { key: string; after: string; state: LogState; signal: AbortSignal | undefined },
): Promise<bigint> {
  if (state.first === undefined || after === state.head) return 0n
  if (after === ZERO_ID || compareIds(after, state.first) < 0) return state.length
  const step = Math.max(1, Math.min(ENTRIES, Math.floor(BYTES / Math.max(1, state.entryBytes))))
  let count = 0n
  for (let from = after; ; ) {
    signal?.throwIfAborted()
    const [found, last] = (await call('EVAL_RO', COUNT, '1', key, from, String(step))) as [string, string]
    count += BigInt(found)
    if (Number(found) < step) return count
    from = last
  }
}

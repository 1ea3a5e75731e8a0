import { ReflexError } from '../../core/errors.ts'
import { wireNames } from '../../core/wire.ts'
import { compareIds } from './entry-id.ts'
import { bytesOf, type RawEntry } from './log-page.ts'
import type { RedisConnection } from './redis-connection.ts'
import type { SourceEntries } from './route-tail.ts'

const PAGE = 1000
const PAGE_BYTES = 8 * 1024 * 1024

/**
 * Reads the stream backwards for entries that the log named `source` has been forwarded to, until one stands at or before the
 * entry id `mark`, or to the start. Throws after `limit` entries without either.
 */
export async function findSourceEntries(
  { callBuffer }: RedisConnection,
  { log, key, source, mark, limit }: { log: string; key: string; source: string; mark: string; limit: number },
): Promise<SourceEntries> {
  const beyond = new Set<string>()
  let top: string | undefined
  let seen = 0
  let count = 10
  for (let from = '+'; ; ) {
    const rows = (await callBuffer('XREVRANGE', key, from, '-', 'COUNT', String(count))) as RawEntry[]
    let bytes = 1
    for (const [entryId, fields] of rows) {
      bytes += bytesOf(fields)
      seen++
      const sourceId = sourceIdOf(fields, source)
      if (sourceId === undefined) continue
      const id = entryId.toString('latin1')
      top ??= id
      if (compareIds(id, mark) <= 0) return { newest: { id, sourceId }, beyond, top }
      beyond.add(sourceId)
    }
    const last = rows.at(-1)
    if (last === undefined || rows.length < count) return { newest: undefined, beyond, top }
    if (seen >= limit) {
      throw new ReflexError(
        'SINK_TAIL_NOT_FOUND',
        `${log}: the checkpoint in Redis does not tell where to go on, and among the newest ${seen} entries none of the source ${source} ` +
          `stands at or before ${mark}: give the sink a larger maxRefill to look further back`,
        { retriable: false },
      )
    }
    from = `(${last[0].toString('latin1')}`
    count = Math.max(1, Math.min(PAGE, limit - seen, Math.floor((PAGE_BYTES * rows.length) / bytes)))
  }
}

function sourceIdOf(fields: readonly Buffer[], source: string): string | undefined {
  let sourceId: string | undefined
  let same = false
  for (let i = 0; i < fields.length; i += 2) {
    const name = String(fields[i])
    if (name === wireNames.source) same = String(fields[i + 1]) === source
    else if (name === wireNames.sourceId) sourceId = String(fields[i + 1])
  }
  return same ? sourceId : undefined
}

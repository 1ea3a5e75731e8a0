import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool } from 'mysql2/promise'
import type { Batch, Event } from '../../src/core/event.ts'
import { eventStream, type StreamFunc } from '../../src/core/stream.ts'

/**
 * What everyone writes first: it pages by `id > ?`. With `fill` it stops before a missing id, and if no transaction has a row
 * of that id yet, inserts one of type 0 in its place, which is not handed on.
 */
export function naiveStream(pool: Pool, table: string, { fill }: { readonly fill: boolean }): StreamFunc {
  return async (after, { toHead, fromHead }) => {
    const connection = await pool.getConnection()
    const ask = async (sql: string): Promise<Record<string, string | number>[]> =>
      (await connection.query(sql))[0] as unknown as Record<string, string | number>[]
    const newest = async (): Promise<bigint> =>
      BigInt((await ask(`select max(id) as id from ${table}`))[0]?.['id'] ?? 0)
    const fillUp = async (id: bigint): Promise<void> => {
      await connection.query('set transaction isolation level read uncommitted')
      if ((await ask(`select id from ${table} where id = ${id}`)).length === 0)
        await ask(`insert ignore into ${table} (id, foreign_id, timestamp, type) values (${id}, '0', now(), 0)`)
    }

    const closed = new AbortController()
    let position = fromHead && !fill ? await newest() : BigInt(after || 0) // a filler begins at the beginning
    const end = toHead ? await newest() : undefined
    async function* batches(): AsyncGenerator<Batch> {
      if (fromHead) yield { events: [], cursor: String(position) }
      while (!closed.signal.aborted && (end === undefined || position < end)) {
        const from = position
        const events: Event[] = []
        for (const row of await ask(
          `select id, foreign_id, type from ${table} where id > ${position} order by id limit 1000`,
        )) {
          const id = BigInt(row['id'] as string)
          if (fill && id !== position + 1n) {
            for (let missing = position + 1n; missing < id; missing++) await fillUp(missing)
            break
          }
          position = id
          const [type, foreignId] = [Number(row['type']), String(row['foreign_id'])]
          if (type !== 0) events.push({ id: String(id), type, foreignId, timestamp: 0, metadata: null, headers: {} })
        }
        if (position > from) yield { events, cursor: String(position) }
        else await sleep(1)
      }
    }
    return eventStream(batches(), () => {
      closed.abort()
      connection.destroy()
    })
  }
}

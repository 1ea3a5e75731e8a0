import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool, PoolConnection } from 'mysql2/promise'
import type { MysqlEvents } from 'reflex-bridge/mysql'

/** So many connections write at the same time. */
export const WRITERS = 4
/** The proof is queried where an id is missing, so these cost the server something. */
const ROLLED_BACK = 0.2

/** Commits `perSecond` transactions in all, of one event each, from several connections. `onCommit` is called when a commit is about to be sent. */
export async function write(
  pool: Pool,
  events: MysqlEvents,
  { perSecond, seconds, onCommit }: { perSecond: number; seconds: number; onCommit?: (id: string) => void },
): Promise<number> {
  let committed = 0
  const from = performance.now()
  const writer = async (): Promise<void> => {
    const connection = await pool.getConnection()
    for (let due = from; due < from + seconds * 1000; due += (WRITERS * 1000) / perSecond) {
      await sleep(due - performance.now())
      if (performance.now() > from + seconds * 1000) break
      if (await transact(connection, events, onCommit)) committed++
    }
    connection.release()
  }
  await Promise.all(Array.from({ length: WRITERS }, writer))
  return committed
}

async function transact(
  connection: PoolConnection,
  events: MysqlEvents,
  onCommit?: (id: string) => void,
): Promise<boolean> {
  await connection.beginTransaction()
  const { ids, wake } = await events.insert(connection, { type: 1, foreignId: 'a', metadata: Buffer.alloc(200, 'x') })
  if (Math.random() < ROLLED_BACK) {
    await connection.rollback()
    return false
  }
  onCommit?.(ids[0] as string)
  await connection.commit()
  wake()
  return true
}

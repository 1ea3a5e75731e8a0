import { setTimeout as sleep } from 'node:timers/promises'
import type { Database } from './database.ts'

const ROW = "('x', utc_timestamp(6), 1)"
const INTO = 'insert into events (foreign_id, timestamp, type)'

/**
 * Writes to the table `events` as applications do: alone and in transactions, one and many rows, with savepoints, delays
 * before the commit, a fifth rolled back and some connections lost. Rejects if a statement fails.
 */
export async function writeMuch(
  database: Database,
  { writers, forMs }: { writers: number; forMs: number },
): Promise<void> {
  const end = Date.now() + forMs
  const changes = [
    [`${INTO} values ${ROW}`],
    [`${INTO} values ${ROW}, ${ROW}, ${ROW}`],
    [`${INTO} select 's', utc_timestamp(6), 2 from (select 1 union select 2 union select 3) three`],
    [`insert low_priority into events (foreign_id, timestamp, type) values ${ROW}`],
    [`${INTO} values ${ROW}`, 'savepoint a', `${INTO} values ${ROW}`, 'rollback to savepoint a'],
  ]
  const write = async (): Promise<void> => {
    let connection = await database.connect()
    while (Date.now() < end) {
      const change = changes[Math.floor(Math.random() * changes.length)] as string[]
      const fate = Math.random()
      if (fate < 0.2) {
        await connection.query(`${INTO} values ${ROW}, ${ROW}`)
        continue
      }
      await connection.beginTransaction()
      for (const sql of change) await connection.query(sql)
      await sleep(Math.random() * 12)
      if (fate < 0.4) await connection.rollback()
      else if (fate < 0.43) {
        connection.destroy()
        connection = await database.connect()
      } else await connection.commit()
      if (fate > 0.8) await sleep(Math.random() * 10)
    }
  }
  await Promise.all(Array.from({ length: writers }, write))
}

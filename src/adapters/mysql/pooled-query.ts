import { untilAborted } from '../../core/abort.ts'
import { answerInTime } from './answer-in-time.ts'
import { explainMysql } from './mysql-error.ts'
import { checkConnection, type MysqlPool, runQuery } from './mysql-pool.ts'

/** Runs one statement on a borrowed connection; rows are arrays. */
export type PooledQuery = (sql: string, values: readonly unknown[]) => Promise<unknown>

/** A connection of such a pool, with the type that its users see. */
export type PooledConnection<Pool extends MysqlPool> = Awaited<ReturnType<Pool['getConnection']>>

/** What runs `work` on a connection of the pool. One that does not answer in time is destroyed, not given back. */
export function pooledQuery(
  name: string,
  pool: MysqlPool,
): <T>(work: (run: PooledQuery) => Promise<T>, signal?: AbortSignal) => Promise<T> {
  return async (work, signal) => {
    try {
      return await answerInTime(
        name,
        async (ended) => {
          const connection = await borrow(pool, ended)
          const core = checkConnection(connection)
          try {
            return await untilAborted(
              work((sql, values) => runQuery(core, sql, values)),
              ended,
            )
          } finally {
            if (ended.aborted) connection.destroy()
            else connection.release()
          }
        },
        signal,
      )
    } catch (error) {
      throw signal?.aborted ? error : explainMysql(error, name)
    }
  }
}

/** A connection of the pool; one that becomes free after the abort is given back. */
export async function borrow<Pool extends MysqlPool>(pool: Pool, signal: AbortSignal): Promise<PooledConnection<Pool>> {
  const borrowing = pool.getConnection() as Promise<PooledConnection<Pool>>
  try {
    return await untilAborted(borrowing, signal)
  } catch (error) {
    borrowing.then(
      (connection) => connection.release(),
      () => {}, // told already
    )
    throw error
  }
}

import { untilAborted } from '../../core/abort.ts'
import { ReflexError } from '../../core/errors.ts'
import { explainMysql } from './mysql-error.ts'
import { checkConnection, type MysqlPool, runQuery } from './mysql-pool.ts'

/** Runs one statement on a borrowed connection; rows are arrays. */
export type PooledQuery = (sql: string, values: readonly unknown[]) => Promise<unknown>

/** The server's silence that is an error, the wait for a free connection included. */
const WITHIN_MS = 4000

/** What runs `work` on a connection of the pool. One that does not answer in time is destroyed, not given back. */
export function pooledQuery(
  name: string,
  pool: MysqlPool,
): <T>(work: (run: PooledQuery) => Promise<T>, signal?: AbortSignal) => Promise<T> {
  return async (work, signal) => {
    signal?.throwIfAborted()
    const late = new AbortController()
    const timer = setTimeout(
      () =>
        late.abort(
          new ReflexError(
            'SERVER_UNRESPONSIVE',
            `${name}: no answer within ${WITHIN_MS} ms: the server is frozen or overloaded, or no connection of the pool became free`,
          ),
        ),
      WITHIN_MS,
    )
    const ended = signal === undefined ? late.signal : AbortSignal.any([signal, late.signal])
    const borrowing = pool.getConnection()
    let borrowed = false
    try {
      const connection = await untilAborted(borrowing, ended)
      borrowed = true
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
    } catch (error) {
      if (!borrowed) {
        borrowing.then(
          (connection) => connection.release(),
          () => {}, // told already
        )
      }
      throw signal?.aborted ? error : explainMysql(error, name)
    } finally {
      clearTimeout(timer)
    }
  }
}

import { OptionError } from '../../core/errors.ts'
import type { MysqlPool } from './mysql-pool.ts'
import { type PooledQuery, pooledQuery } from './pooled-query.ts'

/**
 * As `pooledQuery`, for work whose statements are a transaction each. Throws `OptionError` if connections of the pool are not in
 * autocommit mode: what is written would be lost when the connection ends, and be locked until then.
 */
export function autocommitQuery(
  name: string,
  pool: MysqlPool,
): <T>(work: (run: PooledQuery) => Promise<T>, signal?: AbortSignal) => Promise<T> {
  const borrowed = pooledQuery(name, pool)
  let commits = false
  return (work, signal) =>
    borrowed(async (run) => {
      if (!commits) {
        const [[autocommit]] = (await run('select @@autocommit', [])) as [[number | string]]
        if (Number(autocommit) !== 1) {
          throw new OptionError(`${name}: connections of the pool must be in autocommit mode, but autocommit is 0`)
        }
        commits = true
      }
      return work(run)
    }, signal)
}

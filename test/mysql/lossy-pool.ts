import type { Pool, PoolConnection } from 'mysql2/promise'

/** When the connection of a statement is lost: before the server gets it, or after it was done and before that is told. */
export type Loss = 'before' | 'after'

type Callback = (error: Error | null, result?: unknown) => void

interface Core {
  destroy(): void
  release(): void
  query(...args: unknown[]): unknown
}

/** Says of a statement whether its connection is lost; where it resolves later, the statement is held up until then. */
type Lose = (sql: string) => Loss | undefined | Promise<undefined>

/** What is asked about the statements of a connection, which goes back to the pool that it is of. */
const asked = new WeakMap<object, Lose>()

/** `pool`, with connections that are lost where `lose` says so; it is asked for every statement that goes through this pool. */
export function lossyPool(pool: Pool, lose: Lose): Pool {
  const borrow = async (): Promise<PoolConnection> => {
    const connection = await pool.getConnection()
    const core = connection.connection as unknown as Core
    if (!asked.has(core)) patch(core)
    asked.set(core, lose)
    return connection
  }
  return new Proxy(pool, {
    get: (target, member) => (member === 'getConnection' ? borrow : (Reflect.get(target, member, target) as unknown)),
  })
}

function patch(core: Core): void {
  const [query, release] = [core.query.bind(core), core.release.bind(core)]
  let isLost = false
  core.release = () => {
    asked.set(core, () => undefined)
    release()
  }
  core.query = (...args) => {
    const [first] = args as [string | { sql: string }]
    const callback = args.at(-1) as Callback
    const lost = (): void => {
      isLost = true
      core.destroy()
      callback(Object.assign(new Error('the connection was lost'), { code: 'ECONNRESET', fatal: true }))
    }
    const how = isLost ? 'before' : asked.get(core)?.(typeof first === 'string' ? first : first.sql)
    if (how === undefined) return query(...args)
    if (typeof how === 'object') {
      return void how.then(() => {
        query(...args)
      })
    }
    if (how === 'before') return void setImmediate(lost)
    return query(...args.slice(0, -1), lost)
  }
}

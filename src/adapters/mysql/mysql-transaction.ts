import { untilAborted } from '../../core/abort.ts'
import { codeOf, ReflexError } from '../../core/errors.ts'
import { answerInTime } from './answer-in-time.ts'
import { explainMysql } from './mysql-error.ts'
import { checkConnection, type MysqlPool, runQuery } from './mysql-pool.ts'
import { borrow, type PooledConnection, type PooledQuery } from './pooled-query.ts'

/**
 * A transaction on a connection that is borrowed from a pool until it ends. A statement of ours that fails ends it: what was
 * done in it is undone, and the connection goes, or is given back if the server has rolled back.
 */
export interface MysqlTransaction<Connection> {
  readonly connection: Connection
  /** A statement of ours; rows are arrays. */
  readonly run: PooledQuery
  /** What follows can be undone by itself. */
  mark(): Promise<void>
  /** Undoes what was done since the last `mark`. Rejects if the whole transaction is gone, as after a deadlock. */
  undo(): Promise<void>
  /**
   * Calls `last`, if the transaction is still the one that was begun, and commits. Rejects with `TRANSACTION_ENDED`, which is not retriable, if whoever used the connection has ended the transaction
   * behind our back; with anything else the outcome may be unknown.
   */
  commit(last?: (run: PooledQuery) => Promise<void>): Promise<void>
  /** Rolls back what is not committed, and gives the connection back; closes it if a statement of ours is under way. Never rejects. */
  end(): Promise<void>
}

const WHOLE = 'reflex_transaction'
const PART = 'reflex_part'

/** Begins a transaction, on a connection of `pool`. `name` stands in errors. */
export async function beginTransaction<Pool extends MysqlPool>(
  name: string,
  pool: Pool,
  signal: AbortSignal | undefined,
): Promise<MysqlTransaction<PooledConnection<Pool>>> {
  const explained = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (error) {
      throw signal?.aborted ? error : explainMysql(error, name)
    }
  }
  const connection = await explained(() => answerInTime(name, (ended) => borrow(pool, ended), signal))
  let isOver = false
  let pending = 0
  const closed = new AbortController()

  const finish = (healthy: boolean): void => {
    if (isOver) return
    isOver = true
    if (healthy) connection.release()
    else {
      connection.destroy()
      // mysql2 leaves what is pending for ever.
      closed.abort(new ReflexError('CONNECTION_CLOSED', `${name}: the connection was closed`))
    }
  }
  const query: PooledQuery = async (sql, values) => {
    pending++
    try {
      return await answerInTime(
        name,
        (ended) => untilAborted(runQuery(checkConnection(connection), sql, values), ended),
        closed.signal,
      )
    } finally {
      pending--
    }
  }
  const end = async (): Promise<void> => {
    if (pending > 0) finish(false) // a connection in the middle of an answer is of no use
    if (isOver) return
    await query('rollback', []).then(
      () => finish(true),
      () => finish(false),
    )
  }
  const run: PooledQuery = async (sql, values) => {
    try {
      return await explained(() => query(sql, values))
    } catch (error) {
      if (codeOf(error) === 'SERVER_UNRESPONSIVE') finish(false)
      await end()
      throw error
    }
  }

  const begin = async (): Promise<void> => {
    await run('start transaction', [])
    await run(`savepoint ${WHOLE}`, [])
  }
  try {
    await untilAborted(begin(), signal)
  } catch (error) {
    await end()
    throw error
  }
  return {
    connection,
    run,
    mark: async () => void (await run(`savepoint ${PART}`, [])),
    undo: async () => void (await run(`rollback to savepoint ${PART}`, [])),
    commit: async (last) => {
      try {
        await run(`release savepoint ${WHOLE}`, [])
      } catch (error) {
        if (Number((error as { errno?: unknown } | null)?.errno) !== NO_SAVEPOINT) throw error
        throw new ReflexError(
          'TRANSACTION_ENDED',
          `${name}: expected the transaction that the handler was given to be open still, but it has ended: the handler committed or rolled back, ran a statement that commits by itself (CREATE, ALTER, TRUNCATE, LOCK TABLES, …), or went on after an error that had rolled everything back, such as a deadlock. What it did may be committed without its cursor: leave the transaction alone, let such errors through, and check what is there before you start again`,
          { cause: error, retriable: false },
        )
      }
      await last?.(run)
      await run('commit', [])
      finish(true)
    },
    end,
  }
}

const NO_SAVEPOINT = 1305

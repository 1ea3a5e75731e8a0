import { untilAborted } from '../../core/abort.ts'
import type { Consumer } from '../../core/consumer.ts'
import type { CursorStore } from '../../core/cursor.ts'
import { CursorConflictError, OptionError } from '../../core/errors.ts'
import type { Cursor, Event } from '../../core/event.ts'
import type { RunSpec } from '../../core/run.ts'
import type { StreamFunc } from '../../core/stream.ts'
import { cursorColumns, cursorsTable } from './cursors-table.ts'
import { type MysqlCursorsOptions, mysqlCursors } from './mysql-cursors.ts'
import { checkPool, type MysqlPool } from './mysql-pool.ts'
import { beginTransaction, type MysqlTransaction } from './mysql-transaction.ts'
import { type PooledConnection, pooledQuery } from './pooled-query.ts'
import { splitBatches } from './split-batches.ts'

/** What a handler is given: the connection in whose transaction its effects and its cursor are committed together. */
export interface TransactionContext<Connection> {
  readonly signal: AbortSignal
  /** Of the pool, in an open transaction: write through it, and neither commit nor roll back. */
  readonly connection: Connection
}

/** A consumer whose effects are rows: as `Consumer`, but for a connection, and without background work. */
export interface TransactionalConsumer<Connection> extends Omit<Consumer, 'handle' | 'recover' | 'settled'> {
  /** Handles one event. What it throws undoes what it wrote; what was written for the events before it stays. */
  handle(event: Event, context: TransactionContext<Connection>): void | Promise<void>
  /** As in `Consumer`; what it writes is committed with the cursor that passes the event. Not called when the transaction was lost. */
  recover?(error: unknown, event: Event, context: TransactionContext<Connection>): void | Promise<void>
}

/** Options of `mysqlTransactions`. */
export interface MysqlTransactionsOptions {
  /** The cursors table, in the database of the pool. */
  readonly cursors?: MysqlCursorsOptions
  /**
   * So many events at most share a transaction. A transaction ends with its batch as well, and between two events when it has
   * lasted for 1 s; until then its rows are locked. Default: 100.
   */
  readonly maxEvents?: number
}

/**
 * What `run` needs for effects that are there exactly once, whatever crashes: the handler writes through a connection in whose
 * transaction its cursor is saved too. The stream may be of any source; it is the effects that must be in the database of
 * `pool`, from which one connection is borrowed while a transaction is open.
 *
 * The cursor's row is locked and compared first, so a second runner waits, and then fails with `CursorConflictError` before
 * its handler is called. One object is for one run at a time.
 *
 * @example
 * const spec = mysqlTransactions(pool, {
 *   stream: events.source.stream,
 *   consumer: {
 *     name: 'balances',
 *     handle: async ({ foreignId }, { connection }) =>
 *       void (await connection.query('update balances set amount = amount + 1 where id = ?', [foreignId])),
 *   },
 * })
 * await supervise((o) => run(spec, o), { signal })
 */
export function mysqlTransactions<Pool extends MysqlPool>(
  pool: Pool,
  spec: { readonly stream: StreamFunc; readonly consumer: TransactionalConsumer<PooledConnection<Pool>> },
  { cursors = {}, maxEvents = 100 }: MysqlTransactionsOptions = {},
): RunSpec {
  type Transaction = MysqlTransaction<PooledConnection<Pool>> & { events: number }
  const { consumer } = spec
  const { name } = consumer
  const { database } = checkPool(pool)
  if (!(Number.isSafeInteger(maxEvents) && maxEvents > 0)) {
    throw new OptionError(`maxEvents must be a whole number of 1 or more, but is ${maxEvents}`)
  }
  if ('settled' in consumer) {
    throw new OptionError(
      `consumer ${JSON.stringify(name)} must not have settled: what is done in the background is in no transaction`,
    )
  }
  const store = mysqlCursors(pool, cursors)
  const table = cursors.table ?? 'cursors'
  const at = `mysql:${database}.${table}`
  const rows = cursorsTable(at, database, table, cursorColumns(cursors.columns))
  const borrowed = pooledQuery(at, pool)

  let saved: Cursor = ''
  let open: Transaction | undefined
  let lost: { readonly error: unknown } | undefined // events that were handled are undone: nothing is saved any more

  const lose = async (transaction: Transaction | undefined, error: unknown): Promise<void> => {
    lost = { error }
    open = undefined
    await transaction?.end()
  }
  /** The open transaction, at a mark; else a new one, that has the cursor's row locked. */
  const enter = async (signal: AbortSignal): Promise<Transaction> => {
    if (lost !== undefined) throw lost.error
    let transaction = open
    try {
      if (transaction === undefined) {
        transaction = { ...(await beginTransaction(at, pool, signal)), events: 0 }
        const { cursor: actual, reset } = await untilAborted(rows.lock(transaction.run, name), signal)
        if (actual !== saved) throw new CursorConflictError({ consumer: name, expected: saved, actual, reset })
        open = transaction
      }
      await transaction.mark()
      return transaction
    } catch (error) {
      await lose(transaction, error)
      throw error
    }
  }
  /** Calls what may write, once; what it wrote before it threw is undone. */
  const attempt = async (
    signal: AbortSignal,
    work: (context: TransactionContext<PooledConnection<Pool>>) => void | Promise<void>,
  ): Promise<void> => {
    const transaction = await enter(signal)
    try {
      await work({ signal, connection: transaction.connection })
      transaction.events++
    } catch (error) {
      // If that fails, the events before this one are gone as well.
      await transaction.undo().catch(() => lose(transaction, error))
      throw error
    }
  }

  const transactional: CursorStore = {
    ...store,
    get: async (id, options) => {
      if (id !== name) return store.get(id, options)
      // Waits for a transaction of an earlier run that is still being committed.
      saved = await borrowed(async (run) => {
        try {
          return await rows.prepare(run, name)
        } finally {
          await run('commit', []) // where connections are not in autocommit mode
        }
      }, options?.signal)
      return saved
    },
    set: async (id, cursor, expected) => {
      const transaction = id === name ? open : undefined
      if (transaction === undefined) await store.set(id, cursor, expected)
      else {
        open = undefined
        try {
          await transaction.commit((run) => rows.set(run, name, cursor, expected))
        } catch (error) {
          await lose(transaction, error)
          throw error
        }
      }
      if (id === name) saved = cursor
    },
  }
  const { recover } = consumer
  return {
    stream: splitBatches(spec.stream, maxEvents),
    cursors: transactional,
    consumer: {
      name,
      ...(consumer.types && { types: consumer.types }),
      ...(consumer.filter && { filter: (event) => consumer.filter?.(event) ?? true }),
      handle: (event, { signal }) => attempt(signal, (context) => consumer.handle(event, context)),
      ...(recover && {
        // After the loss of a transaction it rejects with what lost it.
        recover: (error, event, { signal }) =>
          attempt(signal, (context) => recover.call(consumer, error, event, context)),
      }),
      start: async (context) => {
        await open?.end()
        open = undefined
        lost = undefined
        await consumer.start?.(context)
      },
      stop: async (context) => {
        try {
          await consumer.stop?.(context)
        } finally {
          // What is in it is committed by the save that follows; of an empty one there is none.
          if (open?.events === 0) {
            await open.end()
            open = undefined
          }
        }
      },
      settled: () => (lost === undefined ? undefined : ''),
    },
  }
}

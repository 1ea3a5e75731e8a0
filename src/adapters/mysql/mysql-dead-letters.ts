import { untilAborted } from '../../core/abort.ts'
import { messageOf, OptionError, ReflexError } from '../../core/errors.ts'
import type { Event } from '../../core/event.ts'
import { checkTableName } from '../../sql/table-stream.ts'
import { answerInTime } from './answer-in-time.ts'
import { type DeadLetter, type DeadLetterColumns, deadLetterColumns, deadLettersTable } from './dead-letters-table.ts'
import { explainMysql } from './mysql-error.ts'
import type { MysqlEvents } from './mysql-events.ts'
import { checkConnection, checkPool, type MysqlConnection, type MysqlPool, runQuery } from './mysql-pool.ts'
import { withConnection } from './mysql-reader.ts'
import { beginTransaction, type MysqlTransaction } from './mysql-transaction.ts'
import type { TransactionContext } from './mysql-transactions.ts'
import { type PooledConnection, type PooledQuery, pooledQuery } from './pooled-query.ts'

/** Options of `mysqlDeadLetters`. */
export interface MysqlDeadLettersOptions {
  /** Default: `consumer_errors`. */
  readonly table?: string
  /** Names of columns that are others than those of luno/reflex. */
  readonly columns?: Partial<DeadLetterColumns>
  /**
   * An event table that tells of each event that becomes a dead letter, in the same transaction: type 1, the foreign id is the
   * letter's id, the payload is the consumer's name. luno/reflex has `consumer_errors_events`. Default: none.
   */
  readonly events?: MysqlEvents
}

/** Which dead letters are listed. */
export interface ListDeadLettersOptions {
  /** Default: of all consumers. */
  readonly consumer?: string | undefined
  /** Default: `open`. */
  readonly status?: DeadLetter['status'] | undefined
  /** Those after this id: the last one of the page before. */
  readonly after?: string | undefined
  /** From 1 to 1,000. Default: 100. */
  readonly limit?: number | undefined
  readonly signal?: AbortSignal | undefined
}

/** What became of the dead letters that were tried again. */
export interface RetriedDeadLetters {
  readonly resolved: number
  /** They have failed again, and stay open. */
  readonly failed: number
}

/** Events that a consumer could not handle and went past, in a table. */
export interface MysqlDeadLetters<Connection = MysqlConnection> {
  /**
   * Records an event that `consumer` could not handle, all of it, so that it can be tried again when the source has it no
   * longer; again for the same event: counts an attempt, and opens it again if it was resolved. In the transaction of
   * `connection` if there is one, else in its own. Its arguments follow those of `Consumer.recover`; if it rejects, so must
   * `recover`, and the cursor does not pass the event.
   *
   * @example { name: 'mailer', handle, recover: (...failed) => letters.record('mailer', ...failed) }
   */
  record(
    consumer: string,
    error: unknown,
    event: Event,
    context?: { readonly connection?: MysqlConnection; readonly signal?: AbortSignal },
  ): Promise<void>
  /**
   * Counts a failed attempt at an event that `consumer` goes on trying, and keeps the event as `failing`: `deadLetter` of
   * `reflex-bridge/patterns` does. Neither is it open, nor is it retried here. One that was resolved begins anew.
   */
  attempt(
    consumer: string,
    error: unknown,
    event: Event,
    context?: { readonly signal?: AbortSignal },
  ): Promise<Pick<DeadLetter, 'id' | 'eventId' | 'attempts' | 'createdAt'>>
  /** A page of letters, in the order in which they were recorded. */
  list(options?: ListDeadLettersOptions): Promise<DeadLetter[]>
  /**
   * Hands the open letters of a consumer to its handler again, each once, in order, `limit` at most (from 1 to 1,000, default
   * 100). Each is resolved in the transaction of the connection that the handler is given, or else its attempts are counted and
   * its message is renewed. Two that do it at once take different letters. Letters that a Go service recorded have no event,
   * and are left alone. Rejects where the database fails; what was resolved until then stays so.
   */
  retry(
    consumer: {
      readonly name: string
      handle(event: Event, context: TransactionContext<Connection>): void | Promise<void>
    },
    options?: { readonly limit?: number; readonly signal?: AbortSignal },
  ): Promise<RetriedDeadLetters>
  /** Marks a letter as resolved without trying it again. Throws `DEAD_LETTER_MISSING` if there is none of this id. */
  resolve(id: string): Promise<void>
  /** Creates the table if it is missing. */
  createTable(): Promise<void>
}

const RECORDED = 1
const LIMIT = { default: 100, max: 1000 }

/**
 * Keeps dead letters in a table of a mysql2 pool's database. The layout is that of luno/reflex with columns added for what a
 * retry needs, which have defaults: Go services can record in the same table.
 */
export function mysqlDeadLetters<Pool extends MysqlPool>(
  pool: Pool,
  { table = 'consumer_errors', columns, events }: MysqlDeadLettersOptions = {},
): MysqlDeadLetters<PooledConnection<Pool>> {
  type Transaction = MysqlTransaction<PooledConnection<Pool>>
  const { core, database } = checkPool(pool)
  checkTableName(table)
  const name = `mysql:${database}.${table}`
  const rows = deadLettersTable(name, database, table, deadLetterColumns(columns))
  const query = pooledQuery(name, pool)

  const inTransaction = async (
    signal: AbortSignal | undefined,
    work: (transaction: Transaction) => Promise<void>,
  ): Promise<void> => {
    const transaction = await beginTransaction(name, pool, signal)
    try {
      await work(transaction)
    } finally {
      await transaction.end()
    }
  }
  /** What wakes the readers of the event table, after the commit. */
  const recordWith = async (
    run: PooledQuery,
    connection: MysqlConnection,
    { consumer, error, event }: { consumer: string; error: unknown; event: Event },
  ): Promise<(() => void) | undefined> => {
    const { id, opened } = await rows.record(run, { consumer, event, message: describe(error), as: 'open' })
    if (!opened || events === undefined) return undefined
    return (await events.insert(connection, { type: RECORDED, foreignId: id, metadata: Buffer.from(consumer) })).wake
  }
  const inTime = async <T>(work: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> => {
    try {
      return await answerInTime(name, (ended) => untilAborted(work(), ended), signal)
    } catch (error) {
      throw signal?.aborted ? error : explainMysql(error, name)
    }
  }

  return {
    record: async (consumer, error, event, { connection, signal } = {}) => {
      const letter = { consumer, error, event }
      if (connection !== undefined) {
        const run: PooledQuery = (sql, values) => runQuery(checkConnection(connection), sql, values)
        await inTime(() => recordWith(run, connection, letter), signal)
        return
      }
      await inTransaction(signal, async (transaction) => {
        const wake = await inTime(() => recordWith(transaction.run, transaction.connection, letter), signal)
        await transaction.commit()
        wake?.()
      })
    },
    attempt: async (consumer, error, event, { signal } = {}) => {
      let failing: Awaited<ReturnType<typeof rows.record>> | undefined
      await inTransaction(signal, async (transaction) => {
        const letter = { consumer, event, message: describe(error), as: 'failing' } as const
        failing = await inTime(() => rows.record(transaction.run, letter), signal)
        await transaction.commit()
      })
      const { id, eventId, attempts, createdAt } = failing as NonNullable<typeof failing>
      return { id, eventId, attempts, createdAt }
    },
    list: async ({ consumer, status = 'open', after = '0', limit = LIMIT.default, signal } = {}) => {
      checkLimit(limit)
      return query((run) => rows.list(run, { consumer, status, after, limit }), signal)
    },
    retry: async (consumer, { limit = LIMIT.default, signal = new AbortController().signal } = {}) => {
      checkLimit(limit)
      const ids = await query((run) => rows.openIds(run, consumer.name, limit), signal)
      const retried = { resolved: 0, failed: 0 }
      for (const id of ids) {
        signal.throwIfAborted()
        await inTransaction(signal, async (transaction) => {
          let failure: { readonly error: unknown } | undefined
          const event = await rows.take(transaction.run, id)
          if (event === undefined) return // somebody else has it, or had it
          await transaction.mark()
          try {
            await consumer.handle(event, { signal, connection: transaction.connection })
          } catch (error) {
            await transaction.undo().catch(() => {
              throw error // the transaction is gone, and with it the letter's lock
            })
            signal.throwIfAborted() // an attempt that was cut short is none
            failure = { error }
          }
          await transaction.commit(async (run) => {
            if (failure === undefined) await rows.resolve(run, id)
            else await rows.fail(run, id, describe(failure.error))
          })
          retried[failure === undefined ? 'resolved' : 'failed']++
        })
      }
      return retried
    },
    resolve: async (id) => {
      if (await query((run) => rows.resolve(run, id))) return
      throw new ReflexError('DEAD_LETTER_MISSING', `${name}: there is no dead letter ${JSON.stringify(id)}`, {
        retriable: false,
      })
    },
    createTable: () =>
      withConnection(name, core, undefined, async (connection) => {
        await connection.rows(rows.create)
      }),
  }
}

function checkLimit(limit: number): void {
  if (Number.isSafeInteger(limit) && limit >= 1 && limit <= LIMIT.max) return
  throw new OptionError(`limit must be a whole number from 1 to ${LIMIT.max}, but is ${limit}`)
}

/** The message of an error and of what caused it. */
function describe(error: unknown): string {
  const messages: string[] = []
  for (let e = error; e !== undefined && e !== null && messages.length < 5; e = (e as { cause?: unknown }).cause) {
    const message = messageOf(e)
    if (!messages.at(-1)?.includes(message)) messages.push(message)
  }
  return messages.join(': ')
}

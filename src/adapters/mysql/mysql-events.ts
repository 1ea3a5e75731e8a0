import { systemClock } from '../../core/clock.ts'
import { CursorAheadError, OptionError } from '../../core/errors.ts'
import type { NewEvent } from '../../core/event.ts'
import type { Source } from '../../core/stream.ts'
import type { Inserted } from '../../sql/inserted.ts'
import type { PurgeOptions, PurgeResult } from '../../sql/purge-table.ts'
import { checkTableName, parseTableCursor, type TableStreamOptions, tableStreams } from '../../sql/table-stream.ts'
import { createWakeups } from '../../sql/wakeups.ts'
import { checkEvents, type MysqlCheck } from './check-events.ts'
import type { ChosenProof } from './choose-proof.ts'
import { createEventTable } from './create-event-table.ts'
import { type EventColumns, eventColumns } from './event-columns.ts'
import { formatDatetime, insertEvents } from './insert-events.ts'
import { isNoop } from './is-noop.ts'
import { checkConnection, checkPool, type MysqlConnection, type MysqlPool, runQuery } from './mysql-pool.ts'
import { type EventTable, openReader, withConnection } from './mysql-reader.ts'
import { pooledQuery } from './pooled-query.ts'
import { purgeEvents } from './purge.ts'
import { type Blocked, createWaits } from './wait.ts'
import type { BarrierMode } from './writers-of-now.ts'

/** Options of `mysqlEvents`. */
export interface MysqlEventsOptions extends TableStreamOptions {
  /** Default: `events`. */
  readonly table?: string
  /** The names of its columns, where they are others than in a table of luno/reflex. */
  readonly columns?: Partial<EventColumns>
  /** Names the log in errors, metrics and dedupe keys. Default: `mysql:<database>.<table>`. */
  readonly name?: string
  /**
   * What is done where metadata locks cannot be seen: `read` takes `LOCK TABLES … READ`, which no writer waits for, but
   * which waits itself for as long as writers overlap. `write` takes `LOCK TABLES … WRITE`: every writer waits behind it
   * until those before it have ended, up to 1 s at a time, on every gap. Default: `read`.
   */
  readonly barrier?: BarrierMode
  /**
   * What becomes of ids that are missing for good. `pass`: they are passed over, and nothing is written. `fill`: no-op rows
   * take their place (foreign id 0, type 0), for services with luno/reflex that read the same table and stop at missing ids;
   * the account then needs INSERT. Where it is proven first that nobody holds an id, no INSERT fails for it; where no proof
   * can be had, `fillAfterMs` decides, and an INSERT that takes longer to use its ids fails with error 1062. Default: `pass`.
   */
  readonly gaps?: 'pass' | 'fill'
  /** How long an id must have been missing before it is filled without a proof. In ms, default 10,000. */
  readonly fillAfterMs?: number
  /** Is told how late commits are told from rollbacks, and why not in the best way: with the first stream, and when it changes. Must not throw. */
  readonly onProof?: (chosen: Pick<MysqlCheck, 'proof' | 'reason'>) => void
  /** Is told after 1 s, 2 s, 4 s and so on while a stream cannot go on because of a transaction or a lock. Must not throw. */
  readonly onBlocked?: (blocked: Blocked) => void
  /**
   * How long a stream may be held up by one transaction or lock, in ms: then it ends with `GAP_BLOCKED`, which names who it
   * was, and may be started again. The other calls that wait, such as `head`, end as well. Default: for ever.
   */
  readonly gapTimeoutMs?: number
}

/** An event table in a MySQL or MariaDB database. */
export interface MysqlEvents {
  readonly source: Source
  /**
   * Inserts events in the transaction of the caller's connection; without one, many events may be inserted in part. A
   * timestamp that is missing is now, by the server's clock. The settings of the session do not matter, and stay as they are.
   * Throws `EVENT_UNENCODABLE` on an event that would be read as something else, and on the no-op of luno/reflex (type 0 with
   * the foreignId "0"). A pool is refused: see `append`.
   */
  insert(connection: MysqlConnection, ...events: readonly NewEvent[]): Promise<Inserted>
  /**
   * Inserts events that belong to no other change, all or none, in a transaction of their own on a connection of the pool,
   * wakes the streams, and returns the ids, in order. If the connection is lost during the commit, they may be there.
   */
  append(...events: readonly NewEvent[]): Promise<string[]>
  /** Creates the table if it is missing. Tables of luno/reflex have this layout but for `headers`, and can be read as they are. */
  createTable(): Promise<void>
  /**
   * Finds out what is wrong with the table, the account and the server, why it matters and which statements mend it; and how
   * late commits are told from rollbacks here. Changes nothing.
   */
  check(options?: { signal?: AbortSignal | undefined }): Promise<MysqlCheck>
  /**
   * Deletes rows as far as every consumer has read them, but for the row of each cursor and the newest one, so that no
   * consumer is ever refused for it. In small transactions that no INSERT waits for; it may be ended at any point, and run
   * twice at once. What goes is recorded first, in the table `event_purges`, and a stream at an older position is told by it
   * whether it has missed anything. Only as good as the stores are complete: who has not saved a cursor yet holds nothing
   * back, unless it is named in `consumers`.
   *
   * Throws before anything is deleted: `OPTION_INVALID` if a consumer is unknown, or if a cursors table in this database has
   * one that no store lists; `CURSOR_INVALID`, `CURSOR_AHEAD` or `CURSOR_TRIMMED` if a cursor is not of this table;
   * `MYSQL_DENIED` with the statements that grant what is missing.
   *
   * @example await events.purge({ cursors: mysqlCursors(pool), keepMs: 7 * 24 * 3600_000 })
   */
  purge(options: PurgeOptions): Promise<PurgeResult>
  /** Wakes the streams that wait at the head: for events that were inserted by other statements. Call it after the commit. */
  wake(): void
}

/** `backlog` counts events up to so many. */
const COUNTED = 100_000
const FILL_AFTER_MS = 10_000
/** So many rows are searched at a time by `at`. */
const SEARCHED = 20_000

/**
 * An event table in the database of a mysql2 pool. A stream opens one connection of its own, with the pool's options but
 * outside of the pool; all that are near the head share one. They see what any client commits.
 *
 * Ids are given before the commit, so a missing one may still appear. It is waited for until the transactions that held the
 * table at that moment are over; nothing is written for it, and no insert fails or waits. This needs privileges, see
 * `check`; without them a stream is refused with `GAP_PROOF_UNAVAILABLE`, as it is where rows arrive by replication.
 *
 * @example
 * const pool = createPool({ ...mysqlOptions, uri: 'mysql://app@127.0.0.1/shop' })
 * const events = mysqlEvents(pool)
 * await events.createTable()
 * await using connection = await pool.getConnection()
 * await connection.beginTransaction()
 * await connection.query('insert into orders (id) values (?)', [7])
 * const { wake } = await events.insert(connection, { type: 1, foreignId: '7' })
 * await connection.commit()
 * wake()
 */
export function mysqlEvents(pool: MysqlPool, options: MysqlEventsOptions = {}): MysqlEvents {
  const { core, database } = checkPool(pool)
  const {
    table = 'events',
    clock = systemClock,
    barrier = 'read',
    gaps = 'pass',
    onProof,
    onBlocked,
    gapTimeoutMs,
  } = options
  checkTableName(table)
  if (barrier !== 'read' && barrier !== 'write') {
    throw new OptionError(`barrier must be 'read' or 'write', but is ${JSON.stringify(barrier)}`)
  }
  if (gaps !== 'pass' && gaps !== 'fill') {
    throw new OptionError(`gaps must be 'pass' or 'fill', but is ${JSON.stringify(gaps)}`)
  }
  const { fillAfterMs = gaps === 'fill' ? FILL_AFTER_MS : undefined } = options
  if (fillAfterMs !== undefined && (gaps !== 'fill' || !(fillAfterMs >= 0))) {
    throw new OptionError(`fillAfterMs must be 0 or more, and needs gaps: 'fill', but is ${fillAfterMs}`)
  }
  const { name = `mysql:${database}.${table}` } = options
  const into = `\`${database.replaceAll('`', '``')}\`.\`${table}\`` // the caller's connection may be in another database
  const wakeups = createWakeups(options)
  const waits = createWaits(name, { clock, gapTimeoutMs, onBlocked })
  const columns = eventColumns(options.columns)
  const [id, timestampColumn] = [`\`${columns.id}\``, `\`${columns.timestamp}\``]
  const insert = insertEvents(name, into, columns)
  let told: string | undefined
  const onChosen = ({ proof: { kind }, instead }: ChosenProof): void => {
    if (told === `${kind} ${instead}`) return
    told = `${kind} ${instead}`
    onProof?.({ proof: kind, reason: instead })
  }
  const at: EventTable = {
    ...{ name, pool: core, table, columns, barrier, shown: new Map() },
    ...{ fillAfterMs, clock, waits, onChosen },
  }

  const source: Source = {
    name,
    stream: tableStreams(name, (signal) => openReader(at, signal), wakeups, { ...options, isNoop }),
    head: async ({ signal } = {}) => {
      await using reader = await openReader(at, signal)
      const newest = await reader.newest()
      await reader.settleWriters() // whoever resumes here has missed nothing
      return String(newest)
    },
    backlog: async (after, { signal } = {}) => {
      const position = parseTableCursor(name, after)
      return withConnection(name, core, signal, async (connection) => {
        const [[newest], [counted]] = (await connection.script(
          `select max(${id}) from \`${table}\``,
          `select count(*) from (select 1 from \`${table}\` where ${id} > ${position} limit ${COUNTED + 1}) following`,
        )) as [[[string | null]], [[string | number]]]
        const head = BigInt(newest[0] ?? 0)
        if (position > head) throw new CursorAheadError(name, { cursor: after, reason: 'beyond', found: String(head) })
        return Number(counted[0]) > COUNTED
          ? { count: head - position, unit: 'positions' }
          : { count: BigInt(counted[0]), unit: 'events' }
      })
    },
    at: async (timestamp, { signal } = {}) => {
      await using reader = await openReader(at, signal)
      await reader.settleWriters()
      let searched = '0'
      for (;;) {
        const part = `(select ${id}, ${timestampColumn} from \`${table}\` where ${id} > ${searched} order by ${id} limit ${SEARCHED}) part`
        const found = await reader.value(
          `select min(${id}) from ${part} where ${timestampColumn} >= '${formatDatetime(timestamp)}'`,
        )
        if (found !== null)
          return String(
            (await reader.value(`select max(${id}) from \`${table}\` where ${id} < ${found as string}`)) ?? 0,
          )
        const last = await reader.value(`select max(${id}) from ${part}`)
        if (last === null) return searched
        searched = String(last)
      }
    },
    blocked: waits.blocked,
    compare: (a, b) => {
      const difference = parseTableCursor(name, a) - parseTableCursor(name, b)
      return difference < 0n ? -1 : difference > 0n ? 1 : 0
    },
  }

  return {
    source,
    insert: async (connection, ...events) => {
      const inner = checkConnection(connection)
      return { ids: await insert((sql, values) => runQuery(inner, sql, values), events), wake: wakeups.wake }
    },
    append: async (...events) => {
      const ids = await pooledQuery(
        name,
        pool,
      )(async (run) => {
        await run('start transaction', [])
        try {
          const inserted = await insert(run, events)
          await run('commit', [])
          return inserted
        } catch (error) {
          await run('rollback', []).catch(() => {}) // a lost connection has rolled back
          throw error
        }
      })
      wakeups.wake()
      return ids
    },
    purge: (purgeOptions) => purgeEvents(at, purgeOptions),
    createTable: () =>
      withConnection(name, core, undefined, async (connection) => {
        await connection.rows(createEventTable(table, columns))
      }),
    check: ({ signal } = {}) => checkEvents(at, signal),
    wake: wakeups.wake,
  }
}

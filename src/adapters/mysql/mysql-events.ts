import { systemClock } from '../../core/clock.ts'
import { CursorAheadError, codeOf, OptionError } from '../../core/errors.ts'
import type { NewEvent } from '../../core/event.ts'
import type { Source } from '../../core/stream.ts'
import { checkTableName, parseTableCursor, type TableStreamOptions, tableStream } from '../../sql/table-stream.ts'
import { createWakeups } from '../../sql/wakeups.ts'
import { grantsFor } from './choose-proof.ts'
import type { GapProofError, GapProofKind } from './gap-proof.ts'
import { formatDatetime, insertEvents } from './insert-events.ts'
import { checkConnection, checkPool, type MysqlConnection, type MysqlPool } from './mysql-pool.ts'
import { type EventTable, openReader, withConnection } from './mysql-reader.ts'
import type { Blocked } from './wait.ts'
import type { BarrierMode } from './writers-of-now.ts'

/** Options of `mysqlEvents`. */
export interface MysqlEventsOptions extends TableStreamOptions {
  /** Default: `events`. */
  readonly table?: string
  /** Names the log in errors, metrics and dedupe keys. Default: `mysql:<database>.<table>`. */
  readonly name?: string
  /**
   * What is done where metadata locks cannot be seen: `read` takes `LOCK TABLES … READ`, which no writer waits for, but
   * which waits itself for as long as writers overlap. `write` takes `LOCK TABLES … WRITE`: every writer waits behind it
   * until those before it have ended, up to 1 s at a time, on every gap. Default: `read`.
   */
  readonly barrier?: BarrierMode
  /** Is told after 1 s, 2 s, 4 s and so on while a stream cannot go on because of a transaction or a lock. Must not throw. */
  readonly onBlocked?: (blocked: Blocked) => void
}

/** What `check` found. */
export interface MysqlCheck {
  /** How late commits are told from rollbacks; undefined if streams are refused. */
  readonly proof: GapProofKind | undefined
  /** Why it is not the best proof, or none; undefined if it is the best. */
  readonly reason: string | undefined
  /** The statements with which an administrator makes it the best; empty if it is, or if none does. */
  readonly grants: readonly string[]
}

/** An event table in a MySQL or MariaDB database. */
export interface MysqlEvents {
  readonly source: Source
  /**
   * Inserts events in the transaction of the caller's connection, and returns their ids, in order. A timestamp that is
   * missing is now, by the server's clock. Call `wake` after the commit. Without a transaction more than one event may be
   * inserted in part.
   */
  insert(connection: MysqlConnection, ...events: readonly NewEvent[]): Promise<string[]>
  /** Creates the table if it is missing. Tables of luno/reflex have this layout but for `headers`, and can be read as they are. */
  createTable(): Promise<void>
  /** Finds out how late commits are told from rollbacks here, and what must be granted. */
  check(options?: { signal?: AbortSignal | undefined }): Promise<MysqlCheck>
  /** Wakes the streams of this object that wait at the head: call it after a commit, or they find it within 250 ms. */
  wake(): void
}

/** `backlog` counts events up to so many. */
const COUNTED = 100_000
/** So many rows are searched at a time by `at`. */
const SEARCHED = 20_000

/**
 * An event table in the database of a mysql2 pool. Each stream opens one connection of its own, with the pool's options but
 * outside of the pool, and sees what any client commits.
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
 * await events.insert(connection, { type: 1, foreignId: '7' })
 * await connection.commit()
 * events.wake()
 */
export function mysqlEvents(pool: MysqlPool, options: MysqlEventsOptions = {}): MysqlEvents {
  const { core, database } = checkPool(pool)
  const { table = 'events', clock = systemClock, barrier = 'read', onBlocked } = options
  checkTableName(table)
  if (barrier !== 'read' && barrier !== 'write') {
    throw new OptionError(`barrier must be 'read' or 'write', but is ${JSON.stringify(barrier)}`)
  }
  const { name = `mysql:${database}.${table}` } = options
  const into = `\`${database.replaceAll('`', '``')}\`.\`${table}\`` // the caller's connection may be in another database
  const wakeups = createWakeups()
  const at: EventTable = { name, pool: core, table, barrier, clock, onBlocked }

  const source: Source = {
    name,
    stream: (after, streamOptions) =>
      tableStream(name, (signal) => openReader(at, signal), wakeups, after, streamOptions, options),
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
          `select max(id) from \`${table}\``,
          `select count(*) from (select 1 from \`${table}\` where id > ${position} limit ${COUNTED + 1}) following`,
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
        const part = `(select id, \`timestamp\` from \`${table}\` where id > ${searched} order by id limit ${SEARCHED}) part`
        const found = await reader.value(
          `select min(id) from ${part} where \`timestamp\` >= '${formatDatetime(timestamp)}'`,
        )
        if (found !== null)
          return String((await reader.value(`select max(id) from \`${table}\` where id < ${found as string}`)) ?? 0)
        const last = await reader.value(`select max(id) from ${part}`)
        if (last === null) return searched
        searched = last as string
      }
    },
    compare: (a, b) => {
      const difference = parseTableCursor(name, a) - parseTableCursor(name, b)
      return difference < 0n ? -1 : difference > 0n ? 1 : 0
    },
  }

  return {
    source,
    insert: async (connection, ...events) => insertEvents(name, checkConnection(connection), into, events),
    createTable: () =>
      withConnection(name, core, undefined, async (connection) => {
        await connection.rows(createEventTable(table))
      }),
    check: async ({ signal } = {}) => {
      try {
        await using reader = await openReader(at, signal)
        const { proof, instead } = reader.chosen
        return {
          proof: proof.kind,
          reason: instead,
          grants: instead === undefined ? [] : grantsFor(reader.description),
        }
      } catch (error) {
        if (codeOf(error) !== 'GAP_PROOF_UNAVAILABLE') throw error
        const { message, grants } = error as GapProofError
        return { proof: undefined, reason: message, grants }
      }
    },
    wake: wakeups.wake,
  }
}

function createEventTable(table: string): string {
  return `create table if not exists \`${table}\` (
  id bigint not null auto_increment primary key,
  foreign_id varchar(255) character set utf8mb4 collate utf8mb4_bin not null,
  \`timestamp\` datetime(6) not null comment 'UTC',
  \`type\` int not null,
  metadata longblob null,
  headers longtext character set utf8mb4 collate utf8mb4_bin null comment 'a JSON object'
) engine = InnoDB`
}

import type { TableDescription } from './describe-table.ts'
import { isDenied, isLockTimeout } from './mysql-error.ts'
import type { OwnConnection, Row } from './own-connection.ts'
import type { Wait } from './wait.ts'

/** Which lock passes the writers: `read` waits behind them, `write` makes new ones wait behind itself. */
export type BarrierMode = 'read' | 'write'

/** Options of `writersOfNow`. */
export interface WritersOfNowOptions {
  readonly mode: BarrierMode
  /** Wait for transactions that have not written yet as well: they may hold a lock on the table, but no id of it. */
  readonly idle: boolean
  /**
   * For how long transactions are listed before the table lock is tried, in ms, where the account may list them: for as
   * long as it is held, about 0.1 ms, writers wait behind it.
   */
  readonly lockAfterMs: number
}

/** `innodb_trx` is a copy that is renewed only when nobody, other streams included, has read it for 100 ms. */
const trxPause = (): { minPauseMs: number; maxPauseMs: number } => {
  const pause = 120 + Math.random() * 200
  return { minPauseMs: pause, maxPauseMs: pause }
}
/** So many writers do not pass a lock that waits for 1 s. */
const UNNOTICED = 1_000_000
/** While transactions are waited for, the lock is tried again with each so many looks. */
const LOCK_EVERY = 8

/**
 * What waits, without metadata locks, until every transaction is over that has written to the table; or why nothing can.
 *
 * By a table lock, which `read` does not get while writers overlap. Then, or first, if the account has PROCESS: until every
 * statement of this moment has ended, and after it every transaction that is there by then.
 */
export async function writersOfNow(
  connection: OwnConnection,
  { kind, table, variables }: TableDescription,
  { mode, idle, lockAfterMs }: WritersOfNowOptions,
): Promise<((wait: Wait) => Promise<void>) | string> {
  const statements = kind === 'mysql' ? MYSQL_STATEMENTS : MARIADB_STATEMENTS
  const mayList = mode === 'read' && (await mayListTransactions(connection, statements))
  // After so many writers MySQL lets a lock that waits go before the next ones, which then wait behind it.
  const writersBefore = Number(variables.get('max_write_lock_count') ?? Number.POSITIVE_INFINITY)
  const isNoticed = mode === 'read' && kind === 'mysql' && writersBefore < UNNOTICED
  let mayLock = !isNoticed
  const locked = async (): Promise<boolean> => {
    const outcome = mayLock ? await tryLock(connection, table, mode) : 'denied'
    mayLock = outcome !== 'denied'
    return outcome === 'passed'
  }
  if (!mayList) {
    if (isNoticed)
      return `PROCESS is not permitted, and writers would wait behind LOCK TABLES, as max_write_lock_count is ${writersBefore}`
    await locked()
    if (!mayLock) return 'neither LOCK TABLES nor PROCESS is permitted'
  }

  let overlap = false // writers were seen to
  return async (wait) => {
    if (!mayList) {
      return wait(async () =>
        (await locked()) ? undefined : `a transaction that has written to ${table}, which keeps LOCK TABLES waiting`,
      )
    }
    const from = performance.now()
    if (!overlap && lockAfterMs === 0 && (await locked())) return
    overlap = true
    const running = new Map((await connection.rows(statements)).map(([thread, statement]) => [thread, statement]))
    let passed = false
    let asked = 0
    const lateLock = async (): Promise<boolean> => {
      const isDue = ++asked % LOCK_EVERY === 0
      passed ||= isDue && performance.now() - from >= lockAfterMs && (await locked())
      return passed
    }
    await wait(async () => {
      const now = await connection.rows(statements)
      const left = now.find((row) => isSame(running, row))
      return left === undefined || (await lateLock())
        ? undefined
        : {
            text: `a statement of connection ${left[0]}, which may have been given an id`,
            connection: left[0],
          }
    })
    if (passed) return
    const open = new Set((await freshTransactions(connection, idle, lateLock, wait)).flatMap(identities))
    if (passed || open.size === 0) return
    await wait(async () => {
      const now = await connection.rows(`select ${TRX} from information_schema.innodb_trx`)
      const left = now.find(([id, thread, started]) => open.has(`${id}`) || open.has(`${thread} ${started}`))
      return left === undefined || (await lateLock())
        ? undefined
        : {
            text: `the InnoDB transaction ${left[0]} of connection ${left[1]}, which may have been given an id`,
            connection: left[1],
          }
    }, trxPause())
  }
}

/** Both in one packet: no writer waits for this process. */
async function tryLock(
  connection: OwnConnection,
  table: string,
  mode: BarrierMode,
): Promise<'passed' | 'busy' | 'denied'> {
  try {
    await connection.script(`lock tables \`${table}\` ${mode}`, 'unlock tables')
    return 'passed'
  } catch (error) {
    if (isLockTimeout(error)) return 'busy'
    if (isDenied(error)) return 'denied'
    throw error
  }
}

/**
 * The statements that run, but for ours, with what tells each from the next one of its connection, if that is known:
 * performance_schema may be off, or have no room for a thread.
 */
const MYSQL_STATEMENTS = `select p.id, max(if(e.end_event_id is null, e.event_id, null))
  from information_schema.processlist p left join performance_schema.threads t on t.processlist_id = p.id
    left join performance_schema.events_statements_current e on e.thread_id = t.thread_id and e.nesting_event_level = 0
  where p.id <> connection_id() and p.command not in ('Sleep', 'Daemon', 'Binlog Dump', 'Binlog Dump GTID')
  group by p.id`
const MARIADB_STATEMENTS = `select id, query_id from information_schema.processlist
  where id <> connection_id() and command not in ('Sleep', 'Daemon', 'Binlog Dump')`

function isSame(before: ReadonlyMap<unknown, unknown>, [thread, statement]: Row): boolean {
  const was = before.get(thread)
  return before.has(thread) && (was === null || statement === null || was === statement)
}

const TRX = 'trx_id, trx_mysql_thread_id, trx_started, trx_rows_modified'

/** Before its first write a transaction may get another id; after it, XA may take it from its thread. */
function identities([id, thread, started, modified]: Row): string[] {
  return Number(modified) > 0 ? [`${id}`] : [`${thread} ${started}`]
}

async function mayListTransactions(connection: OwnConnection, statements: string): Promise<boolean> {
  try {
    // Needs PROCESS as innodb_trx does, which would be an older copy for the next 100 ms.
    await connection.rows('select 1 from information_schema.innodb_cmp limit 1')
    await connection.rows(statements)
    return true
  } catch (error) {
    if (isDenied(error)) return false
    throw error
  }
}

/** Counted over all calls: an older copy may hold what this connection asked in an earlier one. */
let attempts = 0

/** The transactions of now, or none once `over` holds. They include one of our own, and what it is doing tells that this is no older copy. */
async function freshTransactions(
  connection: OwnConnection,
  idle: boolean,
  over: () => Promise<boolean>,
  wait: Wait,
): Promise<readonly Row[]> {
  // Read only, so that no other stream waits for it.
  await connection.script(
    'set transaction isolation level repeatable read',
    'start transaction with consistent snapshot, read only',
  )
  let found: readonly Row[] = []
  await wait(async () => {
    const mark = `reflex-bridge attempt ${++attempts}`
    const rows = await connection.rows(
      `select /* ${mark} */ ${TRX}, trx_mysql_thread_id = connection_id(), trx_query,
        trx_is_read_only = 0 and (${idle} or trx_lock_structs > 0 or trx_rows_modified > 0) from information_schema.innodb_trx`,
    )
    const fresh = rows.some(([, , , , own, query]) => Number(own) === 1 && String(query).includes(mark))
    found = rows.filter(([, , , , own, , counts]) => Number(own) !== 1 && Number(counts) === 1)
    return fresh || (await over()) ? undefined : 'information_schema.innodb_trx, which other sessions read all the time'
  }, trxPause())
  await connection.rows('commit')
  return found
}

import type { TableDescription } from './describe-table.ts'
import { tryBarrier } from './lock-barrier.ts'
import { isDenied } from './mysql-error.ts'
import type { OwnConnection, Row } from './own-connection.ts'
import type { Wait } from './wait.ts'

/** `innodb_trx` is a copy that is not renewed while it is read more often than each 100 ms. */
const TRX_PAUSE_MS = { minPauseMs: 120, maxPauseMs: 200 }

/**
 * What waits until everything is over that may hold a lock on the table which `metadata_locks` does not show, because the
 * instrument was switched on, or ran out of room, while it was held; or why nothing can.
 *
 * A table lock tells exactly, and once is enough. Where it is not permitted, or writers that overlap keep it waiting for
 * 1 s, every transaction and statement of this moment is waited for.
 */
export async function olderTransactions(
  connection: OwnConnection,
  { table }: TableDescription,
): Promise<((wait: Wait) => Promise<void>) | string> {
  const process = await mayListTransactions(connection)
  let barrier = true
  if (!process) {
    barrier = (await tryBarrier(connection, table, 'read')) !== 'denied'
    if (!barrier) return 'neither PROCESS nor LOCK TABLES is permitted'
  }
  return async (wait) => {
    const passed = async (): Promise<boolean> => {
      if (!barrier) return false
      const outcome = await tryBarrier(connection, table, 'read')
      barrier = outcome !== 'denied'
      return outcome === 'passed'
    }
    if (await passed()) return
    if (!process) {
      return wait(async () =>
        (await passed()) ? undefined : `transactions that have written to ${table}, at least one at any time`,
      )
    }
    const transactions = new Set((await freshTransactions(connection, wait)).flatMap(identities))
    const statements = new Map((await connection.rows(STATEMENTS)).map(([thread, event]) => [thread, event]))
    await wait(async () => {
      const [trx = [], running = []] = await connection.script(
        `select ${TRX} from information_schema.innodb_trx`,
        STATEMENTS,
      )
      const left = trx.find((row) => identities(row).some((each) => transactions.has(each)))
      if (left !== undefined && !(await passed()))
        return `the InnoDB transaction ${left[0]}, which began before this stream`
      const statement = left === undefined ? running.find((row) => isStill(statements, row)) : undefined
      if (statement === undefined || (await passed())) return undefined
      return `a statement of thread ${statement[0]}, which began before this stream`
    }, TRX_PAUSE_MS)
  }
}

const TRX = 'trx_id, trx_mysql_thread_id, trx_started'

/** A transaction gets another id with its first write, and no thread when XA prepares it: it is known by either. */
function identities([id, thread, started]: Row): string[] {
  return [String(id), `${thread} ${started}`]
}

/** The statements that run, except ours. An event id is known where statements are instrumented. */
const STATEMENTS = `select t.thread_id, max(if(e.end_event_id is null, e.event_id, null))
  from performance_schema.threads t left join performance_schema.events_statements_current e
    on e.thread_id = t.thread_id and e.nesting_event_level = 0
  where t.type = 'FOREGROUND' and t.processlist_id <> connection_id()
    and t.processlist_command not in ('Sleep', 'Daemon', 'Binlog Dump', 'Binlog Dump GTID')
  group by t.thread_id`

function isStill(before: ReadonlyMap<unknown, unknown>, [thread, event]: Row): boolean {
  const was = before.get(thread)
  return before.has(thread) && (was === null || event === null || was === event)
}

async function mayListTransactions(connection: OwnConnection): Promise<boolean> {
  try {
    await connection.rows('select 1 from information_schema.innodb_trx limit 1')
    return true
  } catch (error) {
    if (isDenied(error)) return false
    throw error
  }
}

/** The transactions of now. They include one of our own, and what it is doing tells that this is no older copy. */
async function freshTransactions(connection: OwnConnection, wait: Wait): Promise<readonly Row[]> {
  await connection.script(
    'set transaction isolation level repeatable read',
    'start transaction with consistent snapshot',
  )
  let found: readonly Row[] = []
  let attempt = 0
  await wait(async () => {
    const mark = `reflex-bridge attempt ${++attempt}`
    const rows = await connection.rows(
      `select /* ${mark} */ ${TRX}, trx_mysql_thread_id = connection_id(), trx_query, trx_is_read_only from information_schema.innodb_trx`,
    )
    const fresh = rows.some(([, , , own, query]) => Number(own) === 1 && String(query).includes(mark))
    found = rows.filter(([, , , own, , readOnly]) => Number(own) !== 1 && Number(readOnly) !== 1)
    return fresh ? undefined : 'information_schema.innodb_trx, which other sessions read all the time'
  }, TRX_PAUSE_MS)
  await connection.rows('commit')
  return found
}

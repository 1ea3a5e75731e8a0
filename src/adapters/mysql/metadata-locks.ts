import { ReflexError } from '../../core/errors.ts'
import type { TableDescription } from './describe-table.ts'
import type { GapProof } from './gap-proof.ts'
import { isDenied } from './mysql-error.ts'
import type { OwnConnection } from './own-connection.ts'
import type { Holder, Wait } from './wait.ts'
import { writersOfNow } from './writers-of-now.ts'

/** The types of lock that permit writing to a table. */
const WRITING = ['SHARED_WRITE', 'SHARED_WRITE_LOW_PRIO', 'SHARED_NO_WRITE', 'SHARED_NO_READ_WRITE', 'EXCLUSIVE']

/** Until then no writer notices that older transactions are waited for, see `writersOfNow`. */
const LOCK_AFTER_MS = 1000
/** What seems to be started so much later was started again. */
const RESTART_MS = 2500

/** What decides whether `metadata_locks` shows every lock. */
interface Instrumentation {
  /** Why it does not; undefined where it does for every transaction that begins now. */
  readonly off: string | undefined
  /** Changes when it has had no room for a lock, and with FLUSH STATUS, which forgets how often that was. */
  readonly lost: string
  /** Whether a transaction was ever prepared by XA. */
  readonly xa: boolean
  readonly server: string
  /** When it was started, by our clock, to about a second. */
  readonly startedAt: number
}

/**
 * Of each server that a table was read on: since when every lock is shown. Streams of one table share it, so that only the
 * first of them waits for transactions that may hold a lock which is not.
 */
export type ShownLocks = Map<string, Pick<Instrumentation, 'lost' | 'startedAt'>>

/**
 * The proof by MySQL's `performance_schema.metadata_locks`, or why it cannot be had.
 *
 * A transaction holds its lock on the table from before it is given an id until after its rows are visible. A lock is
 * known by its owner's thread and event and by its instance, since a pooled thread goes on with its next transaction.
 */
export async function metadataLocks(
  connection: OwnConnection,
  description: TableDescription,
  shown: ShownLocks,
): Promise<GapProof | string> {
  const { lockKey, table } = description
  let state: Instrumentation
  try {
    state = await instrumentation(connection)
  } catch (error) {
    if (isDenied(error)) return 'performance_schema is not readable'
    throw error
  }
  if (state.off !== undefined) {
    shown.delete(state.server)
    return state.off
  }
  // A lock that was taken before the instrument was on, or when it had no room, is never shown.
  const older = await writersOfNow(connection, description, { mode: 'read', idle: true, lockAfterMs: LOCK_AFTER_MS })
  if (typeof older === 'string') return older

  const held = `select owner_thread_id, owner_event_id, object_instance_begin, lock_type from performance_schema.metadata_locks
    where object_type = 'TABLE' and object_schema = ? and object_name = ? and lock_status = 'GRANTED'
      and lock_type in (${WRITING.map((each) => `'${each}'`).join(', ')})`
  const locks = async (): Promise<Map<string, Holder>> => {
    const rows = await connection.rows(held, lockKey)
    return new Map(
      rows.map(([thread, event, instance, type]) => [
        `${thread} ${event} ${instance}`,
        { text: `thread ${thread}, which holds ${type} on ${table}`, thread },
      ]),
    )
  }

  /** Waits for the holders of now; false if some may not have been shown. */
  const holders = async (wait: Wait): Promise<boolean> => {
    const { lost, xa } = state
    // XA PREPARE moves a lock to another owner: it is copied, then let go. So a second look finds a copy that the first one
    // has missed, and a second round waits for the copies. XA COMMIT lets go of a copy when all is committed.
    for (let round = 1; round <= (xa ? 2 : 1); round++) {
      const first = await locks()
      if (xa) for (const [lock, holder] of await locks()) first.set(lock, holder)
      await wait(async () => {
        if (first.size === 0) return undefined
        const now = await locks()
        for (const lock of first.keys()) if (!now.has(lock)) first.delete(lock)
        return first.values().next().value
      })
    }
    state = await instrumentation(connection)
    if (state.off !== undefined) {
      shown.delete(state.server)
      throw new ReflexError(
        'GAP_PROOF_LOST',
        `${description.name}: ${state.off}, and was not when this stream was opened: start again`,
      )
    }
    return state.lost === lost && state.xa === xa
  }

  const isShown = (): boolean => {
    const known = shown.get(state.server)
    return known?.lost === state.lost && state.startedAt - known.startedAt < RESTART_MS
  }
  return {
    kind: 'metadata-locks',
    settle: async (wait) => {
      for (;;) {
        if (isShown() && (await holders(wait))) return
        if (isShown()) continue // XA has begun to move locks
        // Another stream may find out first.
        await older((ask, options) => wait(async () => (isShown() ? undefined : ask()), options))
        if (isShown()) continue
        shown.set(state.server, state)
        return
      }
    },
  }
}

async function instrumentation(connection: OwnConnection): Promise<Instrumentation> {
  const [status = [], instruments, consumers, server] = await connection.script(
    `show global status where variable_name in ('Com_xa_prepare', 'Performance_schema_metadata_lock_lost',
      'Performance_schema_thread_instances_lost', 'Performance_schema_thread_classes_lost', 'Uptime',
      'Uptime_since_flush_status')`,
    "select enabled from performance_schema.setup_instruments where name = 'wait/lock/metadata/sql/mdl'",
    "select enabled from performance_schema.setup_consumers where name = 'global_instrumentation'",
    'select @@server_uuid, @@performance_schema_max_thread_instances',
  )
  const counters = new Map(status.map(([name, value]) => [String(name).toLowerCase(), String(value)]))
  const threadsLost = ['performance_schema_thread_instances_lost', 'performance_schema_thread_classes_lost'].some(
    (each) => counters.get(each) !== '0',
  )
  const sinceFlush = Number(counters.get('uptime_since_flush_status'))
  const flushedAt = Number(counters.get('uptime')) - sinceFlush
  // A thread that there was no room for is not counted any more, and none of its locks is ever shown.
  const threadsForgotten = flushedAt > 0 && Number(server?.[0]?.[1]) >= 0
  return {
    off: !isOn(instruments)
      ? 'the instrument wait/lock/metadata/sql/mdl is off'
      : !isOn(consumers)
        ? 'the consumer global_instrumentation is off'
        : threadsLost
          ? 'performance_schema has no room for all threads (Performance_schema_thread_instances_lost)'
          : threadsForgotten
            ? 'FLUSH STATUS has forgotten whether performance_schema had room for all threads (performance_schema_max_thread_instances)'
            : undefined,
    // Seconds: two within one cannot be told apart.
    lost:
      sinceFlush < 2
        ? `unknown at ${performance.now()}`
        : `${counters.get('performance_schema_metadata_lock_lost')} since ${flushedAt}`,
    xa: counters.get('com_xa_prepare') !== '0',
    server: String(server?.[0]?.[0]),
    startedAt: performance.now() - Number(counters.get('uptime')) * 1000,
  }
}

function isOn(rows: readonly (readonly unknown[])[] | undefined): boolean {
  return rows?.[0]?.[0] === 'YES'
}

import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import type { Connection, Pool } from 'mysql2/promise'
import { mysqlEvents } from '../../src/adapters/mysql/index.ts'
import type { Event } from '../../src/core/event.ts'
import type { StreamFunc } from '../../src/core/stream.ts'
import { fresh, type SubjectServer } from './adapter-subjects.ts'
import { type MysqlDatabase, newMysqlDatabase } from './mysql-database.ts'
import { playWriter, type Writer, writers } from './mysql-writers.ts'

/** A schedule takes far less than a second by itself. */
const SCHEDULE_MS = 30_000

/** A reader, and when it is interrupted: after so long it is closed, or its connection is killed. */
export interface ReaderPlan {
  readonly from: 'start' | 'head'
  /** Reads to the head again and again. */
  readonly toHead: boolean
  readonly startMs: number
  readonly interruptions: readonly { readonly afterMs: number; readonly kill: boolean; readonly handled: number }[]
}

/** What applications and readers do with one table. */
export interface WritersSchedule {
  readonly layout: 'plain' | 'partitioned'
  /** Of ids: `auto_increment_increment`, and `auto_increment_offset`. */
  readonly step: number
  readonly offset: number
  readonly writers: readonly Writer[]
  readonly readers: readonly ReaderPlan[]
}

/** Options of `checkConcurrentWriters`. */
export interface ConcurrentWritersOptions {
  readonly runs: number
  readonly seed: number
  /** The stream of a table that is held against what was committed. Default: that of `mysqlEvents`. */
  readonly stream?: (pool: Pool, table: string) => StreamFunc
  /**
   * Whether some tables are partitioned. Default: true. With `innodb_autoinc_lock_mode` 0 or 1, INSERT … SELECT into the
   * partitions of one table deadlocks by itself.
   */
  readonly partitions?: boolean
  /** Whether it is a failure that anyone waits for a lock. Default: true. */
  readonly refuseWaits?: boolean
  readonly signal?: AbortSignal
}

/** What was played. */
export interface ConcurrentWritersResult {
  readonly schedules: number
  /** Events that were committed. */
  readonly events: number
  /** With the seed and the schedule; undefined if nothing went wrong. */
  readonly failure: string | undefined
}

/** Of a server that `checkConcurrentWriters` plays on: it reads the binary log and counts waits. */
export function concurrentWritersArgs(column: 'current' | 'older'): readonly string[] {
  return [
    '--log-bin=binlog',
    '--server-id=1',
    '--innodb-autoinc-lock-mode=2',
    '--sync-binlog=0',
    '--innodb-flush-log-at-trx-commit=2',
    ...(column === 'current'
      ? []
      : [
          '--binlog-format=ROW',
          '--plugin-load-add=metadata_lock_info',
          '--performance-schema=ON',
          '--performance-schema-instrument=wait/lock/metadata/sql/mdl=ON',
        ]),
  ]
}

const reader = fc.record<Omit<ReaderPlan, 'from' | 'toHead'>>({
  startMs: fc.nat({ max: 60 }),
  interruptions: fc.array(
    fc.record({ afterMs: fc.integer({ min: 5, max: 80 }), kill: fc.boolean(), handled: fc.nat({ max: 9 }) }),
    { maxLength: 4 },
  ),
})
const readers: fc.Arbitrary<readonly ReaderPlan[]> = fc
  .tuple(reader, reader, reader, reader)
  .map(([start, head, resuming, toHead]) => [
    { ...start, from: 'start', toHead: false, startMs: 0, interruptions: [] },
    { ...head, from: 'head', toHead: false },
    { ...resuming, from: 'start', toHead: false },
    { ...toHead, from: 'start', toHead: true },
  ])
const schedules: fc.Arbitrary<WritersSchedule> = fc
  .record({
    layout: fc.constantFrom<WritersSchedule['layout']>('plain', 'plain', 'partitioned'),
    step: fc.constantFrom(1, 1, 1, 1, 2, 5),
    offset: fc.constantFrom(1, 2),
    writers,
    readers,
  })
  .map((schedule) => (schedule.step === 1 ? { ...schedule, offset: 1 } : schedule))

/**
 * Plays schedules of up to 16 writers and four readers on real tables. Each reader must be handed what was committed, in the
 * order of ids, each event once at its position; no statement of a writer may fail or wait for a lock; no row may be
 * updated or deleted. The server must be the caller's alone, and have been started with `concurrentWritersArgs`.
 */
export async function checkConcurrentWriters(
  server: SubjectServer,
  { runs, seed, stream = ourStream, refuseWaits = true, partitions = true, signal }: ConcurrentWritersOptions,
): Promise<ConcurrentWritersResult> {
  await using database = await newMysqlDatabase(server)
  const pool = await readersPool(database)
  const connections: Connection[] = []
  let played = 0
  let events = 0
  const outcome = await fc.check(
    fc.asyncProperty(schedules, async (generated) => {
      if (signal?.aborted) return
      const schedule = partitions ? generated : { ...generated, layout: 'plain' as const }
      while (connections.length < schedule.writers.length) connections.push(await database.connect())
      events += await playSchedule(database, connections, schedule, {
        stream: (table) => stream(pool, table),
        refuseWaits,
      })
      played++
    }),
    // What happens depends on the moment as well: a smaller schedule says no more than the first that failed.
    { numRuns: runs, seed, endOnFailure: true },
  )
  const failure = outcome.failed
    ? `${String(outcome.errorInstance)}\nseed ${outcome.seed}, path ${outcome.counterexamplePath}, schedule ${JSON.stringify(outcome.counterexample?.[0])}`
    : undefined
  return { schedules: played, events, failure }
}

/** The readers have an account of their own, so that their connections can be told from the writers'. */
async function readersPool({ name, sql, poolOf, onEnd }: MysqlDatabase): Promise<Pool> {
  await sql(`create user ${name}`)
  await sql(`grant all on *.* to ${name}`)
  onEnd(() => sql(`drop user ${name}`))
  return poolOf({ user: name })
}

function ourStream(pool: Pool, table: string): StreamFunc {
  return mysqlEvents(pool, { table, pollMs: { min: 2, max: 10 } }).source.stream
}

/** Plays one; returns how many events were committed. Throws where something is lost, fails, waits or is changed. */
async function playSchedule(
  database: MysqlDatabase,
  connections: Connection[],
  { layout, step, offset, writers: all, readers: plans }: WritersSchedule,
  { stream, refuseWaits }: { stream(table: string): StreamFunc; refuseWaits: boolean },
): Promise<number> {
  const { sql } = database
  const table = fresh('events').replaceAll('-', '_')
  await mysqlEvents(database.pool, { table }).createTable()
  const once = `alter table ${table} add once varchar(20) character set ascii null`
  await sql(layout === 'plain' ? `${once}, add unique (once)` : `${once} partition by hash (id) partitions 3`)
  if (layout === 'plain') {
    const sentinels = Array.from({ length: 17 }, (_, i) => `('-', now(), 1, 'w${String(i).padStart(2, '0')}')`)
    await sql(`insert into ${table} (foreign_id, timestamp, type, once) values ${sentinels.join(', ')}`)
  }
  await sql('flush binary logs')
  const waited = await waits(database)

  const written = new AbortController() // its reason is the last id
  const failed = new AbortController()
  const fail = (error: unknown): never => {
    failed.abort(error)
    throw error
  }
  const following = plans.map((plan) =>
    follow(database, table, plan, stream(table), { written: written.signal, signal: failed.signal }).catch(fail),
  )
  const writing = all.map(async (writer, number) => {
    connections[number] = await playWriter(
      {
        table,
        step,
        offset,
        connect: database.connect,
        kill: async (connection) => void (await sql(`kill ${connection.threadId}`)),
      },
      number,
      writer,
      connections[number] as Connection,
    ).catch(fail)
  })
  const late = setTimeout(
    () => failed.abort(new Error(`the schedule was not over within ${SCHEDULE_MS} ms`)),
    SCHEDULE_MS,
  )
  const settled = await Promise.allSettled([
    ...following,
    (async () => {
      await Promise.all(writing)
      await sql(`insert into ${table} (foreign_id, timestamp, type) values ('last', utc_timestamp(6), 1)`)
      written.abort(BigInt((await newest(database, table)) ?? 0))
    })(),
    ...writing,
  ])
  clearTimeout(late)
  if (failed.signal.aborted) {
    for (const connection of connections.splice(0)) connection.destroy()
    throw failed.signal.reason
  }
  const broken = settled.find((each) => each.status === 'rejected')
  if (broken !== undefined) throw broken.reason

  const committed = (await sql(`select id, foreign_id from ${table} where type <> 0 order by id`)).map(
    ([id, foreignId]) => `${id} ${foreignId}`,
  )
  for (const [index, each] of (await Promise.all(following)).entries()) check(each, committed, `reader ${index}`)
  const now = await waits(database)
  if (refuseWaits && now !== waited) throw new Error(`writers waited: ${waited} before, ${now} after`)
  const changes = await changesInLog(database)
  if (changes.length > 0) throw new Error(`rows were changed: ${changes.join('; ')}`)
  await sql(`drop table ${table}`)
  return committed.length
}

/** What a reader was handed: from where on, and what was visible up to there at that moment. */
interface Followed {
  readonly after: bigint
  readonly before: readonly string[]
  readonly handled: readonly string[]
}

function check({ after, before, handled }: Followed, committed: readonly string[], who: string): void {
  const expected = committed.filter((each) => BigInt(each.slice(0, each.indexOf(' '))) > after)
  const earlier = committed.slice(0, committed.length - expected.length)
  const lost = [
    ...expected.filter((each) => !handled.includes(each)),
    ...earlier.filter((each) => !before.includes(each)),
  ]
  if (lost.length > 0)
    throw new Error(`${who} lost ${lost.length} of ${committed.length} events: ${lost.slice(0, 5).join(', ')}`)
  if (!isDeepStrictEqual(handled, expected)) {
    const at = handled.findIndex((each, i) => each !== expected[i])
    throw new Error(`${who} was handed ${handled[at]} where ${expected[at]} was committed, after ${handled[at - 1]}`)
  }
}

/** Reads as its plan says until its position is the last id. What was handled after the last save is handled again, as `run` does. */
async function follow(
  database: MysqlDatabase,
  table: string,
  { from, toHead, startMs, interruptions }: ReaderPlan,
  stream: StreamFunc,
  { written, signal }: { written: AbortSignal; signal: AbortSignal },
): Promise<Followed> {
  await sleep(startMs)
  const handled: string[] = []
  let cursor = ''
  let after = 0n
  let before: string[] | undefined
  const left = [...interruptions]
  const isDone = (): boolean => written.aborted && BigInt(cursor || 0) >= (written.reason as bigint)
  while (!isDone()) {
    signal.throwIfAborted()
    const fromHead = from === 'head' && cursor === ''
    const head = toHead ? BigInt((await newest(database, table)) ?? 0) : 0n
    const interruption = left.shift()
    let interrupted = false
    let timer: NodeJS.Timeout | undefined
    try {
      await using opened = await stream(cursor, { ...(toHead ? { toHead } : {}), ...(fromHead ? { fromHead } : {}) })
      const close = (): void => void opened[Symbol.asyncDispose]()
      signal.addEventListener('abort', close, { once: true })
      written.addEventListener('abort', () => isDone() && close(), { once: true })
      signal.throwIfAborted()
      if (isDone()) break // while it was being opened
      if (interruption !== undefined) {
        timer = setTimeout(() => {
          interrupted = true
          if (interruption.kill)
            killReaders(database).catch(() => {}) // the test is over
          else close()
        }, interruption.afterMs)
      }
      for await (const batch of opened) {
        if (fromHead && cursor === '') {
          after = BigInt(batch.cursor)
          const visible = await database.sql(`select id, foreign_id from ${table} where id <= ${after} and type <> 0`)
          before = visible.map(([id, foreignId]) => `${id} ${foreignId}`)
        }
        const events = interrupted ? batch.events.slice(0, interruption?.handled) : batch.events
        handled.push(...events.map(textOf))
        cursor = events.length === batch.events.length ? batch.cursor : (events.at(-1)?.id ?? cursor)
        if (interrupted || isDone()) break
      }
    } catch (error) {
      if (!isKilled(error)) throw error
      interrupted = true
    } finally {
      clearTimeout(timer)
    }
    if (toHead && !interrupted && BigInt(cursor || 0) < head) {
      throw new Error(`a stream to the head ended at ${cursor}, but the head was ${head}`)
    }
  }
  return { after, before: before ?? [], handled }
}

const textOf = ({ id, foreignId }: Event): string => `${id} ${foreignId}`

/** A reader may be killed as another one was to be. */
function isKilled(error: unknown): boolean {
  const { code, errno, message } = error as { code?: string; errno?: number; message?: string }
  return (
    code === 'MYSQL_CONNECTION' ||
    code === 'PROTOCOL_CONNECTION_LOST' ||
    errno === 1317 || // a query was interrupted
    /closed state/.test(message ?? '')
  )
}

async function killReaders({ sql, name }: MysqlDatabase): Promise<void> {
  for (const [id] of await sql('select id from information_schema.processlist where user = ?', [name]))
    await sql(`kill ${id as string}`).catch(() => {}) // it is gone
}

async function newest({ sql }: MysqlDatabase, table: string): Promise<string | null> {
  return (await sql(`select max(id) from ${table}`))[0]?.[0] as string | null
}

/** How often a row was waited for, and how often connections of writers have waited for a metadata lock. */
async function waits({ sql, name }: MysqlDatabase): Promise<string> {
  const [rows] = await sql("show global status like 'innodb_row_lock_waits'")
  const [metadata] = await sql(
    `select sum(count_star) from performance_schema.threads join performance_schema.events_waits_summary_by_thread_by_event_name using (thread_id)
      where event_name = 'wait/lock/metadata/sql/mdl' and processlist_db = ? and processlist_user = 'root' and processlist_id <> connection_id()`,
    [name],
  )
  return `${rows?.[1]} for rows, ${metadata?.[0] ?? 0} for metadata locks`
}

/** Rows that were updated or deleted, by the newest binary log. */
async function changesInLog({ sql }: MysqlDatabase): Promise<string[]> {
  const log = (await sql('show binary logs')).at(-1)?.[0] as string
  const found = await sql(`show binlog events in '${log}'`)
  await sql(`purge binary logs to '${log}'`)
  const kinds = found.map(([, , kind]) => kind as string)
  if (!kinds.some((kind) => /^write_rows/i.test(kind)))
    throw new Error(`${log} shows no row at all: ${kinds.join(', ')}`)
  return kinds.filter((kind) => /^(update|delete)_rows/i.test(kind))
}

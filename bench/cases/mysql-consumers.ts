import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { createPool, type Pool } from 'mysql2/promise'
import { type EventStream, eventsOf, type Notifier } from 'reflex-bridge'
import { type MysqlEvents, type MysqlEventsOptions, mysqlEvents, mysqlOptions } from 'reflex-bridge/mysql'
import { redisNotifier } from 'reflex-bridge/redis'
import { startServer } from 'reflex-bridge/testing'
import { against, compare, quantile, type Result } from '../measure.ts'
import { WRITERS, write } from '../mysql-writers.ts'

const CONSUMERS = 20
const EVENTS_A_SECOND = 1000

/** What consumers of one event table cost: queries, the time from a commit to the handler, and what writers notice of them. */
export async function mysqlConsumerCases(url: string, { full }: { readonly full: boolean }): Promise<Result[]> {
  const pool = createPool({ ...mysqlOptions, uri: new URL('/bench', url).href, connectionLimit: WRITERS + 1 })
  try {
    const seconds = full ? 20 : 5
    return [...(await queries(pool, seconds)), ...(await latencies(url, pool, seconds)), await throughput(pool, full)]
  } finally {
    await pool.end()
  }
}

/** Each call makes an empty table, and what reads and writes it. */
let tables = 0
async function newTable(
  pool: Pool,
  options: MysqlEventsOptions = {},
): Promise<MysqlEvents & { readonly table: string }> {
  const table = `consumers_${++tables}`
  const events = mysqlEvents(pool, { table, ...options })
  await events.createTable()
  return { ...events, table }
}

/** Hands every event to `handle` until it is disposed of. */
async function follow(events: MysqlEvents, handle: (id: string) => void): Promise<AsyncDisposable> {
  const stream: EventStream = await events.source.stream('', {})
  const reading = (async () => {
    for await (const { id } of eventsOf(stream)) handle(id)
  })()
  return {
    [Symbol.asyncDispose]: async () => {
      await stream[Symbol.asyncDispose]()
      await reading
    },
  }
}

/** Selects a second, at rest and under load, of one consumer and of twenty. */
async function queries(pool: Pool, seconds: number): Promise<Result[]> {
  const selects = async (): Promise<number> => {
    const [rows] = await pool.query("show global status like 'Com_select'")
    return Number((rows as { Value: string }[])[0]?.Value)
  }
  const measure = async (consumers: number): Promise<{ atRest: number; underLoad: number }> => {
    const events = await newTable(pool)
    await using following = new AsyncDisposableStack()
    for (let left = consumers; left > 0; left--) following.use(await follow(events, () => {}))
    await write(pool, events, { perSecond: 100, seconds: 1 })
    const perSecond = async (work: () => Promise<unknown>): Promise<number> => {
      const [before, from] = [await selects(), performance.now()]
      await work()
      return (((await selects()) - before) * 1000) / (performance.now() - from)
    }
    await sleep(1000)
    const atRest = await perSecond(() => sleep(seconds * 1000))
    const underLoad = await perSecond(() => write(pool, events, { perSecond: EVENTS_A_SECOND, seconds }))
    return { atRest, underLoad }
  }
  const [one, twenty] = [await measure(1), await measure(CONSUMERS)]
  const rest = { referenceName: 'one consumer', unit: 'selects/s' }
  const load = `${EVENTS_A_SECOND.toLocaleString('en')} events/s`
  return [
    against({ case: `MySQL, ${CONSUMERS} consumers, at rest`, ours: twenty.atRest, reference: one.atRest, ...rest }),
    against({
      case: `MySQL, ${CONSUMERS} consumers, ${load}`,
      ours: twenty.underLoad,
      reference: one.underLoad,
      ...rest,
    }),
  ]
}

/** From when the commit is sent to the handler, in ms: in the process that commits, and in another one with and without a notifier. */
async function latencies(url: string, pool: Pool, seconds: number): Promise<Result[]> {
  await using server = await startServer('redis')
  const redis = new Redis(server.url, { lazyConnect: true })
  const notifier: Notifier = redisNotifier(redis, CHANNEL)
  const ways = [
    { way: 'in process', limit: 2, options: {}, reader: undefined },
    { way: 'in another process, by a notifier', limit: 10, options: { notifier }, reader: { redis: server.url } },
    { way: 'in another process, by polling', limit: 255, options: {}, reader: {} },
  ]
  const results: Result[] = []
  for (const { way, limit, options, reader } of ways) {
    const events = await newTable(pool, options)
    const sent = new Map<string, number>()
    const times: number[] = []
    const onEvent = (id: string, at: number): void => void times.push(at - (sent.get(id) ?? Number.NaN))
    await using _ = await (reader === undefined
      ? follow(events, (id) => onEvent(id, now()))
      : followElsewhere({ url: new URL('/bench', url).href, table: events.table, ...reader }, onEvent))
    await write(pool, events, { perSecond: EVENTS_A_SECOND, seconds: 1 })
    sent.clear()
    await sleep(500)
    times.length = 0
    const onCommit = (id: string): void => void sent.set(id, now())
    const count = await write(pool, events, { perSecond: EVENTS_A_SECOND, seconds, onCommit })
    for (let left = 100; left > 0 && times.length < count; left--) await sleep(50)
    if (times.length !== count) throw new Error(`${way}: ${times.length} of ${count} events came`)
    console.error(`${way}: ${Math.round(count / seconds)} events/s committed`)
    for (const [label, share] of [
      ['p50', 0.5],
      ['p99', 0.99],
    ] as const) {
      const limits = { reference: limit, referenceName: `at most ${limit} ms at p50`, unit: 'ms' }
      results.push(
        against({ case: `MySQL commit → handler ${way}, ${label}`, ours: quantile(times, share), ...limits }),
      )
    }
  }
  redis.disconnect()
  return results
}

/** What `mysql-reader-process.ts` is started with. */
export interface ReaderProcess {
  readonly url: string
  readonly table: string
  /** Where the notifier is; undefined for none. */
  readonly redis?: string
}

/** The channel of the notifier. */
export const CHANNEL = 'bench'

/** Now, in ms, by a clock that all processes of a machine share. */
export function now(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/** Like `follow`, in a process of its own, which says by its own clock when each event came. */
async function followElsewhere(
  reader: ReaderProcess,
  onEvent: (id: string, at: number) => void,
): Promise<AsyncDisposable> {
  const child = fork(new URL('mysql-reader-process.ts', import.meta.url), [JSON.stringify(reader)])
  const exited = once(child, 'exit')
  await once(child, 'message')
  child.on('message', (came) => {
    for (const [id, at] of came as [string, number][]) onEvent(id, at)
  })
  return {
    [Symbol.asyncDispose]: async () => {
      child.disconnect()
      await exited
    },
  }
}

/** Commits a second of writers that do all they can, a fifth of them rolled back, with three readers attached and with none. */
async function throughput(pool: Pool, full: boolean): Promise<Result> {
  const seconds = full ? 5 : 2
  const measure = async (readers: number): Promise<number> => {
    const events = await newTable(pool)
    await using following = new AsyncDisposableStack()
    for (let left = readers; left > 0; left--) following.use(await follow(events, () => {}))
    return (await write(pool, events, { perSecond: Number.POSITIVE_INFINITY, seconds })) / seconds
  }
  return compare({
    case: `MySQL, ${WRITERS} writers, 3 readers attached`,
    referenceName: 'no reader',
    unit: 'commits/s',
    ours: () => measure(3),
    reference: () => measure(0),
  })
}

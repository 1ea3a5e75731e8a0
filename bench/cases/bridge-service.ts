import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createPool } from 'mysql2/promise'
import { eventsOf, wireNames } from 'reflex-bridge'
import { mysqlCursors, mysqlEvents, mysqlOptions } from 'reflex-bridge/mysql'
import type { Destination, OpenDestination } from '../destination.ts'
import { against, quantile, type Result } from '../measure.ts'
import { startMeasured } from '../measured-process.ts'
import { write } from '../mysql-writers.ts'

const EVENTS_A_SECOND = 1000
/** The first start fills the cache of compiled code, which a service that is started again finds. */
const STARTS = 4

/** Where it is measured. */
export interface ServiceOptions {
  readonly url: string
  readonly databaseUrl: string
  readonly full: boolean
}

/**
 * `reflex-bridge run CONFIG` in a process of its own: from its start to the first event at the destination, and at 1,000 events/s
 * the time from commit to a consumer there, its processor time and its memory.
 */
export async function service(
  { title, server, open }: Destination,
  { url, databaseUrl, full }: ServiceOptions,
): Promise<Result[]> {
  await using stack = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'reflex-bridge-bench-'))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const pool = createPool({ ...mysqlOptions, uri: databaseUrl })
  stack.defer(() => pool.end())
  await mysqlCursors(pool).createTable()
  const destination = stack.use(await open(url))
  const name = `service_${server}`
  const events = mysqlEvents(pool, { table: name })
  await events.createTable()
  await events.append({ type: 1, foreignId: 'first' })

  const start = async (log: string): Promise<ReturnType<typeof startMeasured>> => {
    await destination.create?.(log)
    const path = join(folder, `${log}.json`)
    const routes = { [log]: { source: { url: databaseUrl, table: name }, sink: destination.config(log) } }
    await writeFile(path, JSON.stringify({ logLevel: 'warn', routes }))
    return startMeasured([resolve('src/cli/main.ts'), 'run', path], join(folder, 'compiled'))
  }

  const starts: number[] = []
  for (let i = 0; i < STARTS; i++) {
    const from = performance.now()
    const running = await start(`${name}_start_${i}`)
    const first = await follow(destination, `${name}_start_${i}`, () => {})
    await Promise.race([first.came, running.ended])
    if (i > 0) starts.push(performance.now() - from)
    await first[Symbol.asyncDispose]()
    running.stop()
    await running.ended
  }

  const running = await start(name)
  const sent = new Map<string, number>()
  const times: number[] = []
  await using following = await follow(destination, name, (id) => {
    const at = sent.get(id)
    if (at !== undefined) times.push(performance.now() - at)
  })
  await Promise.race([following.came, running.ended])
  await write(pool, events, { perSecond: EVENTS_A_SECOND, seconds: 1 })
  const seconds = full ? 30 : 10
  const onCommit = (id: string): void => void sent.set(id, performance.now())
  const count = await write(pool, events, { perSecond: EVENTS_A_SECOND, seconds, onCommit })
  for (let left = 200; left > 0 && times.length < count; left--) await sleep(50)
  if (times.length !== count) throw new Error(`${title}: ${times.length} of ${count} events came`)
  running.stop()
  const { resident, cpu } = await running.ended
  const on = `bridge, MySQL → ${title}`
  const load = `at ${Math.round(count / seconds)} events/s`
  const goal = (figure: string, ours: number, reference: number, unit: string): Result =>
    against({ case: `${on}, ${figure}`, ours, reference, referenceName: 'the goal', unit })
  return [
    goal('from its start to the first event', quantile(starts, 0.5), 1000, 'ms'),
    goal(`commit → consumer ${load}, p50`, quantile(times, 0.5), 5, 'ms'),
    goal(`commit → consumer ${load}, p99`, quantile(times, 0.99), 50, 'ms'),
    goal(`resident ${load}`, resident / 1e6, 150, 'MB'),
    against({
      case: `${on}, processor ${load}`,
      ours: cpu / (seconds + 1),
      reference: 1,
      referenceName: 'one core',
      unit: 's/s',
    }),
  ]
}

interface Following extends AsyncDisposable {
  /** Resolves with the first event. */
  readonly came: Promise<void>
}

/** Hands the id that each event has in the table to `handle`, until it is disposed of; opens the log as soon as it is there. */
async function follow(destination: OpenDestination, log: string, handle: (id: string) => void): Promise<Following> {
  const ending = new AbortController()
  const first = Promise.withResolvers<void>()
  const stream = await destination.source(log).stream('', { signal: ending.signal })
  const reading = (async () => {
    try {
      for await (const { headers } of eventsOf(stream)) {
        first.resolve()
        handle(headers[wireNames.sourceId] as string)
      }
    } catch (error) {
      if (!ending.signal.aborted) throw error
    } finally {
      await stream[Symbol.asyncDispose]()
    }
  })()
  return {
    came: Promise.race([first.promise, reading]),
    [Symbol.asyncDispose]: async () => {
      ending.abort()
      await reading
    },
  }
}

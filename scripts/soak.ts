// Holds our own adapters, on real servers with processes of their own, against the conformance suites for as long as is asked.
// Usage: npm run soak -- [--full] [--minutes N] [--only ADAPTER,...] [--seed N] [--json]
import { parseArgs } from 'node:util'
import { checkProperty, type Failure } from '../src/testing/conformance/check-property.ts'
import { describeFailure } from '../src/testing/conformance/describe-failure.ts'
import type { Subject } from '../src/testing/conformance/property.ts'
import { type Kind, suiteOf } from '../src/testing/conformance/suites.ts'
import { replay } from '../src/testing/conformance/verify.ts'
import type { CursorStoreSubject } from '../src/testing/cursors/cursor-store-subject.ts'
import { type Server, type ServerName, startServer } from '../src/testing/servers/index.ts'
import type { SourceSubject } from '../src/testing/source/source-subject.ts'
import type { AdapterSubjects } from '../test/subjects/adapter-subjects.ts'
import { checkConcurrentWriters, concurrentWritersArgs } from '../test/subjects/concurrent-writers.ts'
import { jetstreamSubjects } from '../test/subjects/jetstream.ts'
import { kafkaSubjects } from '../test/subjects/kafka.ts'
import { killRounds } from '../test/subjects/kill-rounds.ts'
import { memorySubjects } from '../test/subjects/memory.ts'
import { mysqlSubjects } from '../test/subjects/mysql.ts'
import { redisSubjects } from '../test/subjects/redis.ts'
import { routeOf } from '../test/subjects/route.ts'
import { sqliteSubjects } from '../test/subjects/sqlite.ts'
import { soakRoutes } from './soak-routes.ts'

type OwnServer = Server & Required<Pick<Server, 'process'>>

/** Adapters, and the server that each needs. Their sinks are played as the ends of routes from SQLite too. */
const adapters: Readonly<
  Record<
    string,
    {
      readonly server?: ServerName
      subjects(server: OwnServer): Promise<AdapterSubjects>
      /** A property of this adapter alone, on a server of its own that is started with `args`. */
      readonly also?: { readonly name: string; readonly args: readonly string[]; check: typeof checkConcurrentWriters }
    }
  >
> = {
  memory: { subjects: memorySubjects },
  sqlite: { subjects: sqliteSubjects },
  redis: { server: 'redis', subjects: redisSubjects },
  jetstream: { server: 'nats', subjects: jetstreamSubjects },
  mysql: {
    server: 'mysql',
    subjects: mysqlSubjects,
    also: {
      name: 'concurrent writers',
      args: concurrentWritersArgs(process.env['REFLEX_BRIDGE_SERVERS'] === 'older' ? 'older' : 'current'),
      check: checkConcurrentWriters,
    },
  },
  kafka: { server: 'kafka', subjects: kafkaSubjects },
}

/** Whole routes from MySQL into each broker: not an adapter, but asked for as one. */
const ROUTES = 'routes'
const names = [...Object.keys(adapters), ROUTES]
/** With `--minutes N`, one round of each fault under each route for so many of them. */
const ROUND_MS = 60_000

const FULL_SCHEDULES = 1000
const FULL_KILLS = 100
const KILLS_AT_ONCE = 10
/** What is frozen takes five seconds to be noticed: so much is given to one property in one round. */
const PROPERTY_MS = 150_000
/** With `--minutes N`, one schedule of an adapter's own property for each so many of them. */
const ALSO_MS = 10_000

const usage = `Usage: npm run soak [-- OPTION...]

  --full           1,000 schedules and 100 kills of the server, for each adapter; 100 kills of the bridge, 100 of the broker
                   and 100 losses of what it had confirmed, for each route
  --minutes N      rounds of ever new seeds for so long. Default without --full: 5
  --only NAMES     some of ${names.join(', ')}, with commas. Default: all
  --seed N         where the seeds begin. Default: another one each time
  --json           the result as one JSON object in the last line

Servers are fetched and started here, of the column that REFLEX_BRIDGE_SERVERS says (current or older). Ctrl-C ends it after the
schedule under way. Exit code 1 if a property was broken; 2 for wrong input.`

/** What came of one adapter. */
interface Result {
  readonly adapter: string
  version: string
  schedules: number
  kills: number
  readonly failures: { readonly subject: string; readonly text: string }[]
  elapsedMs: number
}

const stopped = new AbortController()
process.once('SIGINT', () => stopped.abort())
process.once('SIGTERM', () => stopped.abort())
try {
  process.exitCode = await main()
} catch (error) {
  console.error(`soak: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 2
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      full: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
      minutes: { type: 'string' },
      only: { type: 'string', default: names.join(',') },
      seed: { type: 'string', default: String(Math.trunc(Math.random() * 2 ** 31)) },
    },
  })
  if (values.help) {
    console.log(usage)
    return 0
  }
  const seed = numberOf('--seed', values.seed)
  const minutes = values.minutes === undefined ? (values.full ? undefined : 5) : numberOf('--minutes', values.minutes)
  const asked = values.only.split(',')
  const unknown = asked.find((name) => !names.includes(name))
  if (unknown !== undefined)
    throw new Error(`--only: expected some of ${names.join(', ')}, found ${JSON.stringify(unknown)}`)
  const results: Result[] = []
  const eachMs = minutes === undefined ? undefined : (minutes * 60_000) / asked.length
  for (const name of asked) {
    if (stopped.signal.aborted) break
    if (name === ROUTES) results.push(...(await routeResults(eachMs)))
    else results.push(await soak(name, { seed, eachMs }))
  }
  console.log(`\nseed ${seed}, ${new Date().toISOString().slice(0, 10)}\n\n${table(results)}`)
  for (const { adapter, failures } of results)
    for (const { subject, text } of failures) console.log(`\n${adapter}, ${subject}:\n${text}`)
  if (values.json) console.log(JSON.stringify({ seed, results }))
  return results.some(({ failures }) => failures.length > 0) ? 1 : 0
}

async function soak(adapter: string, { seed, eachMs }: { seed: number; eachMs: number | undefined }): Promise<Result> {
  const { server: name, subjects: open, also } = adapters[adapter] as (typeof adapters)[string]
  const startedAt = performance.now()
  const result: Result = { adapter, version: '', schedules: 0, kills: 0, failures: [], elapsedMs: 0 }
  const server = name === undefined ? undefined : await startServer(name, { from: ['native', 'docker'] })
  try {
    result.version = server?.version ?? process.versions.node
    const subjects = await open(server as OwnServer)
    try {
      await rounds(subjects)
    } finally {
      await subjects[Symbol.asyncDispose]()
    }
  } finally {
    await server?.[Symbol.asyncDispose]()
  }
  if (name !== undefined && also !== undefined && !stopped.signal.aborted) await playAlso(name, also)
  result.elapsedMs = performance.now() - startedAt
  return result

  async function playAlso(
    server: ServerName,
    { name: property, args, check }: NonNullable<(typeof adapters)[string]['also']>,
  ): Promise<void> {
    await using own = await startServer(server, { from: ['native', 'docker'], args })
    const runs = eachMs === undefined ? FULL_SCHEDULES : Math.ceil(eachMs / ALSO_MS)
    const { schedules, failure } = await check(own, { runs, seed, signal: stopped.signal })
    result.schedules += schedules
    if (failure !== undefined) result.failures.push({ subject: property, text: failure })
    console.log(`${adapter.padEnd(10)} ${property}: ${schedules} schedules, seed ${seed}; ${result.schedules} in all`)
  }

  async function rounds({ sources, sinks, stores }: AdapterSubjects): Promise<void> {
    await using table = await sqliteSubjects()
    const [source] = Object.values(table.sources) as [() => Promise<SourceSubject>]
    const [checkpoints] = Object.values(table.stores) as [() => Promise<CursorStoreSubject>]
    const all: [Kind, string, () => PromiseLike<Subject>][] = [
      ...Object.entries(sources).map(([subject, create]): (typeof all)[number] => ['source', subject, create]),
      ...Object.entries(sinks).map(([subject, create]): (typeof all)[number] => ['sink', subject, create]),
      ...Object.entries(stores).map(([subject, create]): (typeof all)[number] => ['cursors', subject, create]),
      ...Object.entries(sinks).map(([subject, sink]): (typeof all)[number] => [
        'bridge',
        `sqlite to ${subject}`,
        () => routeOf({ source, sink, checkpoints }),
      ]),
    ]
    const properties = all.reduce((sum, [kind]) => sum + suiteOf(kind).properties.length, 0)
    const kill = Object.entries(sources)[0]
    for (let round = 0; ; round++) {
      const isFull = result.schedules >= FULL_SCHEDULES && (server === undefined || result.kills >= FULL_KILLS)
      const isOver = eachMs === undefined ? isFull : performance.now() - startedAt > eachMs
      if (isOver || stopped.signal.aborted) return
      if (eachMs !== undefined || result.schedules < FULL_SCHEDULES) {
        const runs = eachMs === undefined ? Math.ceil((FULL_SCHEDULES * 1.2) / properties) : 3
        for (const [kind, subject, create] of all) await checkAll(kind, subject, create, { runs, seed: seed + round })
      }
      if (server === undefined || kill === undefined || stopped.signal.aborted) continue
      await replay({ create: kill[1], schedule: killRounds(KILLS_AT_ONCE) }).catch((error: unknown) => {
        result.failures.push({ subject: `${kill[0]}, ${KILLS_AT_ONCE} kills`, text: String(error) })
      })
      result.kills += KILLS_AT_ONCE
      console.log(`${adapter.padEnd(10)} ${kill[0]}: killed ${result.kills} times`)
    }
  }

  async function checkAll(
    kind: Kind,
    subject: string,
    create: () => PromiseLike<Subject>,
    options: { readonly runs: number; readonly seed: number },
  ): Promise<void> {
    const suite = suiteOf(kind)
    let played = 0
    for (const property of suite.properties) {
      if (stopped.signal.aborted) return
      const { schedules, failure } = await checkProperty(suite, property, create, {
        ...options,
        timeLimitMs: PROPERTY_MS,
        limitMs: 5000,
        signal: stopped.signal,
      })
      played += schedules
      result.schedules += schedules
      if (failure === undefined) continue
      result.failures.push({ subject, text: textOf(kind, failure) })
      console.log(`${adapter.padEnd(10)} ${subject}: ${failure.property} is broken: ${failure.message}`)
    }
    console.log(
      `${adapter.padEnd(10)} ${subject}: ${played} schedules, seed ${options.seed}; ${result.schedules} in all`,
    )
  }
}

async function routeResults(eachMs: number | undefined): Promise<Result[]> {
  const rounds = eachMs === undefined ? FULL_KILLS : Math.ceil(eachMs / ROUND_MS)
  const played = await soakRoutes(rounds, { signal: stopped.signal, log: console.log })
  return played.map(({ route, version, rounds: kills, failure, elapsedMs }) => ({
    adapter: route,
    ...{ version, schedules: 0, kills, elapsedMs },
    failures: failure === undefined ? [] : [{ subject: 'route', text: failure }],
  }))
}

function textOf(kind: Kind, failure: Failure): string {
  const rule = suiteOf(kind).properties.find(({ id }) => id === failure.property)
  return describeFailure(kind, failure, rule ?? { title: failure.property, why: '' })
}

function table(results: readonly Result[]): string {
  const rows = results.map(({ adapter, version, schedules, kills, failures, elapsedMs }) => [
    adapter,
    version,
    schedules,
    kills,
    failures.length,
    `${(elapsedMs / 60_000).toFixed(1)} min`,
  ])
  const head = ['adapter', 'server, or Node', 'schedules', 'kills or losses', 'properties broken', 'time']
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
}

function numberOf(option: string, text: string): number {
  const value = Number(text)
  if (Number.isFinite(value) && value >= 0) return value
  throw new Error(`${option} must be a number, but is ${JSON.stringify(text)}`)
}

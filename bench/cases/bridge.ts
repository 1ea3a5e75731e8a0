import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createPool } from 'mysql2/promise'
import { bridge } from 'reflex-bridge'
import { mysqlCursors, mysqlEvents, mysqlOptions } from 'reflex-bridge/mysql'
import { startServers } from 'reflex-bridge/testing'
import { bareLoop, barePages } from '../bare-loop.ts'
import type { Destination } from '../destination.ts'
import { destinations } from '../destinations.ts'
import { COUNT, sampleEvents } from '../events.ts'
import { compare, compareEach, type Result, rate } from '../measure.ts'
import { startMeasured, type Usage } from '../measured-process.ts'
import { service } from './bridge-service.ts'

const PAGE = 1000
const MEMORY_ROUNDS = 3

/** The bridge from MySQL into each broker, against a loop of a bare select and a bare publish: events/s, memory, and what the service takes at work. */
export async function bridgeCases({ full }: { readonly full: boolean }): Promise<Result[]> {
  await using stack = new AsyncDisposableStack()
  const servers = stack.use(await startServers(['mysql', ...destinations.map(({ server }) => server)]))
  const databaseUrl = new URL('/bench', servers.mysql.url).href
  await fillTable(servers.mysql.url, databaseUrl)
  const results: Result[] = []
  for (const destination of destinations) {
    const { url } = servers[destination.server]
    results.push(await speed(destination, { url, databaseUrl }))
    results.push(...(await memory(destination, { url, databaseUrl })))
    results.push(...(await service(destination, { url, databaseUrl, full })))
  }
  return results
}

interface Urls {
  readonly url: string
  readonly databaseUrl: string
}

async function fillTable(serverUrl: string, databaseUrl: string): Promise<void> {
  const admin = createPool({ ...mysqlOptions, uri: serverUrl })
  await admin.query('create database bench')
  await admin.end()
  const pool = createPool({ ...mysqlOptions, uri: databaseUrl })
  const { createTable, insert } = mysqlEvents(pool)
  await createTable()
  await mysqlCursors(pool).createTable()
  const connection = await pool.getConnection()
  for (let i = 0; i < COUNT; i += PAGE) await insert(connection, ...sampleEvents(PAGE))
  connection.release()
  await pool.end()
}

/** Both in this process. */
async function speed({ title, server, referenceName, open }: Destination, { url, databaseUrl }: Urls): Promise<Result> {
  await using stack = new AsyncDisposableStack()
  const pool = createPool({ ...mysqlOptions, uri: databaseUrl })
  stack.defer(() => pool.end())
  const destination = stack.use(await open(url))
  const { source } = mysqlEvents(pool)
  const checkpoints = mysqlCursors(pool)
  let round = 0
  const fresh = async (): Promise<string> => {
    const log = `bench-${server}-${++round}`
    await destination.create?.(log)
    return log
  }
  return await compare({
    case: `bridge, MySQL → ${title}`,
    unit: 'events/s',
    referenceName,
    ours: async () => {
      const name = await fresh()
      return rate(COUNT, () => bridge({ name, source, sink: destination.sink(name), checkpoints }, { toHead: true }))
    },
    reference: async () => {
      const publish = await destination.publisher(await fresh())
      return rate(COUNT, async () => {
        for await (const page of barePages(pool)) await publish(page)
      })
    },
  })
}

/** Each in a process of its own: `reflex-bridge run CONFIG --once`, and the same as a program of bare clients. */
async function memory(destination: Destination, { url, databaseUrl }: Urls): Promise<Result[]> {
  const { title, server, referenceName, open } = destination
  await using stack = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'reflex-bridge-bench-'))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const { create, config } = stack.use(await open(url))
  const compileCache = join(folder, 'compiled')
  const megabytes = ({ resident, heap }: Usage): number[] => [resident / 1e6, heap / 1e6]
  let round = 0
  const fresh = async (): Promise<string> => {
    const log = `bench-memory-${server}-${++round}`
    await create?.(log)
    return log
  }
  return await compareEach({
    cases: [`bridge, MySQL → ${title}, resident`, `bridge, MySQL → ${title}, heap`],
    unit: 'MB',
    referenceName,
    rounds: MEMORY_ROUNDS,
    ours: async () => {
      const log = await fresh()
      const path = join(folder, `${log}.json`)
      const routes = { [log]: { source: { url: databaseUrl }, sink: config(log) } }
      await writeFile(path, JSON.stringify({ logLevel: 'warn', routes }))
      return megabytes(await startMeasured([resolve('src/cli/main.ts'), 'run', path, '--once'], compileCache).ended)
    },
    reference: async () => {
      const loop = JSON.stringify({ server, databaseUrl, url, log: await fresh() })
      const program = `await (await import(${JSON.stringify(resolve('bench/bare-loop.ts'))})).${bareLoop.name}(${loop})`
      return megabytes(await startMeasured(['--input-type=module', '--eval', program], compileCache).ended)
    },
  })
}

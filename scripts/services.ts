// Starts real servers and keeps them until Ctrl-C. Usage: npm run services -- [--only NAME,NAME] [--help]
import { once } from 'node:events'
import { parseArgs } from 'node:util'
import { type ServerName, type Servers, startServers } from '../src/testing/servers/index.ts'

const variables: Readonly<Record<ServerName, string>> = {
  kafka: 'KAFKA_BROKERS',
  nats: 'NATS_URL',
  redis: 'REDIS_URL',
  mysql: 'MYSQL_URL',
}
const allNames = Object.keys(variables) as ServerName[]

const help = `Usage: npm run services -- [--only NAME,NAME] [--help]

Starts ${allNames.join(', ')}, prints how to reach them and keeps them until Ctrl-C; their data is removed then.

  --only NAME,NAME   start only these
  --help             print this text

Each server is taken from the first of: its variable (${Object.values(variables).join(', ')}), Docker, PATH, the cache.
What is missing is fetched into the cache, without root: REFLEX_BRIDGE_CACHE, else ~/.cache/reflex-bridge.
REFLEX_BRIDGE_SERVERS=older starts MariaDB 10.11, Redis 7.0 and NATS 2.9. REFLEX_BRIDGE_FETCH=off never fetches.`

/** The names to start, or undefined where help was asked for. Throws a TypeError on wrong input. */
function readArguments(args: string[]): ServerName[] | undefined {
  const { values } = parseArgs({ args, options: { only: { type: 'string' }, help: { type: 'boolean', short: 'h' } } })
  if (values.help) return undefined
  if (values.only === undefined) return allNames
  const names = values.only.split(',').map((name) => name.trim())
  for (const name of names) {
    if (!(name in variables))
      throw new TypeError(`--only: expected some of ${allNames.join(',')}, got ${JSON.stringify(name)}`)
  }
  return [...new Set(names as ServerName[])]
}

function describe(names: readonly ServerName[], servers: Servers): string {
  const rows = names.map(
    (name) => [name, servers[name].url, `${servers[name].version} (${servers[name].origin})`] as const,
  )
  const widest = Math.max(...rows.map(([, url]) => url.length))
  const lines = rows.map(([name, url, version]) => `${name.padEnd(5)}  ${url.padEnd(widest)}  ${version}`)
  const exports = names.map((name) => `${variables[name]}=${servers[name].url}`)
  return [...lines, '', `export ${exports.join(' ')}`, ''].join('\n')
}

async function main(): Promise<number> {
  let names: ServerName[] | undefined
  try {
    names = readArguments(process.argv.slice(2))
  } catch (error) {
    console.error(`services: ${messageOf(error).split('\n')[0]}`)
    return 2
  }
  if (names === undefined) {
    console.log(help)
    return 0
  }
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop.abort())
  const keepAlive = setInterval(() => {}, 60_000)
  try {
    await using servers = await startServers(names, { signal: stop.signal })
    console.log(describe(names, servers as Servers))
    console.log('Ctrl-C stops them.')
    if (!stop.signal.aborted) await once(stop.signal, 'abort')
    console.error('services: stopping')
  } catch (error) {
    if (!stop.signal.aborted) {
      console.error(`services: ${messageOf(error)}`)
      return 1
    }
  } finally {
    clearInterval(keepAlive)
  }
  return 0
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

process.exitCode = await main()

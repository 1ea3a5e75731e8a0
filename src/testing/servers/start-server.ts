import { NoAnswerError } from './ask.ts'
import { findExecutable } from './find-executable.ts'
import { kafka } from './kafka.ts'
import { mysql } from './mysql.ts'
import { nats } from './nats.ts'
import { redis } from './redis.ts'
import type { Address, Server, ServerName, ServerOrigin, StartServerOptions } from './server.ts'
import type { Installation, ServerContext, ServerDefinition } from './server-definition.ts'
import { startServerProcess } from './server-process.ts'
import { startContainer } from './start-container.ts'

/** How often a server that is given, and may be busy, is waited for; each time for a second. */
const GIVEN_ATTEMPTS = 15

const definitions: Readonly<Record<ServerName, ServerDefinition>> = { kafka, nats, redis, mysql }

/**
 * A real server that answers, from the first of: a URL in the environment (`KAFKA_BROKERS`, `NATS_URL`, `REDIS_URL`,
 * `MYSQL_URL`); a Docker engine, through testcontainers; binaries of the right version on PATH or in the cache; binaries
 * fetched into the cache on Debian. All is bound to 127.0.0.1 and ends with the returned server, or with this process.
 * Throws an error that names the service and every way to give it where there is none.
 *
 * @example
 * await using redis = await startServer('redis')
 * const client = new Redis(redis.url)
 */
export async function startServer(name: ServerName, options: StartServerOptions = {}): Promise<Server> {
  const definition = definitions[name]
  if (definition === undefined)
    throw new TypeError(`expected one of ${Object.keys(definitions).join(', ')}, got ${JSON.stringify(name)}`)
  const context = contextOf(options)
  const from = options.from ?? ['environment', 'docker', 'native']
  const given = context.env[definition.variable]
  if (from.includes('environment') && given) return givenServer(definition, given, context)

  const reasons: string[] = []
  for (const origin of ['docker', 'native'] as const) {
    if (!from.includes(origin)) continue
    context.signal.throwIfAborted()
    if (origin === 'docker') {
      const server = await startContainer(definition, context, (reason) => reasons.push(`Docker: ${reason}`))
      if (server !== undefined) return server
    } else {
      const installation = await install(definition, context, (reason) => reasons.push(`native: ${reason}`))
      if (installation !== undefined) return nativeServer(definition, installation, context)
    }
  }
  throw new Error(unavailable(definition, context, from, reasons))
}

/**
 * The argv prefix of a command line client, as `Server.cli` has it, also where the server is not started from here: from PATH,
 * the cache, or fetched into it. Throws an error that says why there is none.
 */
export async function commandLineClient(
  name: ServerName,
  tool: string,
  options: StartServerOptions = {},
): Promise<readonly string[]> {
  const definition = definitions[name]
  const reasons: string[] = []
  const installation = await install(definition, contextOf(options), (reason) => reasons.push(reason))
  const client = installation?.cli(tool)
  if (client !== undefined) return client
  throw new Error(`no ${tool} for ${name} on PATH, in the cache or to be fetched; install it\n${reasons.join('\n')}`)
}

function contextOf(options: StartServerOptions): ServerContext {
  const env = options.env ?? process.env
  const column = options.column ?? (env['REFLEX_BRIDGE_SERVERS'] || 'current')
  if (column !== 'current' && column !== 'older') {
    throw new TypeError(`REFLEX_BRIDGE_SERVERS: expected current or older, got ${JSON.stringify(column)}`)
  }
  return {
    column,
    env,
    args: options.args ?? [],
    appendonly: options.redis?.appendonly ?? true,
    readyTimeoutMs: options.readyTimeoutMs ?? 60_000,
    signal: options.signal ?? new AbortController().signal,
    log: options.log ?? ((line) => process.stderr.write(`reflex-bridge: ${line}\n`)),
  }
}

async function givenServer(definition: ServerDefinition, url: string, context: ServerContext): Promise<Server> {
  const address = definition.address(url)
  const version = await probeGiven(definition, address, url, context)
  const tool = { kafka: undefined, nats: undefined, redis: 'redis-cli', mysql: 'mysql' }[definition.name]
  const client = tool === undefined ? undefined : await findExecutable(tool, context.env)
  return {
    ...address,
    name: definition.name,
    version: version ?? 'unknown',
    url,
    origin: 'environment',
    cli: (wanted) => (wanted === tool && client !== undefined ? [client] : undefined),
    [Symbol.asyncDispose]: async () => {},
  }
}

async function probeGiven(
  definition: ServerDefinition,
  address: Address,
  url: string,
  { signal }: ServerContext,
): Promise<string | undefined> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await definition.probe(address, signal, url)
    } catch (cause) {
      signal.throwIfAborted()
      if (cause instanceof NoAnswerError && attempt < GIVEN_ATTEMPTS) continue // it may be busy
      const message = cause instanceof Error ? cause.message : String(cause)
      throw new Error(
        `${definition.variable} is set, but ${definition.name} does not answer at ${address.host}:${address.port}: ${message}`,
        { cause },
      )
    }
  }
}

async function install(
  definition: ServerDefinition,
  context: ServerContext,
  fail: (reason: string) => void,
): Promise<Installation | undefined> {
  try {
    return (await definition.installed(context)) ?? (await definition.fetched(context))
  } catch (error) {
    context.signal.throwIfAborted()
    fail(error instanceof Error ? error.message : String(error))
    return undefined
  }
}

async function nativeServer(
  definition: ServerDefinition,
  installation: Installation,
  context: ServerContext,
): Promise<Server> {
  const running = await startServerProcess({
    name: definition.name,
    installation,
    readyTimeoutMs: context.readyTimeoutMs,
    signal: context.signal,
    probe: definition.probe,
  })
  return {
    ...running.address,
    name: definition.name,
    version: running.version ?? installation.version,
    url: definition.url(running.address),
    origin: 'native',
    process: running.process,
    cli: installation.cli,
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  }
}

function unavailable(
  definition: ServerDefinition,
  context: ServerContext,
  from: readonly ServerOrigin[],
  reasons: readonly string[],
): string {
  const title = definition.title(context.column)
  const ways = [
    `set ${definition.variable} to a running server`,
    'start a Docker engine (with the package testcontainers installed)',
    `install ${title} so that it is on PATH`,
    'let it be fetched: on Debian, with apt-get, dpkg and a network, REFLEX_BRIDGE_FETCH not off',
  ]
  const allowed = from.length === 3 ? '' : ` (allowed here: ${from.join(', ')})`
  return [
    `no ${title} to test with${allowed}; give one of these ways:`,
    ...ways.map((way, at) => `  ${at + 1}. ${way}`),
    ...reasons.map((reason) => `  tried ${reason}`),
  ].join('\n')
}

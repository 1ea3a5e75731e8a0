import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, inject, test } from 'vitest'
import { type ServerName, startServer, startServers } from '../../src/testing/servers/index.ts'

async function emptyFolder() {
  const path = await mkdtemp(join(tmpdir(), 'reflex-bridge-test-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

const variables: Record<ServerName, string> = {
  redis: 'REDIS_URL',
  mysql: 'MYSQL_URL',
  nats: 'NATS_URL',
  kafka: 'KAFKA_BROKERS',
}

test.each(Object.entries(variables) as [ServerName, string][])(
  '%s is taken from %s, and left alone',
  async (name, variable) => {
    const shared = inject('servers')[name]
    const server = await startServer(name, { env: { ...process.env, [variable]: shared.url } })
    expect(server).toMatchObject({ origin: 'environment', url: shared.url, host: shared.host, port: shared.port })
    expect(server.process).toBeUndefined()
    if (name !== 'kafka') expect(server.version).toBe(shared.version)
    await server[Symbol.asyncDispose]()
    await using again = await startServer(name, { env: { ...process.env, [variable]: shared.url } })
    expect(again.origin).toBe('environment')
  },
)

test('a URL nobody answers at is an error that names its variable, and not the password', async () => {
  const given = startServer('redis', { env: { REDIS_URL: 'redis://:secret@127.0.0.1:1' } })
  await expect(given).rejects.toThrow(/REDIS_URL is set, but redis does not answer at 127\.0\.0\.1:1: .*ECONNREFUSED/)
  const wrong = startServer('mysql', { env: { MYSQL_URL: 'http://root:secret@127.0.0.1:1' } })
  await expect(wrong).rejects.toThrow('MYSQL_URL: expected a URL like mysql://127.0.0.1:3306, got http://127.0.0.1:1')
})

test('a server that is given, and is busy at first, is waited for', async () => {
  let asked = 0
  await using slow = createServer((socket) => {
    if (++asked > 1) socket.end(Buffer.from('\x4a\0\0\0\x0a9.7.0\0', 'latin1'))
    socket.on('error', () => {})
  }).listen(0, '127.0.0.1')
  await once(slow, 'listening')
  const { port } = slow.address() as AddressInfo
  const server = await startServer('mysql', { env: { MYSQL_URL: `mysql://root@127.0.0.1:${port}` } })
  expect(server.version).toBe('9.7.0')
})

test.each(['redis', 'mysql', 'nats', 'kafka'] as const)(
  'where nothing is available, the error names %s and the four ways to give it',
  async (name) => {
    await using nothing = await emptyFolder()
    const env = {
      PATH: nothing.path,
      REFLEX_BRIDGE_CACHE: join(nothing.path, 'cache'),
      REFLEX_BRIDGE_APT_SOURCES: nothing.path,
    }
    const error = await startServer(name, { env, from: ['environment', 'native'] }).catch(String)
    expect(error).toMatch(new RegExp(`no ${name} [0-9.]+ to test with`))
    expect(error).toContain(`1. set ${variables[name]} to`)
    expect(error).toContain('2. start a Docker engine')
    expect(error).toContain('3. install')
    expect(error).toContain('4. let it be fetched')
    expect(error).toContain('tried native: not in the cache, and there is no apt-get')
  },
)

test('where apt knows no Debian archive, or fetching is off, the error says so', async () => {
  await using nothing = await emptyFolder()
  const env = {
    ...process.env,
    PATH: '/usr/bin:/bin',
    REFLEX_BRIDGE_CACHE: join(nothing.path, 'cache'),
    REFLEX_BRIDGE_APT_SOURCES: nothing.path,
  }
  const tries = { column: 'current', from: ['native'], env } as const
  const installed = existsSync('/usr/bin/redis-server') || !existsSync('/usr/bin/apt-get')
  if (!installed) await expect(startServer('redis', tries)).rejects.toThrow('no source of the Debian main archive')
  const off = { ...env, PATH: nothing.path, REFLEX_BRIDGE_FETCH: 'off' }
  await expect(startServer('redis', { ...tries, env: off })).rejects.toThrow('REFLEX_BRIDGE_FETCH=off')
})

test('a server that ends by itself is an error with the end of its log and the path of a copy', async () => {
  const error = await startServer('redis', { from: ['native'], args: ['--no-such-setting', 'yes'] }).catch(String)
  expect(error).toMatch(/redis ended with 1 before it answered/)
  expect(error).toContain('no-such-setting yes')
  const copy = /\((\/.*\.log)\)/.exec(String(error))?.[1] ?? ''
  expect(await readFile(copy, 'utf8')).toContain('no-such-setting')
  await rm(copy)
})

test('a server that does not answer in time is an error, and is ended', async () => {
  const error = await startServer('mysql', { from: ['native'], readyTimeoutMs: 1 }).catch(String)
  expect(error).toMatch(/mysql did not answer within 1 ms/)
  const copy = /\((\/.*\.log)\)/.exec(String(error))?.[1] ?? ''
  await rm(copy)
  expect(existsSync(copy.replace(/\.log$/, ''))).toBe(false)
})

test('an abort ends what was started', async () => {
  const abort = new AbortController()
  const started = startServer('mysql', { from: ['native'], signal: abort.signal })
  setTimeout(() => abort.abort(new Error('enough')), 300)
  await expect(started).rejects.toThrow('enough')
})

test('when one of several servers fails, the others are ended', async () => {
  const env = { ...process.env, MYSQL_URL: 'mysql://root@127.0.0.1:1/' }
  await expect(startServers(['redis', 'mysql'], { env })).rejects.toThrow('MYSQL_URL is set')
})

test('wrong names and columns are told what was expected', async () => {
  await expect(startServer('postgres' as ServerName)).rejects.toThrow(
    'expected one of kafka, nats, redis, mysql, got "postgres"',
  )
  const env = { REFLEX_BRIDGE_SERVERS: 'newest' }
  await expect(startServer('redis', { env })).rejects.toThrow(
    'REFLEX_BRIDGE_SERVERS: expected current or older, got "newest"',
  )
})

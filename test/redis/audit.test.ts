import { describe, expect, test } from 'vitest'
import { redisSink } from '../../src/adapters/redis/index.ts'
import { redis } from '../../src/service/config/schemes/redis.ts'
import { errorOf, eventually } from '../tools/reader.ts'
import { adapterClient, ownServer, testClient } from './fixture.ts'

const ROUTE = { route: 'r', source: 's' }

async function risks(url: string): Promise<string> {
  return (await redisSink(adapterClient(url), { key: 'out' }).audit?.())?.join('\n') ?? 'no audit'
}

describe('what the server can lose', () => {
  test('nothing is said of one that writes each command to disk', async () => {
    const server = await ownServer({ args: ['--appendfsync', 'always'] })
    expect(await risks(server.url)).toBe('')
    const notes: string[] = []
    const sink = redisSink(adapterClient(server.url), { key: 'out', strict: true, note: (text) => notes.push(text) })
    await (await sink.open(ROUTE))[Symbol.asyncDispose]()
    expect(notes).toEqual([])
  })

  test('no append-only file; a flush every second, or never; a policy that evicts', async () => {
    const server = await ownServer({ redis: { appendonly: false } })
    const client = testClient(server.url)
    expect(await risks(server.url)).toMatch(/^appendonly is no, and save is empty: everything .* is lost[^\n]*$/)
    await client.config('SET', 'save', '3600 1')
    expect(await risks(server.url)).toMatch(/^appendonly is no: .* since the last snapshot is lost/)
    await client.config('SET', 'stop-writes-on-bgsave-error', 'no')
    expect(await risks(server.url)).toContain('(one that fails stops no writer)')
    await client.config('SET', 'appendonly', 'yes')
    expect(await risks(server.url)).toMatch(/^appendfsync is everysec: the last second [^\n]*$/)
    await client.config('SET', 'appendfsync', 'no')
    expect(await risks(server.url)).toMatch(/^appendfsync is no: /)
    await client.config('SET', 'appendfsync', 'always')
    for (const policy of ['allkeys-lru', 'allkeys-lfu', 'allkeys-random']) {
      await client.config('SET', 'maxmemory-policy', policy)
      await client.config('SET', 'maxmemory', '100mb')
      expect(await risks(server.url)).toMatch(new RegExp(`^maxmemory-policy is ${policy}: .*noeviction$`))
      await client.config('SET', 'maxmemory', '0') // without a limit nothing is evicted
      expect(await risks(server.url)).toBe('')
    }
    await client.config('SET', 'maxmemory', '100mb')
    await client.config('SET', 'maxmemory-policy', 'volatile-lru') // of keys that expire, which ours do not
    expect(await risks(server.url)).toBe('')
  })

  test('a replica, and a primary that does not wait for the one it has', async () => {
    const args = ['--appendfsync', 'always', '--repl-diskless-sync-delay', '0']
    const [primary, replica] = await Promise.all([ownServer({ args }), ownServer({ args })])
    await testClient(replica.url).call('REPLICAOF', primary.host, String(primary.port))
    const attached = async () => (await testClient(primary.url).info('replication')).includes('connected_slaves:1')
    await eventually(attached, 20_000, 'the replica')
    expect(await risks(replica.url)).toMatch(`the server is a replica of ${primary.host}:${primary.port}`)
    expect(await risks(primary.url)).toMatch(/^min-replicas-to-write is 0 with 1 attached: /)
    await testClient(primary.url).config('SET', 'min-replicas-to-write', '1')
    expect(await risks(primary.url)).toBe('')
  })

  test('is told once, on open; a strict sink refuses, and takes nothing over', async () => {
    const server = await ownServer({ args: ['--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru'] })
    const notes: string[] = []
    const sink = redisSink(adapterClient(server.url), { key: 'out', note: (text) => notes.push(text) })
    for (let i = 0; i < 2; i++) await (await sink.open(ROUTE))[Symbol.asyncDispose]()
    expect(notes).toEqual([
      expect.stringMatching(/^redis:out: appendfsync is everysec/),
      expect.stringMatching(/^redis:out: maxmemory-policy is allkeys-lru/),
    ])
    await testClient(server.url).del('reflex:{out}:r')
    const error = await errorOf(redisSink(adapterClient(server.url), { key: 'out', strict: true }).open(ROUTE))
    expect(error).toMatchObject({ code: 'DESTINATION_AT_RISK', retriable: false })
    expect(String(error)).toMatch(/appendfsync is everysec.*maxmemory-policy is allkeys-lru/)
    expect(await testClient(server.url).keys('*')).toEqual([])
  })

  test('is not known where the user may not ask, which is said and no error', async () => {
    const server = await ownServer({ args: ['--appendfsync', 'always'] })
    await testClient(server.url).call('ACL', 'SETUSER', 'app', 'on', 'nopass', '~*', '+@all', '-config', '-info')
    const notes: string[] = []
    const client = adapterClient(server.url, { username: 'app', password: 'x' })
    const sink = redisSink(client, { key: 'out', strict: true, note: (text) => notes.push(text) })
    await (await sink.open(ROUTE))[Symbol.asyncDispose]()
    expect(await sink.audit?.()).toEqual([])
    expect(notes).toHaveLength(2)
    expect(notes.join('\n')).toMatch(/INFO|info/)
    expect(notes.join('\n')).toMatch(/config.*appendfsync|appendfsync.*config/is)
  })
})

describe('in a configuration', () => {
  test('it is what the check of a sink says, and with strict an error', async () => {
    const server = await ownServer()
    const location = { url: server.url, folder: '.' }
    const context = { createTables: false, readOnly: true }
    const sink = redis.roles.sink
    for (const strict of [false, true]) {
      await using opened = await sink?.open(location, sink.keys.parse({ key: 'out', strict }), context)
      const checked = await opened?.check?.().catch((error: unknown) => error)
      if (strict) expect(checked).toMatchObject({ code: 'DESTINATION_AT_RISK' })
      else expect(checked).toEqual([expect.stringMatching(/^appendfsync is everysec/)])
    }
    const store = redis.roles.checkpoints
    await using opened = await store?.open(location, store.keys.parse({}), context)
    expect(await opened?.check?.()).toEqual([expect.stringMatching(/^appendfsync is everysec/)])
    expect(await testClient(server.url).keys('*')).toEqual([])
  })
})

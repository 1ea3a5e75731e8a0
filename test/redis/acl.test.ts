import { inspect } from 'node:util'
import { describe, expect, inject, test } from 'vitest'
import { redisCursors, redisSink, redisStream, trimStream } from '../../src/adapters/redis/index.ts'
import type { Source } from '../../src/core/stream.ts'
import { tcpProxy } from '../../src/testing/servers/index.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { appendTo } from '../subjects/redis.ts'
import { numbered } from '../tools/numbered.ts'
import { errorOf, reader } from '../tools/reader.ts'
import { testCertificate } from '../tools/test-certificate.ts'
import { adapterClient, ownServer, testClient } from './fixture.ts'

/** The least that each part needs. `+client|setname` shows names in CLIENT LIST; a database other than 0 needs `+select`. */
const commands = {
  source: ['multi', 'exec', 'xrange', 'xinfo|stream', 'xread', 'xrevrange', 'eval_ro'],
  sink: ['evalsha', 'eval', 'exists', 'xinfo|stream', 'xrange', 'xrevrange', 'hmget', 'hset', 'xadd'],
  audit: ['info', 'config|get'],
  cursors: ['hget', 'hset', 'hgetall', 'evalsha', 'eval'],
  trim: ['multi', 'exec', 'xinfo|stream', 'evalsha', 'eval', 'xrevrange', 'xrange', 'xlen', 'xtrim', 'hget'],
} as const

const event = { id: '1', type: 1, foreignId: 'x', timestamp: 0, metadata: null, headers: {} }

/** Makes a user with a password that may use only these; resolves with a client for adapters. */
async function userWith(allowed: readonly string[], keys: readonly string[]) {
  const user = fresh('user')
  const password = `secret-of-${user}`
  const rules = [...allowed.map((command) => `+${command}`), ...keys.map((key) => `~${key}`)]
  await testClient().call('ACL', 'SETUSER', user, 'reset', 'on', `>${password}`, ...rules)
  const { host, port } = inject('servers').redis
  const grant = (...more: string[]) => testClient().call('ACL', 'SETUSER', user, ...more)
  return { user, grant, client: adapterClient(`redis://${user}:${password}@${host}:${port}`) }
}

async function useSource(source: Required<Source>): Promise<void> {
  await using stream = reader(await source.stream('', {}))
  await stream.take(2)
  await source.head()
  await source.backlog(await source.at(1))
  await source.backlog(stream.cursor)
  await source.backlog((await source.at(Date.now() + 1000)) || '0-0')
}

describe('a user with the least permissions', () => {
  test('can read a stream, forward into one, keep cursors and trim', async () => {
    const key = fresh('log')
    await appendTo(testClient(), key, numbered(2000))
    const { client } = await userWith(commands.source, [key])
    await useSource(redisStream(client, { key }) as Required<Source>)

    const out = fresh('out')
    const notes: string[] = []
    const sink = await userWith([...commands.sink, ...commands.audit], [out, `reflex:{${out}}:*`])
    for (let i = 1; i < 3; i++) {
      const made = redisSink(sink.client, { key: out, note: (text) => notes.push(text) })
      await using writer = await made.open({ route: 'r', source: 's' })
      await writer.append([{ ...event, id: String(i) }], String(i))
    }
    expect(notes.filter((text) => text.includes('NOPERM'))).toEqual([])
    await testClient().del(`reflex:{${out}}:r`)
    const saved = { cursor: '2', mark: '1-0/2' }
    await (await redisSink(sink.client, { key: out }).open({ route: 'r', source: 's', saved }))[Symbol.asyncDispose]()

    const prefix = fresh('cursors')
    const cursors = redisCursors((await userWith(commands.cursors, [`${prefix}cursors`])).client, { prefix })
    await cursors.set('a', '1-0', '')
    await cursors.reset('a', (await testClient().xrevrange(key, '+', '-', 'COUNT', 1))[0]?.[0] as string)
    const trimmer = await userWith(commands.trim, [key, `reflex:{${key}}:*`])
    expect(await trimStream(trimmer.client, { key, cursors, routes: ['r'] })).toEqual({ removed: 1999, heldBy: 'a' })
  })

  test.each(['multi', 'xrange', 'xinfo|stream', 'xread'] as const)(
    'that lacks one is told which, and how it is granted: %s',
    async (lacking) => {
      const key = fresh('log')
      const { user, client, grant } = await userWith(
        commands.source.filter((command) => command !== lacking),
        [key],
      )
      const attempt = async () => {
        await using stream = reader(await redisStream(client, { key }).stream('', {}))
        const reading = stream.take(1)
        reading.catch(() => {}) // awaited below
        await appendTo(testClient(), key, numbered(1))
        await reading
      }
      const error = await errorOf(attempt())
      expect(error).toMatchObject({ code: 'REDIS_NOPERM', retriable: false })
      expect(String(error)).toMatch(new RegExp(`ACL SETUSER (${user}|<user>) \\+${lacking.split('|')[0]}`))
      await grant(`+${lacking}`)
      await attempt()
    },
  )

  test.each(['exists', 'hset', 'xadd'] as const)(
    'that lacks one inside of the script is told as well: %s',
    async (lacking) => {
      const key = fresh('out')
      const allowed = commands.sink.filter((command) => command !== lacking)
      const { client, grant } = await userWith(allowed, [key, `reflex:{${key}}:*`])
      const attempt = async () => {
        await using writer = await redisSink(client, { key }).open({ route: 'r', source: 's' })
        await writer.append([event], '1')
      }
      const error = await errorOf(attempt())
      expect(error).toMatchObject({ code: 'REDIS_NOPERM', retriable: false })
      expect(String(error)).toMatch(new RegExp(`ACL SETUSER \\S+ (\\+\\S+ )*\\+${lacking}\\b`))
      expect(await testClient().exists(key)).toBe(0)
      await grant(`+${lacking}`)
      await attempt()
    },
  )

  test('that may not use the key is told so', async () => {
    const key = fresh('log')
    const { client } = await userWith(commands.source, ['another'])
    const error = await errorOf(redisStream(client, { key }).stream('', {}))
    expect(error).toMatchObject({ code: 'REDIS_NOPERM', retriable: false })
    expect(String(error)).toMatch(/ACL SETUSER \S+ ~<key>/)
  })
})

test('a wrong password is an error that says so; neither it nor what was to be written is in any error', async () => {
  const { host, port } = inject('servers').redis
  const key = fresh('out')
  const open = { route: 'r', source: 's' }
  const { user, client, grant } = await userWith([...commands.sink], [key, `reflex:{${key}}:*`])
  const wrong = adapterClient(`redis://${user}:not-the-password@${host}:${port}`)
  for (const attempt of [
    () => redisStream(wrong, { key }).stream('', {}),
    () => redisSink(wrong, { key }).open(open),
    () => redisCursors(wrong).get('a'),
  ]) {
    const error = await errorOf(attempt())
    expect(error).toMatchObject({ code: 'REDIS_WRONGPASS', retriable: false })
    expect(inspect(error, { depth: 10, showHidden: true })).not.toContain('not-the-password')
  }
  await using writer = await redisSink(client, { key }).open(open)
  await grant('-evalsha')
  const denied = await errorOf(writer.append([{ ...event, metadata: Buffer.from('a private matter') }], '1'))
  expect(denied).toMatchObject({ code: 'REDIS_NOPERM' })
  expect(inspect(denied, { depth: 10 })).not.toMatch(/a private matter|<Buffer/)
})

test('over TLS, with a user and a password, each part works; a certificate that nobody vouches for is refused', async () => {
  const { certificateFile, keyFile, authority } = testCertificate
  const free = await tcpProxy({ host: '127.0.0.1', port: 1 }) // for its port
  const port = free.port
  await free[Symbol.asyncDispose]()
  const files = ['--tls-cert-file', certificateFile, '--tls-key-file', keyFile, '--tls-auth-clients', 'no']
  const server = await ownServer({ args: ['--tls-port', String(port), ...files] })
  await testClient(server.url).call('ACL', 'SETUSER', 'app', 'on', '>secret', '~*', '+@all')

  const url = `rediss://app:secret@127.0.0.1:${port}`
  const client = adapterClient(url, { tls: { ca: authority } })
  await using writer = await redisSink(client, { key: 'log' }).open({ route: 'r', source: 's' })
  await writer.append([event], '1')
  await using stream = reader(await redisStream(client, { key: 'log' }).stream('', {}))
  expect(await stream.take(1)).toMatchObject([{ type: 1, foreignId: 'x' }])
  const waiting = stream.take(1)
  await writer.append([{ ...event, id: '2' }], '2')
  await waiting
  const cursors = redisCursors(client)
  await cursors.set('a', stream.cursor, '')
  expect(await cursors.get('a')).toBe(stream.cursor)
  const error = await errorOf(redisCursors(adapterClient(url)).get('a'))
  expect(error).toMatchObject({ code: 'REDIS_CONNECTION' })
  expect(String(error)).toContain('self-signed certificate')
})

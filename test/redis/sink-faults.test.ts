import { mkdtemp, rmdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Redis } from 'ioredis'
import { describe, expect, inject, test } from 'vitest'
import { redisSink } from '../../src/adapters/redis/index.ts'
import { codeOf, isRetriable } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import type { Checkpoint, SinkWriter } from '../../src/core/sink.ts'
import { wireNames } from '../../src/core/wire.ts'
import { tcpProxy } from '../../src/testing/servers/index.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { eventsIn } from '../subjects/redis.ts'
import { errorOf, eventually, within } from '../tools/reader.ts'
import { adapterClient, ownServer, testClient } from './fixture.ts'
import { replyProxy } from './reply-proxy.ts'

function event(id: number, bytes = 10): Event {
  return { id: String(id), type: 1, foreignId: `e${id}`, timestamp: 0, metadata: Buffer.alloc(bytes, 120), headers: {} }
}
const upTo = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i + 1))

/** A pump that keeps what a bridge would, and starts again after each failure. */
interface Pump {
  saved: Checkpoint | undefined
  readonly failures: unknown[]
  readonly repairs: string[]
  /** Forwards up to event `end`, `batch` at a time, over `url`; rejects with the first failure. */
  once(url: string, end: number, options?: { batch?: number; bytes?: number }): Promise<void>
  /** As `once`, but starts again, as often as 50 times. */
  through(url: string, end: number): Promise<void>
}

function pump(key: string, credentials: object = {}): Pump {
  const self: Pump = {
    saved: undefined,
    failures: [],
    repairs: [],
    once: async (url, end, { batch = 2, bytes } = {}) => {
      const sink = redisSink(adapterClient(url, credentials), { key })
      const writer: SinkWriter = await sink.open({ route: 'r', source: 's', saved: self.saved })
      try {
        if (writer.repair !== undefined) self.repairs.push(writer.repair)
        for (let at = Number(writer.resumeFrom); at < end; ) {
          const events = Array.from({ length: Math.min(batch, end - at) }, (_, i) => event(at + i + 1, bytes))
          at += events.length
          const mark = await writer.append(events, String(at))
          self.saved = { cursor: String(at), mark }
        }
      } finally {
        await writer[Symbol.asyncDispose]()
      }
    },
    through: async (url, end) => {
      for (let attempt = 0; ; attempt++) {
        try {
          return await self.once(url, end)
        } catch (error) {
          self.failures.push(error)
          if (!isRetriable(error) || attempt === 50) throw error
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
      }
    },
  }
  return self
}

async function idsIn(client: Redis, key: string): Promise<unknown[]> {
  return (await eventsIn(client, key)).map(({ headers }) => headers[wireNames.sourceId])
}

describe('on the way', () => {
  const { host, port, url } = inject('servers').redis

  test('a reply that is lost where the script was forgotten and is sent as a whole costs nothing', async () => {
    const client = testClient()
    for (const lost of [0, 1]) {
      const key = fresh('out')
      let from = Number.POSITIVE_INFINITY
      await using proxy = await replyProxy({ host, port }, { onReply: (reply) => (reply >= from ? 'drop' : 'pass') })
      const sink = redisSink(adapterClient(proxy.url), { key })
      const writer = await sink.open({ route: 'r', source: 's' })
      await client.script('FLUSH')
      from = proxy.replies + lost // that of EVALSHA, then that of EVAL
      expect(codeOf(await errorOf(writer.append([event(1)], '1'), 8000))).toBe('REDIS_CONNECTION')
      await writer[Symbol.asyncDispose]()
      expect((await idsIn(client, key)).length).toBe(lost)
      await pump(key).once(url, 3)
      expect(await idsIn(client, key)).toEqual(upTo(3))
    }
  })

  test('a reply that comes twice confirms nothing but its own append', async () => {
    const client = testClient()
    const key = fresh('out')
    let twice = -1
    await using proxy = await replyProxy({ host, port }, { onReply: (reply) => (reply === twice ? 'twice' : 'pass') })
    const sink = redisSink(adapterClient(proxy.url), { key })
    const writer = await sink.open({ route: 'r', source: 's' })
    await writer.append([event(1)], '1') // by now the server has the script
    twice = proxy.replies
    await writer.append([event(2)], '2')
    const error = await errorOf(writer.append([event(3)], '3'), 5000, 'noticing that the reply is not its own')
    expect(error).toMatchObject({ code: 'REDIS_CONNECTION', retriable: true })
    expect(await errorOf(writer.append([event(4)], '4'))).toBe(error)
    await writer[Symbol.asyncDispose]()
    await pump(key).once(url, 8)
    expect(await idsIn(client, key)).toEqual(upTo(8))
  })

  test.concurrent('whichever reply is lost, everything is there once', async () => {
    const client = testClient()
    const lostAt = async (number: number): Promise<boolean> => {
      const key = fresh('out')
      await using proxy = await replyProxy({ host, port }, { onReply: (reply) => (reply >= number ? 'drop' : 'pass') })
      const route = pump(key)
      const error = await within(route.once(proxy.url, 6), 10_000, 'noticing the lost reply').catch((e: unknown) => e)
      if (error !== undefined) expect([number, codeOf(error)]).toEqual([number, 'REDIS_CONNECTION'])
      expect(await idsIn(client, key)).toEqual(upTo((await idsIn(client, key)).length))
      await route.once(url, 8)
      expect(await idsIn(client, key)).toEqual(upTo(8))
      expect(route.repairs).toEqual([])
      return error !== undefined
    }
    const lost = await Promise.all(Array.from({ length: 24 }, (_, number) => lostAt(number)))
    expect(lost[0]).toBe(true)
    expect(lost.filter(Boolean).length).toBeGreaterThanOrEqual(5) // greeting, audit, open, three appends
    expect(lost.at(-1)).toBe(false) // there are not so many
  })

  test.concurrent('a half-open network is an error in time; what it holds back is fenced when it arrives', async () => {
    const client = testClient()
    const key = fresh('out')
    await using proxy = await tcpProxy({ host, port })
    const sink = redisSink(adapterClient(`redis://127.0.0.1:${proxy.port}`), { key })
    const writer = await sink.open({ route: 'r', source: 's' })
    await writer.append([event(1)], '1')
    proxy.stall()
    const late = await errorOf(writer.append([event(2), event(3)], '3'), 5000, 'noticing the stalled network')
    expect(late).toMatchObject({ code: 'REDIS_CONNECTION', retriable: true })
    const opening = await errorOf(sink.open({ route: 'r', source: 's' }), 5000, 'opening over the stalled network')
    expect(codeOf(opening)).toBe('REDIS_CONNECTION')
    await pump(key).once(url, 4)
    proxy.restore()
    await writer[Symbol.asyncDispose]()
    await pump(key).once(url, 6)
    expect(await idsIn(client, key)).toEqual(upTo(6))
  })

  test.concurrent('a slow link delays, and costs and repeats nothing', async () => {
    const client = testClient()
    const key = fresh('out')
    await using proxy = await replyProxy({ host, port }, { delayMs: 40 })
    await pump(key).once(proxy.url, 6)
    expect(await idsIn(client, key)).toEqual(upTo(6))
    // One that is too slow for a batch ends in the middle of it: nothing of it is there.
    const large = pump(key)
    const error = await errorOf(large.once(proxy.url, 7, { bytes: 20_000_000 }), 10_000, 'giving up')
    expect(codeOf(error)).toBe('REDIS_CONNECTION')
    await large.once(url, 8)
    expect(await idsIn(client, key)).toEqual(upTo(8))
  })
})

describe('a server that refuses in the middle of a route appends nothing, and the route goes on after', () => {
  test('the user is deleted, with its connections', async () => {
    const admin = testClient()
    const username = fresh('user')
    const make = () => admin.call('ACL', 'SETUSER', username, 'on', 'nopass', '~*', '+@all')
    await make()
    const key = fresh('out')
    const { url } = inject('servers').redis
    const sink = redisSink(adapterClient(url, { username, password: 'x' }), { key })
    const writer = await sink.open({ route: 'r', source: 's' })
    await writer.append([event(1)], '1')
    await admin.call('ACL', 'DELUSER', username)
    expect(codeOf(await errorOf(writer.append([event(2)], '2'), 5000))).toBe('REDIS_CONNECTION')
    await writer[Symbol.asyncDispose]()
    expect(await errorOf(sink.open({ route: 'r', source: 's' }))).toMatchObject({
      code: 'REDIS_WRONGPASS',
      retriable: false,
    })
    await make()
    await pump(key, { username, password: 'x' }).once(url, 4)
    expect(await idsIn(admin, key)).toEqual(upTo(4))
  })

  test('MISCONF: it cannot write its snapshot', async () => {
    const server = await ownServer({ redis: { appendonly: false }, args: ['--enable-protected-configs', 'yes'] })
    const client = testClient(server.url)
    const route = pump('out')
    await route.once(server.url, 2)
    const [, folder] = (await client.config('GET', 'dir')) as [string, string]
    const gone = await mkdtemp(join(tmpdir(), 'reflex-gone-'))
    await client.config('SET', 'dir', gone)
    await rmdir(gone)
    await client.config('SET', 'save', '3600 1000000')
    await client.bgsave()
    const failed = async () => (await client.info('persistence')).includes('rdb_last_bgsave_status:err')
    await eventually(failed, 10_000, 'the snapshot that fails')
    expect(await errorOf(route.once(server.url, 4))).toMatchObject({ code: 'REDIS_MISCONF', retriable: true })
    expect(await idsIn(client, 'out')).toEqual(upTo(2))
    await client.config('SET', 'dir', folder)
    await client.config('SET', 'save', '')
    await route.once(server.url, 6)
    expect(await idsIn(client, 'out')).toEqual(upTo(6))
    expect(route.repairs).toEqual([])
  })

  test('BUSY: a script of someone else does not end', async () => {
    const server = await ownServer({ args: ['--busy-reply-threshold', '50'] })
    const client = testClient(server.url)
    await client.connect() // while it is greeted with BUSY, its commands may fail
    const route = pump('out')
    const sink = redisSink(adapterClient(server.url), { key: 'out' })
    const writer = await sink.open({ route: 'r', source: 's' })
    route.saved = { cursor: '1', mark: await writer.append([event(1)], '1') }
    const endless = testClient(server.url)
    const busy = endless.eval('while true do end', 0).catch((error: unknown) => error)
    const isBusy = async () => String(await client.ping().catch((error: unknown) => error)).includes('BUSY')
    await eventually(isBusy, 10_000, 'the script')
    expect(await errorOf(writer.append([event(2)], '2'))).toMatchObject({ code: 'REDIS_BUSY', retriable: true })
    await writer[Symbol.asyncDispose]()
    expect(codeOf(await errorOf(sink.open({ route: 'r', source: 's' })))).toBe('REDIS_BUSY')
    await client.script('KILL')
    await busy
    await route.once(server.url, 4)
    expect(await idsIn(client, 'out')).toEqual(upTo(4))
  })

  test('LOADING: it reads its data after a restart', async () => {
    const args = [
      '--key-load-delay',
      '150000',
      '--loading-process-events-interval-bytes',
      '1024',
      '--rdbcompression',
      'no',
    ]
    const server = await ownServer({ redis: { appendonly: false }, args })
    const client = testClient(server.url)
    const route = pump('out')
    await route.once(server.url, 3)
    for (let i = 0; i < 15; i++) await client.set(`filler:${i}`, 'x'.repeat(4096))
    await client.config('SET', 'save', '3600 1000000')
    await client.call('SAVE')
    await server.process.kill()
    const starting = server.process.start()
    await route.through(server.url, 6)
    await starting
    expect(route.failures.map(codeOf)).toContain('REDIS_LOADING')
    expect(await idsIn(client, 'out')).toEqual(upTo(6))
    expect(route.repairs).toEqual([])
  })

  test('it becomes a replica under the route, and another one the primary, which has not got the tail', async () => {
    const args = ['--repl-diskless-sync-delay', '0']
    const [first, second] = await Promise.all([ownServer({ args }), ownServer({ args })])
    const [a, b] = [testClient(first.url), testClient(second.url)]
    await b.call('REPLICAOF', first.host, String(first.port))
    const linked = async () => (await b.info('replication')).includes('master_link_status:up')
    await eventually(linked, 20_000, 'the replica')
    const route = pump('out')
    await route.once(first.url, 6)
    await eventually(async () => (await idsIn(b, 'out')).length === 6, 10_000, 'the replication')

    await b.call('REPLICAOF', 'NO', 'ONE') // the failover begins
    const sink = redisSink(adapterClient(first.url), { key: 'out' })
    const writer = await sink.open({ route: 'r', source: 's', saved: route.saved })
    route.saved = { cursor: '9', mark: await writer.append([event(7), event(8), event(9)], '9') }
    await a.call('REPLICAOF', second.host, String(second.port))
    expect(codeOf(await errorOf(writer.append([event(10)], '10')))).toBe('REDIS_READONLY')
    await writer[Symbol.asyncDispose]()

    await route.once(second.url, 12)
    expect(route.repairs).toEqual([expect.stringMatching(/lost .*: refilling 3 events/)])
    expect(await idsIn(b, 'out')).toEqual(upTo(12))
    await eventually(async () => (await idsIn(a, 'out').catch(() => [])).length === 12, 20_000, 'the replication back')
    expect(await idsIn(a, 'out')).toEqual(upTo(12))
  })
})

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import { inject, onTestFinished } from 'vitest'
import { decodeEntry, encodeEntry } from '../../src/adapters/redis/codec.ts'
import { redisFailFast, redisSink, redisStream } from '../../src/adapters/redis/index.ts'
import type { Event, NewEvent } from '../../src/core/event.ts'
import type { Server, ServerProcess, StartServerOptions } from '../../src/testing/servers/index.ts'
import { startServer } from '../../src/testing/servers/index.ts'
import type { SinkFixture } from '../suites/sink.ts'
import type { ServerFaults, SourceFixture } from '../suites/source.ts'

let count = 0

/** A name that no other test uses, in this run or an earlier one. */
export function fresh(what: string): string {
  return `${what}-${process.pid}-${Date.now().toString(36)}-${count++}`
}

/** A test's own client, which reconnects; ends with the test. */
export function testClient(url: string = inject('servers').redis.url, options: object = {}): Redis {
  const client = new Redis(url, { lazyConnect: true, ...options })
  client.on('error', () => {}) // while the server is down
  onTestFinished(() => client.disconnect())
  return client
}

/** The client that is handed to an adapter; it is never connected itself. */
export function adapterClient(url: string = inject('servers').redis.url, options: object = {}): Redis {
  return new Redis(url, { ...redisFailFast, ...options })
}

/** A server whose process the test controls. */
export async function ownServer(options: StartServerOptions = {}): Promise<Server & Required<Pick<Server, 'process'>>> {
  const server = await startServer('redis', { from: ['native'], ...options })
  onTestFinished(() => server[Symbol.asyncDispose]())
  return server as Server & Required<Pick<Server, 'process'>>
}

/** Runs redis-cli on the shared server. */
export async function cli(...args: string[]): Promise<string> {
  const { host, port, cli } = inject('servers').redis
  const [command = '', ...prefix] = cli['redis-cli'] ?? []
  const { stdout } = await promisify(execFile)(command, [...prefix, '-h', host, '-p', String(port), ...args])
  return stdout.trimEnd()
}

/** A user of the server that can do everything, until it is told otherwise. */
async function testUser(admin: Redis): Promise<string> {
  const user = fresh('user')
  await admin.call('ACL', 'SETUSER', user, 'on', 'nopass', '~*', '&*', '+@all')
  return user
}

/** How many connections of adapters there are for `user`. */
export async function socketsOf(admin: Redis, user: string): Promise<number> {
  const list = (await admin.call('CLIENT', 'LIST')) as string
  return list.split('\n').filter((line) => line.includes(` user=${user} `) && / name=reflex-/.test(line)).length
}

/** Appends as `redisSink` writes, but under ids of the log's own; resolves with them. */
export async function appendTo(client: Redis, key: string, events: readonly NewEvent[]): Promise<string[]> {
  // Where the times rise, they are the log's own, as they are when events are appended as they happen.
  const times = events.map(({ timestamp }) => timestamp)
  const rising =
    (await client.exists(key)) === 0 &&
    times.every((time, i) => Number.isInteger(time) && (i === 0 || Number(time) > Number(times[i - 1])))
  const ids: string[] = []
  const pipeline = client.pipeline()
  for (const [i, event] of events.entries()) {
    const whole: Event = { id: '0', timestamp: Date.now(), metadata: null, headers: {}, ...event }
    const entry = encodeEntry(whole, 'suite', rising ? `${times[i]}-*` : '*')
    pipeline.xadd(key, ...(entry.map((part) => (typeof part === 'string' ? part : Buffer.from(part))) as [string]))
  }
  for (const [error, id] of (await pipeline.exec()) ?? []) {
    if (error) throw error
    ids.push(id as string)
  }
  return ids
}

/** All entries of a stream as events. */
export async function eventsIn(client: Redis, key: string): Promise<Event[]> {
  const rows = (await client.xrangeBuffer(key, '-', '+')) as unknown as [Buffer, Buffer[]][]
  return rows.map(([id, fields]) => decodeEntry(String(id), fields, key))
}

const REWIND = `
local kept = redis.call('XRANGE', KEYS[1], '-', ARGV[1])
redis.call('DEL', KEYS[1])
for _, entry in ipairs(kept) do redis.call('XADD', KEYS[1], entry[1], unpack(entry[2])) end`

/** The server forgets what followed entry `id`, as one does that is restored from an older copy. */
export async function rewind(client: Redis, key: string, id: string): Promise<void> {
  await client.eval(REWIND, 1, key, id)
}

/** A kill that is not waited for: a read that is pending fails before the process is seen to be gone. */
function detached(process: ServerProcess): ServerFaults {
  let gone = Promise.resolve()
  return {
    kill: async () => {
      gone = process.kill()
    },
    start: async () => {
      await gone
      await process.start()
    },
    freeze: () => process.freeze(),
    thaw: () => process.thaw(),
  }
}

/** A source over a fresh key. */
export async function sourceFixture(
  { batchSize }: { readonly batchSize?: number },
  server?: Server & Required<Pick<Server, 'process'>>,
): Promise<SourceFixture> {
  const { url } = server ?? inject('servers').redis
  const admin = new Redis(url)
  admin.on('error', () => {})
  const username = server === undefined ? await testUser(admin) : 'default'
  const key = fresh('log')
  const client = adapterClient(url, server === undefined ? { username, password: 'any' } : {})
  return {
    source: redisStream(client, { key, ...(batchSize === undefined ? {} : { batchSize }) }),
    append: (events) => appendTo(admin, key, events),
    trim: async (id) => void (await admin.xtrim(key, 'MINID', id)),
    remove: async (id) => void (await admin.xdel(key, id)),
    recreate: async () => void (await admin.del(key)),
    rewind: (id) => rewind(admin, key, id),
    server: server && detached(server.process),
    sockets: () => socketsOf(admin, username),
    malformed: ['abc', '1', '1-', '-1', '1-2-3', '01-0', '1-18446744073709551616', '1700000000000-0@x', ' 1-0', '$'],
    [Symbol.asyncDispose]: async () => {
      if (server === undefined) {
        await admin.del(key)
        await admin.call('ACL', 'DELUSER', username)
      }
      admin.disconnect()
      await server?.[Symbol.asyncDispose]()
    },
  }
}

/** A sink into a fresh key. */
export async function sinkFixture({ ids }: { ids?: 'auto' | 'source' } = {}): Promise<SinkFixture> {
  const admin = testClient()
  const username = await testUser(admin)
  const key = fresh('destination')
  const sink = () => redisSink(adapterClient(undefined, { username, password: 'any' }), { key, ids })
  return {
    sink: sink(),
    another: async () => sink(),
    read: () => eventsIn(admin, key),
    loseTail: async (count) => {
      const left = (await eventsIn(admin, key)).slice(0, -count)
      const last = left.at(-1) as Event
      await rewind(admin, key, last.id)
      for (const checkpoint of await admin.keys(`reflex:{${key}}:*`)) {
        const all = String(left.length)
        const cursor = last.headers['reflex-source-id'] as string
        await admin.hset(checkpoint, { cursor, id: last.id, count: all, added: all })
      }
    },
    wipe: async () => void (await admin.del(key, ...(await admin.keys(`reflex:{${key}}:*`)))),
    refuse: async () => {
      await admin.call('ACL', 'SETUSER', username, '-@write')
      return { [Symbol.asyncDispose]: async () => void (await admin.call('ACL', 'SETUSER', username, '+@all')) }
    },
    [Symbol.asyncDispose]: async () => {
      await admin.del(key, ...(await admin.keys(`reflex:{${key}}:*`)))
      await admin.call('ACL', 'DELUSER', username)
    },
  }
}

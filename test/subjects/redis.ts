import { Redis } from 'ioredis'
import { decodeEntry, encodeEntry } from '../../src/adapters/redis/codec.ts'
import { redisCursors, redisFailFast, redisSink, redisStream } from '../../src/adapters/redis/index.ts'
import type { Event, NewEvent } from '../../src/core/event.ts'
import { wireNames } from '../../src/core/wire.ts'
import type { CursorStoreSubject } from '../../src/testing/cursors/cursor-store-subject.ts'
import type { SinkSubject } from '../../src/testing/sink/sink-subject.ts'
import type { SourceSubject } from '../../src/testing/source/source-subject.ts'
import { type AdapterSubjects, fresh, type ServerFaults, type SubjectServer, serverFaults } from './adapter-subjects.ts'

/** Redis Streams, and cursors in Redis. */
export async function redisSubjects(server: SubjectServer): Promise<AdapterSubjects> {
  const own = await serverFaults(server)
  const admin = new Redis(server.url)
  admin.on('error', () => {}) // while the server is down
  const { host, port } = own ?? server
  const client = (options: object = {}): Redis => new Redis({ host, port, ...redisFailFast, ...options })
  const faults = own && {
    ...own.faults,
    restart: async () => {
      await own.faults.restart()
      await beDurable()
    },
  }
  if (own !== undefined) await beDurable()

  /** As it is by default, a reply may come before the write to the file, which waits for a flush of an earlier one. */
  async function beDurable(): Promise<void> {
    await admin.config('SET', 'appendfsync', 'always')
  }

  /** A user that can do everything until it is told otherwise, by whose name connections are counted. */
  async function account(): Promise<Account> {
    const username = fresh('user')
    const make = async () => void (await admin.call('ACL', 'SETUSER', username, 'on', 'nopass', '~*', '&*', '+@all'))
    await make()
    return {
      client: () => client({ username, password: 'any' }),
      refuse: async () => {
        await admin.call('ACL', 'SETUSER', username, '-@write')
        return make
      },
      members: {
        ...faults,
        ...(faults && {
          // Users are kept in memory alone.
          restart: async () => {
            await faults.restart()
            await make()
          },
        }),
        connections: async () => (await clientsOf(admin, username)).length,
      },
      end: async () => void (await admin.call('ACL', 'DELUSER', username)),
    }
  }

  async function source(): Promise<SourceSubject> {
    const key = fresh('log')
    const { client, members, end } = await account()
    return {
      source: redisStream(client(), { key, batchSize: 3 }),
      append: (events) => appendTo(admin, key, events),
      trim: async (id) => void (await admin.xtrim(key, 'MINID', id)),
      remove: async (id) => void (await admin.xdel(key, id)),
      recreate: async () => void (await admin.del(key)),
      rewind: (id) => rewind(admin, key, id),
      corrupt: async () => void (await admin.xadd(key, '*', wireNames.type, Buffer.from([0xff]))),
      malformed: ['abc', '1', '1-', '-1', '1-2-3', '01-0', '1-18446744073709551616', '1700000000000-0@x', ' 1-0', '$'],
      ...members,
      [Symbol.asyncDispose]: async () => {
        await admin.del(key)
        await end()
      },
    }
  }

  async function sink(ids?: 'source'): Promise<SinkSubject> {
    const key = fresh('destination')
    const { client, refuse, members, end } = await account()
    const checkpoints = (): Promise<string[]> => admin.keys(`reflex:{${key}}:*`)
    return {
      sink: () => redisSink(client(), { key, ids }),
      read: () => eventsIn(admin, key),
      loseTail: async (lost) => {
        const left = (await eventsIn(admin, key)).slice(0, -lost)
        const last = left.at(-1)
        if (last === undefined) return void (await admin.del(key, ...(await checkpoints())))
        await rewind(admin, key, last.id)
        // What a route knows of itself is lost with it, since the same script wrote both.
        for (const checkpoint of await checkpoints()) {
          const all = String(left.length)
          const cursor = last.headers[wireNames.sourceId] as string
          await admin.hset(checkpoint, { cursor, id: last.id, count: all, added: all })
        }
      },
      losesWhileOpen: true,
      wipe: async () => void (await admin.del(key, ...(await checkpoints()))),
      refuse,
      // With the ids of the source the key is the route's alone.
      ...(ids === undefined && { foreign: async () => void (await admin.xadd(key, '*', 'by', 'others')) }),
      ...members,
      [Symbol.asyncDispose]: async () => {
        await admin.del(key, ...(await checkpoints()))
        await end()
      },
    }
  }

  async function store(): Promise<CursorStoreSubject> {
    const prefix = `${fresh('cursors')}:`
    return {
      cursors: redisCursors(client(), { prefix }),
      another: () => redisCursors(client(), { prefix }),
      ...faults,
      [Symbol.asyncDispose]: async () => void (await admin.del(`${prefix}cursors`)),
    }
  }

  return {
    sources: { redisStream: source },
    sinks: { redisSink: () => sink(), 'redisSink with the ids of the source': () => sink('source') },
    stores: { redisCursors: store },
    [Symbol.asyncDispose]: async () => {
      admin.disconnect()
      await own?.[Symbol.asyncDispose]()
    },
  }
}

interface Account {
  client(): Redis
  /** Takes the permission to write, until what is returned is called. */
  refuse(): Promise<() => Promise<void>>
  /** Of a subject that works under the account. */
  readonly members: Required<Pick<SourceSubject, 'connections'>> & Partial<ServerFaults['faults']>
  end(): Promise<void>
}

/** What the server tells of the connections of `user`, a line for each. */
export async function clientsOf(admin: Redis, user: string): Promise<string[]> {
  const list = (await admin.call('CLIENT', 'LIST')) as string
  return list.split('\n').filter((line) => line.includes(` user=${user} `))
}

/** Appends as `redisSink` writes, but under ids of the log's own; resolves with them. */
export async function appendTo(client: Redis, key: string, events: readonly NewEvent[]): Promise<string[]> {
  // Where the times rise, they are the log's own, as they are when events are appended as they happen.
  const times = events.map(({ timestamp }) => timestamp)
  const rising =
    (await client.exists(key)) === 0 &&
    times.every(
      (time, i) => Number.isInteger(time) && Number(time) >= 0 && (i === 0 || Number(time) > Number(times[i - 1])),
    )
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

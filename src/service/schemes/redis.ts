import { z } from 'zod'
import { redisCursors, redisFailFast, redisSink, redisStream } from '../../adapters/redis/index.ts'
import { count, text } from '../check-keys.ts'
import { importClient } from '../import-client.ts'
import { type Location, role, type Scheme } from '../scheme.ts'
import { encodingHint, serverUrl } from '../server-url.ts'

const FORM = 'redis://user@host:6379/0'
const password = text.optional()

/** Redis streams, and checkpoints in Redis. `rediss:` is TLS. */
export const redis: Scheme = {
  protocols: ['redis:', 'rediss:'],
  form: FORM,
  name: (location) => {
    const { origin, database } = parse(location)
    return `${origin}/${database}`
  },
  roles: {
    source: role({ key: text, name: text.optional(), password }, async (location, { key, name, password }) => {
      const client = await connect(location, password)
      return { part: redisStream(client, { key, name }), [Symbol.asyncDispose]: async () => client.disconnect() }
    }),
    sink: role(
      { key: text, ids: z.enum(['auto', 'source']).optional(), maxRefill: count(0).optional(), password },
      async (location, { key, ids, maxRefill, password }) => {
        const client = await connect(location, password)
        return {
          part: redisSink(client, { key, ids, maxRefill }),
          check: async () => {
            await redisStream(client, { key }).head?.() // refused if the key holds something else
            return durability(client)
          },
          [Symbol.asyncDispose]: async () => client.disconnect(),
        }
      },
    ),
    checkpoints: role({ prefix: z.string().default('reflex:'), password }, async (location, { prefix, password }) => {
      const client = await connect(location, password)
      return {
        part: redisCursors(client, { prefix }),
        check: () => durability(client),
        [Symbol.asyncDispose]: async () => client.disconnect(),
      }
    }),
  },
}

function parse({ url }: Location): ReturnType<typeof serverUrl> & { readonly database: number } {
  const server = serverUrl(url, { form: FORM, port: 6379 })
  if (/^\d{0,9}$/.test(server.path)) return { ...server, database: Number(server.path) }
  throw new RangeError(
    `expected the number of a database at the end of the URL, as in ${FORM}, found another path (${encodingHint})`,
  )
}

/** A client that the adapter duplicates; it connects only for `durability`. */
async function connect(location: Location, besideUrl: string | undefined) {
  const { Redis } = await importClient('ioredis', () => import('ioredis'))
  const { protocol, host, port, user, password = besideUrl, database } = parse(location)
  const client = new Redis({
    ...redisFailFast,
    host,
    port,
    db: database,
    ...(user === undefined ? {} : { username: user }),
    ...(password === undefined ? {} : { password }),
    ...(protocol === 'rediss:' ? { tls: { servername: host } } : {}),
  })
  client.on('error', () => {}) // each command rejects with it as well
  return client
}

/** How the server may lose what it has confirmed, in words for an operator. */
async function durability(client: Awaited<ReturnType<typeof connect>>): Promise<string[]> {
  if (client.status === 'wait') await client.connect()
  const info = await client.info()
  const notes: string[] = []
  if (/^aof_enabled:0/m.test(info)) {
    notes.push('appendonly is off: what was confirmed since the last snapshot is lost when the server crashes')
  }
  const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1]
  if (!/^maxmemory:0\s/m.test(info) && policy !== undefined && policy !== 'noeviction') {
    notes.push(`maxmemory-policy is ${policy}: the server may delete the stream or its checkpoint; set noeviction`)
  }
  return notes
}

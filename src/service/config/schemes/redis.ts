import { z } from 'zod'
import { redisCursors, redisFailFast, redisNotifier, redisSink, redisStream } from '../../../adapters/redis/index.ts'
import { serverNotes } from '../../../adapters/redis/server-risks.ts'
import { checkSink } from '../../check-sink.ts'
import { count, flag, text } from '../check-keys.ts'
import { importClient } from '../import-client.ts'
import { readAuthority } from '../read-authority.ts'
import { type Location, role, type Scheme } from '../scheme.ts'
import { encodingHint, serverUrl } from '../server-url.ts'

const FORM = 'redis://user@host:6379/0'
const login = {
  password: text.optional(),
  /** A file with the authority that signed the server's certificate, where that is not a public one. Means TLS. */
  ca: text.optional(),
}

const checkpointKeys = { prefix: z.string().default('reflex:'), ...login }

/** Redis streams, and checkpoints in Redis. `rediss:` is TLS. */
export const redis: Scheme = {
  protocols: ['redis:', 'rediss:'],
  form: FORM,
  name: (location) => {
    const { origin, database } = parse(location)
    return `${origin}/${database}`
  },
  roles: {
    source: role({ key: text, name: text.optional(), ...login }, async (location, { key, name, ...login }) => {
      const client = await connect(location, login)
      return { part: redisStream(client, { key, name }), [Symbol.asyncDispose]: async () => client.disconnect() }
    }),
    sink: role(
      {
        key: text,
        ids: z.enum(['auto', 'source']).optional(),
        maxRefill: count(0).optional(),
        /** Refuse a server whose settings can lose what it has acknowledged, instead of warning. */
        strict: flag.default(false),
        ...login,
      },
      async (location, { key, ids, maxRefill, strict, ...login }, context) => {
        const client = await connect(location, login)
        const noted: string[] = []
        const { note = (text) => noted.push(text) } = context
        const sink = redisSink(client, { key, ids, maxRefill, strict, note })
        return {
          part: sink,
          check: async () => {
            await redisStream(client, { key }).head?.() // refused if the key holds something else
            return checkSink(sink, { strict, noted })
          },
          readBack: async () => [redisStream(client, { key })],
          [Symbol.asyncDispose]: async () => client.disconnect(),
        }
      },
    ),
    checkpoints: role(checkpointKeys, async (location, { prefix, ...login }) => {
      const client = await connect(location, login)
      return {
        part: redisCursors(client, { prefix }),
        check: () => serverNotes(client, 'the checkpoints in Redis'),
        [Symbol.asyncDispose]: async () => client.disconnect(),
      }
    }),
    notifier: role({ channel: text, ...login }, async (location, { channel, ...login }) => {
      const client = await connect(location, login)
      return { part: redisNotifier(client, channel), [Symbol.asyncDispose]: async () => client.disconnect() }
    }),
    control: role(checkpointKeys, async (location, { prefix, ...login }) => {
      const client = await connect(location, login)
      return {
        part: { controls: redisCursors(client, { prefix: `${prefix}controls:` }), prefix: '' },
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

/** A client that the adapter duplicates, and never connects. */
async function connect(location: Location, { password: besideUrl, ca }: z.output<z.ZodObject<typeof login>>) {
  const { Redis } = await importClient('ioredis', () => import('ioredis'))
  const { protocol, host, port, user, password = besideUrl, database } = parse(location)
  const authority = ca === undefined ? {} : { ca: await readAuthority(location, ca) }
  const client = new Redis({
    ...redisFailFast,
    host,
    port,
    db: database,
    ...(user === undefined ? {} : { username: user }),
    ...(password === undefined ? {} : { password }),
    ...(protocol === 'rediss:' || ca !== undefined ? { tls: { servername: host, ...authority } } : {}),
  })
  client.on('error', () => {}) // each command rejects with it as well
  return client
}

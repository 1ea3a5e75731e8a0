import { z } from 'zod'
import { jetstreamCursors, jetstreamFailFast, jetstreamSink, jetstreamSource } from '../../adapters/jetstream/index.ts'
import { ReflexError } from '../../core/errors.ts'
import { count, text } from '../check-keys.ts'
import { importClient } from '../import-client.ts'
import { type Location, role, type Scheme } from '../scheme.ts'
import { encodingHint, serverUrl } from '../server-url.ts'

const FORM = 'nats://user@host:4222'
const password = text.optional()
/** A list, or text with commas, as a URL's query has it. */
const subjects = z.preprocess(
  (value) => (typeof value === 'string' ? value.split(',').map((subject) => subject.trim()) : value),
  z.array(text).min(1).optional(),
)
const bucketName = text.regex(/^[\w-]+$/, 'expected a name of letters, digits, - and _').default('reflex-cursors')

/** JetStream streams, and checkpoints in a key-value bucket. `tls:` is TLS. */
export const nats: Scheme = {
  protocols: ['nats:', 'tls:'],
  form: FORM,
  name: (location) => parse(location).origin,
  roles: {
    source: role(
      { stream: text, subjects, name: text.optional(), password },
      async (location, { stream, subjects, name, password }) => ({
        part: jetstreamSource({ connect: await connector(location, password), stream, subjects, name }),
        [Symbol.asyncDispose]: async () => {}, // each stream and writer has a connection of its own
      }),
    ),
    sink: role(
      { subject: text, stream: text, maxRefill: count(0).optional(), password },
      async (location, { subject, stream, maxRefill, password }, { note }) => {
        const connect = await connector(location, password)
        return {
          part: jetstreamSink({ connect, stream, subject, maxRefill, note }),
          createTables: () => withConnection(connect, (connection) => createStream(connection, stream, subject)),
          check: () =>
            withConnection(connect, async (connection) => {
              const config = await streamConfig(connection, stream)
              if (config !== undefined) return risks(config)
              throw new ReflexError('JETSTREAM_10059', `nats:${stream}: there is no such stream: create it`, {
                retriable: false,
              })
            }),
          [Symbol.asyncDispose]: async () => {},
        }
      },
    ),
    checkpoints: role({ bucket: bucketName, password }, async (location, { bucket, password }) => {
      const connect = await connector(location, password)
      const cursors = jetstreamCursors({ connect, bucket })
      return {
        part: cursors,
        createTables: () => cursors.createBucket(),
        check: () =>
          withConnection(connect, async (connection) => {
            const config = await streamConfig(connection, `KV_${bucket}`)
            return config === undefined ? [] : risks(config)
          }),
        [Symbol.asyncDispose]: async () => {},
      }
    }),
  },
}

function parse({ url }: Location): ReturnType<typeof serverUrl> {
  const server = serverUrl(url, { form: FORM, port: 4222 })
  if (server.path === '') return server
  throw new RangeError(`expected a URL like ${FORM}, found a path behind it (${encodingHint})`)
}

type Connect = Awaited<ReturnType<typeof connector>>
type Connection = Awaited<ReturnType<Connect>>

/** Makes connections. A user without a password is a token, as in the URLs of NATS. */
async function connector(location: Location, besideUrl: string | undefined) {
  const { connect } = await importClient('@nats-io/transport-node', () => import('@nats-io/transport-node'))
  const { protocol, host, port, user, password: pass = besideUrl } = parse(location)
  return () =>
    connect({
      ...jetstreamFailFast,
      name: 'reflex-bridge',
      servers: `${host.includes(':') ? `[${host}]` : host}:${port}`,
      ...(user === undefined ? {} : pass === undefined ? { token: user } : { user, pass }),
      ...(protocol === 'tls:' ? { tls: {} } : {}),
    })
}

async function withConnection<T>(connect: Connect, work: (connection: Connection) => Promise<T>): Promise<T> {
  const connection = await connect().catch((cause: unknown) => {
    throw new ReflexError('NATS_CONNECTION', `nats: no connection to the server: ${String(cause)}`, { cause })
  })
  try {
    return await work(connection)
  } finally {
    await connection.close()
  }
}

/** What is looked at of a stream's configuration. */
interface StreamConfig {
  readonly storage?: string
  readonly discard?: string
  readonly max_msgs?: number
  readonly max_bytes?: number
  readonly max_age?: number
  readonly max_msgs_per_subject?: number
}

/** Asks JetStream's API. */
async function api<T>(connection: Connection, subject: string, body: object = {}): Promise<T> {
  const reply = await connection.request(`$JS.API.${subject}`, JSON.stringify(body), { timeout: 2000 })
  return reply.json<T>()
}

interface Reply {
  readonly config?: StreamConfig
  readonly error?: { readonly err_code?: number; readonly description?: string }
}

/** JetStream's code for a stream that is not there. */
const STREAM_MISSING = 10059

async function streamConfig(connection: Connection, stream: string): Promise<StreamConfig | undefined> {
  const { config, error } = await api<Reply>(connection, `STREAM.INFO.${stream}`)
  if (error !== undefined && error.err_code !== STREAM_MISSING) throw refused(stream, error)
  return config
}

/** In files, without limits, and open to other routes where the server has atomic batches. One that is there stays as it is. */
async function createStream(connection: Connection, stream: string, subject: string): Promise<void> {
  if ((await streamConfig(connection, stream)) !== undefined) return
  const [major = 0, minor = 0] = (connection.info?.version ?? '').split('.').map(Number)
  const { error } = await api<Reply>(connection, `STREAM.CREATE.${stream}`, {
    name: stream,
    subjects: [`${subject}.>`],
    retention: 'limits',
    storage: 'file',
    num_replicas: 1,
    ...(major > 2 || (major === 2 && minor >= 12) ? { allow_atomic: true } : {}),
  })
  if (error !== undefined) throw refused(stream, error)
}

function refused(stream: string, { err_code = 0, description = '' }: NonNullable<Reply['error']>): ReflexError {
  return new ReflexError(`NATS_API_${err_code}`, `nats:${stream}: the server refused: ${description} (${err_code})`)
}

/** How a stream loses what it has confirmed, in words for an operator. */
function risks(config: StreamConfig): string[] {
  const { storage, discard = 'old', max_msgs = -1, max_bytes = -1, max_age = 0, max_msgs_per_subject = -1 } = config
  const notes: string[] = []
  if (storage === 'memory') notes.push('the stream is kept in memory: a restart of the server loses all of it')
  if (max_age > 0)
    notes.push(`max_age is ${max_age / 1e9} s: what is older is removed, whether it has been consumed or not`)
  const limits = Object.entries({ max_msgs, max_bytes }).filter(([, limit]) => limit > 0)
  if (discard === 'old' && limits.length > 0) {
    const told = limits.map(([name, limit]) => `${name} ${limit}`).join(', ')
    notes.push(`the stream discards old messages at its limits (${told}), whether they have been consumed or not`)
  }
  if (max_msgs_per_subject > 0 && discard === 'old')
    notes.push(`max_msgs_per_subject is ${max_msgs_per_subject}: only so many events of a type are kept`)
  return notes
}

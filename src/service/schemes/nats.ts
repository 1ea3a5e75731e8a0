import { z } from 'zod'
import { jetstreamCursors, jetstreamFailFast, jetstreamSink, jetstreamSource } from '../../adapters/jetstream/index.ts'
import { count, flag, text } from '../check-keys.ts'
import { checkSink } from '../check-sink.ts'
import { importClient } from '../import-client.ts'
import { readAuthority } from '../read-authority.ts'
import { type Location, role, type Scheme } from '../scheme.ts'
import { encodingHint, serverUrl } from '../server-url.ts'

const FORM = 'nats://user@host:4222'
const login = {
  password: text.optional(),
  /** A file with the authority that signed the server's certificate, where that is not a public one. Means TLS. */
  ca: text.optional(),
}
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
      { stream: text, subjects, name: text.optional(), ...login },
      async (location, { stream, subjects, name, ...login }) => ({
        part: jetstreamSource({ connect: await connector(location, login), stream, subjects, name }),
        [Symbol.asyncDispose]: async () => {}, // each stream and writer has a connection of its own
      }),
    ),
    sink: role(
      { subject: text, stream: text, maxRefill: count(0).optional(), strict: flag.default(false), ...login },
      async (location, { subject, stream, maxRefill, strict, ...login }, context) => {
        const connect = await connector(location, login)
        const noted: string[] = []
        const { note = (text) => noted.push(text) } = context
        const sink = jetstreamSink({ connect, stream, subject, maxRefill, strict, note })
        return {
          part: sink,
          createTables: () => sink.createStream(),
          check: () => checkSink(sink, { strict, noted }),
          [Symbol.asyncDispose]: async () => {},
        }
      },
    ),
    checkpoints: role({ bucket: bucketName, ...login }, async (location, { bucket, ...login }) => {
      const connect = await connector(location, login)
      const cursors = jetstreamCursors({ connect, bucket })
      return {
        part: cursors,
        createTables: () => cursors.createBucket(),
        check: () => cursors.audit(),
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

/** Makes connections. A user without a password is a token, as in the URLs of NATS. */
async function connector(location: Location, { password: besideUrl, ca }: z.output<z.ZodObject<typeof login>>) {
  const { connect } = await importClient('@nats-io/transport-node', () => import('@nats-io/transport-node'))
  const { protocol, host, port, user, password: pass = besideUrl } = parse(location)
  const authority = ca === undefined ? {} : { ca: await readAuthority(location, ca) }
  return () =>
    connect({
      ...jetstreamFailFast,
      name: 'reflex-bridge',
      servers: `${host.includes(':') ? `[${host}]` : host}:${port}`,
      ...(user === undefined ? {} : pass === undefined ? { token: user } : { user, pass }),
      ...(protocol === 'tls:' || ca !== undefined ? { tls: authority } : {}),
    })
}

import type { z } from 'zod'
import {
  jetstreamCursors,
  jetstreamFailFast,
  jetstreamSink,
  jetstreamSource,
  natsNotifier,
} from '../../../adapters/jetstream/index.ts'
import { routeSubject } from '../../../adapters/jetstream/route-subject.ts'
import { checkSink } from '../../check-sink.ts'
import { count, flag, isMade, list, text } from '../check-keys.ts'
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
const subjectKey = text.refine((subject) => isMade(() => routeSubject('it', subject)), {
  error:
    'a subject without wildcards, like orders, or a template like orders.{typeName}, which begins with a token of its own',
})
const bucketName = text.regex(/^[\w-]+$/, 'expected a name of letters, digits, - and _').default('reflex-cursors')

const checkpointKeys = { bucket: bucketName, ...login }

/** JetStream streams, and checkpoints in a key-value bucket. `tls:` is TLS. */
export const nats: Scheme = {
  protocols: ['nats:', 'tls:'],
  form: FORM,
  name: (location) => parse(location).origin,
  roles: {
    source: role(
      { stream: text, subjects: list(text).optional(), name: text.optional(), ...login },
      async (location, { stream, subjects, name, ...login }) => ({
        part: jetstreamSource({ connect: await connector(location, login), stream, subjects, name }),
        [Symbol.asyncDispose]: async () => {}, // each stream and writer has a connection of its own
      }),
    ),
    sink: role(
      { subject: subjectKey, stream: text, maxRefill: count(0).optional(), strict: flag.default(false), ...login },
      async (location, { subject, stream, maxRefill, strict, ...login }, context) => {
        const connect = await connector(location, login)
        const noted: string[] = []
        const { note = (text) => noted.push(text) } = context
        const sink = jetstreamSink({ connect, stream, subject, maxRefill, strict, note })
        return {
          part: sink,
          createTables: () => sink.createStream(),
          check: () => checkSink(sink, { strict, noted }),
          readBack: async () => [
            jetstreamSource({ connect, stream, subjects: [`${routeSubject(stream, subject).prefix}.>`] }),
          ],
          [Symbol.asyncDispose]: async () => {},
        }
      },
    ),
    checkpoints: role(checkpointKeys, async (location, { bucket, ...login }) => {
      const connect = await connector(location, login)
      const cursors = jetstreamCursors({ connect, bucket })
      return {
        part: cursors,
        createTables: () => cursors.createBucket(),
        check: () => cursors.audit(),
        [Symbol.asyncDispose]: async () => {},
      }
    }),
    notifier: role({ subject: text, ...login }, async (location, { subject, ...login }) => ({
      part: natsNotifier(await connector(location, login), subject),
      [Symbol.asyncDispose]: async () => {}, // it is connected for as long as it is subscribed
    })),
    control: role(checkpointKeys, async (location, { bucket, ...login }) => {
      const controls = jetstreamCursors({ connect: await connector(location, login), bucket: `${bucket}-controls` })
      return {
        part: { controls, prefix: '' },
        createTables: () => controls.createBucket(),
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

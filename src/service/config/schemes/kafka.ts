import { z } from 'zod'
import { kafkaFailFast, kafkaPartition, kafkaSink } from '../../../adapters/kafka/index.ts'
import { topicSources } from '../../../adapters/kafka/topic-sources.ts'
import { checkSink } from '../../check-sink.ts'
import { count, flag, list, template, text } from '../check-keys.ts'
import { importClient } from '../import-client.ts'
import { readAuthority } from '../read-authority.ts'
import { type Location, role, type Scheme } from '../scheme.ts'
import { encodingHint, serverUrl } from '../server-url.ts'

const FORM = 'kafka://user@host:9092'

const login = {
  /** Further brokers to begin with, `b:9092,c:9092`: any one that answers tells the others. */
  brokers: text.optional(),
  password: text.optional(),
  /** How the user and password are shown; means a user is given. Default: plain. */
  sasl: z.enum(['plain', 'scram-sha-256', 'scram-sha-512']).default('plain'),
  tls: flag.default(false),
  /** A file with the authority that signed the brokers' certificates, where that is not a public one. Means TLS. */
  ca: text.optional(),
}

/** Partitions of Kafka topics as sources, and topics as sinks. */
export const kafka: Scheme = {
  protocols: ['kafka:'],
  form: FORM,
  name: (location) => parse(location).origin,
  roles: {
    source: role(
      { topic: text, partition: count(0).default(0), name: text.optional(), ...login },
      async (location, { topic, partition, name, ...login }) => ({
        part: kafkaPartition(await connect(location, login), { topic, partition, name }),
        [Symbol.asyncDispose]: async () => {},
      }),
    ),
    sink: role(
      {
        topic: template,
        /** With a template, all topics that events may go to. */
        topics: list(text.regex(/^[\w.-]{1,249}$/, 'the name of a topic')).optional(),
        delivery: z.enum(['once', 'at-least-once']).optional(),
        checkpointTopic: text.default('reflex-bridge-checkpoints'),
        partitions: count(1).optional(),
        maxRefill: count(0).optional(),
        /** Refuse topics whose settings can lose what they have acknowledged, instead of warning. */
        strict: flag.default(false),
        ...login,
      },
      async (
        location,
        { topic, topics, delivery, checkpointTopic, partitions, maxRefill, strict, ...login },
        context,
      ) => {
        const noted: string[] = []
        const { note = (text) => noted.push(text) } = context
        const options = { topic, topics, delivery, checkpointTopic, partitions, maxRefill, strict, note }
        const client = await connect(location, login)
        const sink = kafkaSink(client, options)
        return {
          part: sink,
          createTables: () => sink.createTopic(),
          check: () => checkSink(sink, { strict, noted }),
          readBack: async ({ signal }) => {
            const sources = (topics ?? [topic]).map((each) => topicSources(client, { topic: each, signal }))
            return (await Promise.all(sources)).flat()
          },
          [Symbol.asyncDispose]: async () => {},
        }
      },
      ({ topic, topics }, { addIssue }) => {
        if (topic.includes('{') === (topics !== undefined)) return
        const message =
          topics === undefined
            ? 'a list of all topics that events may go to, since topic is a template'
            : 'topic to be a template beside it, like orders.{type}'
        addIssue({ code: 'custom', path: ['topics'], input: topics, message })
      },
    ),
  },
}

function parse({ url }: Location): ReturnType<typeof serverUrl> {
  const server = serverUrl(url, { form: FORM, port: 9092 })
  if (server.path === '') return server
  throw new RangeError(`expected a URL like ${FORM}, found a path behind it (${encodingHint})`)
}

type Login = z.output<z.ZodObject<typeof login>>

/** A client from which every stream and writer makes connections of its own. */
async function connect(location: Location, { brokers, password: besideUrl, sasl, tls, ca }: Login) {
  const { Kafka } = await importClient('kafkajs', () => import('kafkajs'))
  const { host, port, user, password = besideUrl } = parse(location)
  const further = brokers?.split(',').map((broker) => broker.trim()) ?? []
  return new Kafka({
    ...kafkaFailFast,
    clientId: 'reflex-bridge',
    brokers: [`${host.includes(':') ? `[${host}]` : host}:${port}`, ...further],
    ...(user === undefined ? {} : { sasl: { mechanism: sasl, username: user, password: password ?? '' } as never }),
    ...(tls || ca !== undefined ? { ssl: ca === undefined ? true : { ca: await readAuthority(location, ca) } } : {}),
  })
}

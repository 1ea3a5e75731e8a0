import { jetstreamManager } from '@nats-io/jetstream'
import { connect as connectV3 } from '@nats-io/transport-node'
import { connect as connectV2 } from 'nats'
import { inject, onTestFinished } from 'vitest'
import { jetstreamFailFast, type NatsConnection } from '../../src/adapters/jetstream/index.ts'
import { type JetStreamSinkOptions, jetstreamSink } from '../../src/adapters/jetstream/jetstream-sink.ts'
import type { Event } from '../../src/core/event.ts'
import { decodeFields, decodeHeaderText } from '../../src/core/wire.ts'
import type { SinkFixture } from '../suites/sink.ts'

/** Makes connections with one of the two clients. */
export type Connect = (options: { servers: string; [option: string]: unknown }) => Promise<NatsConnection>

/** The clients that the adapter works with, by name. */
export const clients: Readonly<Record<'@nats-io v3' | 'nats 2.29', Connect>> = {
  '@nats-io v3': (options) => connectV3({ ...jetstreamFailFast, ...options }),
  'nats 2.29': (options) => connectV2({ ...jetstreamFailFast, ...options }) as Promise<NatsConnection>,
}

let count = 0

/** A name that no other test uses, in this run or an earlier one. */
export function fresh(what: string): string {
  return `${what}-${process.pid}-${Date.now().toString(36)}-${count++}`
}

/** Whether the server of these tests has atomic batches. */
export function hasAtomicBatches(version: string = inject('servers').nats.version): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > 2 || (major === 2 && minor >= 12)
}

/** A message as it is stored. */
export interface Stored {
  readonly seq: number
  readonly subject: string
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly data: Uint8Array
}

/** What a test does to a server by itself, over a connection that ends with the test. */
export interface Admin {
  /** A request to the server's API; rejects with its error. */
  api(what: string, body?: object): Promise<Record<string, unknown>>
  createStream(name: string, config?: object): Promise<void>
  /** Publishes without any expectation; resolves with the sequence. */
  publish(subject: string, data?: Uint8Array | string, headers?: Stored['headers']): Promise<number>
  /** All messages under a subject, in order. */
  messages(stream: string, subject?: string): Promise<Stored[]>
  /** The newest sequence of a stream. */
  lastSeq(stream: string): Promise<number>
}

/** A connection of a test's own. */
export async function admin(url: string = inject('servers').nats.url, options: object = {}): Promise<Admin> {
  const nats = await connectV3({ servers: url, ...options })
  onTestFinished(() => nats.close())
  const ask = async (subject: string, data: string | Uint8Array, options: object = {}) => {
    const reply = (await nats.request(subject, data, { timeout: 5000, ...options })).json<Record<string, unknown>>()
    if (reply['error'] !== undefined) throw new Error(`${subject}: ${JSON.stringify(reply['error'])}`)
    return reply
  }
  const api = (what: string, body: object = {}) => ask(`$JS.API.${what}`, JSON.stringify(body))
  return {
    api,
    createStream: async (name, config = {}) => {
      await api(`STREAM.CREATE.${name}`, { ...streamDefaults, name, ...config })
    },
    publish: async (subject, data = '', headers = []) => {
      const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`)
      const encode = () => Buffer.from(`NATS/1.0\r\n${lines.join('')}\r\n`)
      return (await ask(subject, data, lines.length === 0 ? {} : { headers: { encode } }))['seq'] as number
    },
    messages: async (stream, subject = '>') => {
      const { state } = await (await jetstreamManager(nats)).streams.info(stream)
      const found: Stored[] = []
      for (let seq = state.first_seq; seq <= state.last_seq; seq++) {
        const message = await api(`STREAM.MSG.GET.${stream}`, { seq }).then(
          (reply) => reply['message'] as { subject: string; seq: number; hdrs?: string; data?: string },
          () => undefined, // removed
        )
        if (message !== undefined && (subject === '>' || message.subject.startsWith(subject.replace('>', ''))))
          found.push(stored(message))
      }
      return found
    },
    lastSeq: async (stream) => ((await api(`STREAM.INFO.${stream}`))['state'] as { last_seq: number }).last_seq,
  }
}

const streamDefaults = {
  storage: 'file',
  retention: 'limits',
  discard: 'old',
  num_replicas: 1,
  max_consumers: -1,
  max_msgs: -1,
  max_bytes: -1,
  max_age: 0,
}

function stored({
  seq,
  subject,
  hdrs = '',
  data = '',
}: {
  seq: number
  subject: string
  hdrs?: string
  data?: string
}): Stored {
  const lines = Buffer.from(hdrs, 'base64').toString().split('\r\n').slice(1).filter(Boolean)
  return {
    seq,
    subject,
    headers: lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]),
    data: Buffer.from(data, 'base64'),
  }
}

/** The event of a message. */
export function eventOf({ seq, headers, data }: Stored): Event {
  const fields = headers
    .filter(([name]) => !name.startsWith('Nats-'))
    .map(([name, value]) => [decodeHeaderText(name), decodeHeaderText(value)] as const)
  const decoded = decodeFields(fields)
  if (decoded === undefined) throw new Error(`message ${seq} is not an event`)
  const { isNull, ...event } = decoded
  return { id: String(seq), ...event, metadata: isNull ? null : data }
}

/** The server loses the last `lose` messages, as one that is restored from an older copy, in a stream of the same name. */
export async function restoreOlder(to: Admin, stream: string, lose: number): Promise<void> {
  const { config } = await to.api(`STREAM.INFO.${stream}`)
  const kept = (await to.messages(stream)).slice(0, -lose)
  await to.api(`STREAM.DELETE.${stream}`)
  await to.api(`STREAM.CREATE.${stream}`, config as object)
  for (const { subject, data, headers } of kept)
    await to.publish(
      subject,
      data,
      headers.filter(([name]) => !name.startsWith('Nats-')),
    )
}

/** Options of `sinkFixture`. */
export interface SinkFixtureOptions {
  readonly client: keyof typeof clients
  readonly atomic: boolean
  /** Others may publish to the stream as well. */
  readonly shared?: boolean
}

/** A sink into a fresh stream. */
export async function sinkFixture({ client, atomic, shared = false }: SinkFixtureOptions): Promise<SinkFixture> {
  const { url } = inject('servers').nats
  const to = await admin()
  const stream = fresh('out')
  const prefix = `${stream}.to`
  const subjects = [`${prefix}.>`, ...(shared ? [`${stream}.other`] : [])]
  await to.createStream(stream, { subjects, ...(atomic ? { allow_atomic: true } : {}) })
  const options: JetStreamSinkOptions = {
    connect: () => clients[client]({ servers: url }),
    stream,
    subject: prefix,
  }
  return {
    sink: jetstreamSink(options),
    another: async () => jetstreamSink(options),
    read: async () => (await to.messages(stream, `${prefix}.>`)).map(eventOf),
    loseTail: (lost) => restoreOlder(to, stream, lost),
    wipe: async () => {
      const { config } = await to.api(`STREAM.INFO.${stream}`)
      await to.api(`STREAM.DELETE.${stream}`)
      await to.api(`STREAM.CREATE.${stream}`, config as object)
    },
    refuse: async () => {
      const { config } = (await to.api(`STREAM.INFO.${stream}`)) as { config: object }
      const { messages } = (await to.api(`STREAM.INFO.${stream}`))['state'] as { messages: number }
      await to.api(`STREAM.UPDATE.${stream}`, { ...config, discard: 'new', max_msgs: messages })
      return { [Symbol.asyncDispose]: async () => void (await to.api(`STREAM.UPDATE.${stream}`, config)) }
    },
    [Symbol.asyncDispose]: async () => void (await to.api(`STREAM.DELETE.${stream}`)),
  }
}

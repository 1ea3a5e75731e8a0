import { connect as connectV3 } from '@nats-io/transport-node'
import { connect as connectV2 } from 'nats'
import { inject, onTestFinished } from 'vitest'
import { encodeMessage, withHeaders } from '../../src/adapters/jetstream/encode-message.ts'
import {
  type ConnectNats,
  type JetStreamSourceOptions,
  jetstreamFailFast,
  jetstreamSource,
  type NatsConnection,
} from '../../src/adapters/jetstream/index.ts'
import type { Event, NewEvent } from '../../src/core/event.ts'
import { type Server, type StartServerOptions, startServer } from '../../src/testing/servers/index.ts'
import { detached } from '../suites/detached.ts'
import type { SourceFixture } from '../suites/source.ts'

let count = 0

/** A name that no other test uses, in this run or an earlier one. */
export function fresh(what: string): string {
  return `${what}-${process.pid}-${Date.now().toString(36)}-${count++}`
}

/** The clients that the adapter works with. */
export const clientNames = ['@nats-io v3', 'nats 2.29'] as const
export type ClientName = (typeof clientNames)[number]

/** What is handed to an adapter. */
export function connector(
  client: ClientName,
  url: string = inject('servers').nats.url,
  options: object = {},
): ConnectNats {
  const all = { servers: url, ...jetstreamFailFast, ...options }
  return client === 'nats 2.29' ? () => connectV2(all) : () => connectV3(all)
}

/** A server whose process the test controls. */
export async function ownServer(options: StartServerOptions = {}): Promise<Server & Required<Pick<Server, 'process'>>> {
  const server = await startServer('nats', { from: ['native'], ...options })
  onTestFinished(() => server[Symbol.asyncDispose]())
  return server as Server & Required<Pick<Server, 'process'>>
}

/** What a test does to a server by itself. */
export interface StreamAdmin extends AsyncDisposable {
  readonly connection: NatsConnection
  /** A request to the server's API; rejects with its error. */
  api<T = object>(what: string, body?: object): Promise<T>
  /** Publishes a message and resolves with its sequence. */
  publish(subject: string, payload?: Uint8Array | string, headers?: Uint8Array): Promise<string>
  /** How many consumers the stream has. */
  consumers(stream: string): Promise<number>
}

/** A connection of a test's own, which is made anew if the server has gone. */
export async function streamAdmin(url: string = inject('servers').nats.url): Promise<StreamAdmin> {
  const open = () => connectV3({ servers: url, reconnect: false })
  let connection = await open()
  let reopening: Promise<void> | undefined
  const ask = async <T>(subject: string, payload: Uint8Array | string, options: object = {}): Promise<T> => {
    if (connection.isClosed()) {
      // Once for all that wait, which then go on in their order.
      reopening ??= open().then((opened) => {
        connection = opened
        reopening = undefined
      })
      await reopening
    }
    const reply = (await connection.request(subject, payload, { timeout: 5000, ...options })).json<{ error?: object }>()
    if (reply.error !== undefined) throw new Error(`${subject}: ${JSON.stringify(reply.error)}`)
    return reply as T
  }
  const api = <T>(what: string, body?: object): Promise<T> =>
    ask(`$JS.API.${what}`, body === undefined ? '' : JSON.stringify(body))
  return {
    get connection() {
      return connection
    },
    api,
    publish: async (subject, payload = '', headers = undefined) => {
      const options = headers === undefined ? {} : { headers: { encode: () => headers } }
      return String((await ask<{ seq: number }>(subject, payload, options)).seq)
    },
    consumers: async (stream) =>
      (await api<{ state: { consumer_count: number } }>(`STREAM.INFO.${stream}`)).state.consumer_count,
    [Symbol.asyncDispose]: () => connection.close(),
  }
}

/** An admin that ends with the test. */
export async function testAdmin(url?: string): Promise<StreamAdmin> {
  const admin = await streamAdmin(url)
  onTestFinished(() => admin[Symbol.asyncDispose]())
  return admin
}

/** Creates a stream whose subjects begin with its name. */
export async function createStream({ api }: StreamAdmin, stream: string, config: object = {}): Promise<void> {
  await api(`STREAM.CREATE.${stream}`, { name: stream, subjects: [`${stream}.>`], storage: 'file', ...config })
}

/** Appends as `jetstreamSink` writes; resolves with the sequences. */
export async function appendTo(admin: StreamAdmin, stream: string, events: readonly NewEvent[]): Promise<string[]> {
  const appending = events.map((event) => {
    const whole: Event = { id: '0', timestamp: Date.now(), metadata: null, headers: {}, ...event }
    const { subject, headers, data } = withHeaders(encodeMessage(whole, { prefix: stream, source: 'suite' }), {})
    return admin.publish(subject, data, headers)
  })
  return await Promise.all(appending)
}

/** A copy of a stream, as the server's own backup makes it. */
export interface Backup {
  readonly config: object
  readonly state: object
  readonly chunks: readonly Uint8Array[]
}

/** Takes a copy of a stream. */
export async function backUp({ connection, api }: StreamAdmin, stream: string): Promise<Backup> {
  const inbox = `_INBOX.${fresh('backup')}`
  const chunks: Uint8Array[] = []
  const complete = Promise.withResolvers<void>()
  const subscription = connection.subscribe(inbox, {
    callback: (error, { data, reply }) => {
      if (error) return complete.reject(error)
      if (data.length === 0) return complete.resolve()
      chunks.push(data.slice())
      if (reply) connection.publish(reply)
    },
  })
  const { config, state } = await api<Backup>(`STREAM.SNAPSHOT.${stream}`, {
    deliver_subject: inbox,
    no_consumers: true,
  })
  await complete.promise
  subscription.unsubscribe()
  return { config, state, chunks }
}

/** Puts a copy in the place of a stream. */
export async function restore({ connection, api }: StreamAdmin, stream: string, backup: Backup): Promise<void> {
  const { config, state, chunks } = backup
  await api(`STREAM.DELETE.${stream}`)
  const { deliver_subject: to } = await api<{ deliver_subject: string }>(`STREAM.RESTORE.${stream}`, { config, state })
  for (const chunk of chunks) await connection.request(to, chunk, { timeout: 5000 })
  const { data } = await connection.request(to, '', { timeout: 5000 })
  const { error } = JSON.parse(Buffer.from(data).toString()) as { error?: object }
  if (error !== undefined) throw new Error(`restoring ${stream}: ${JSON.stringify(error)}`)
}

/** Options of `sourceFixture`. */
export interface SourceFixtureOptions {
  readonly client: ClientName
  readonly batchSize?: number | undefined
  readonly server?: (Server & Required<Pick<Server, 'process'>>) | undefined
  readonly source?: Partial<JetStreamSourceOptions>
}

/** A source over a fresh stream. */
export async function sourceFixture({
  client,
  batchSize,
  server,
  source,
}: SourceFixtureOptions): Promise<SourceFixture> {
  const url = server?.url ?? inject('servers').nats.url
  const admin = await streamAdmin(url)
  const stream = fresh('log')
  await createStream(admin, stream)
  return {
    source: jetstreamSource({ connect: connector(client, url), stream, batchSize, ...source }),
    append: (events) => appendTo(admin, stream, events),
    trim: async (id) => void (await admin.api(`STREAM.PURGE.${stream}`, { seq: Number(id) })),
    remove: async (id) => void (await admin.api(`STREAM.MSG.DELETE.${stream}`, { seq: Number(id) })),
    recreate: async () => {
      await admin.api(`STREAM.DELETE.${stream}`)
      await createStream(admin, stream)
    },
    server: server && detached(server.process),
    sockets: async () => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length,
    malformed: ['abc', '1@abc', '-1', '1-0', '01', '+1', '1.5', '18446744073709551616', ' 1', '@', '1@'],
    [Symbol.asyncDispose]: async () => {
      if (server === undefined) await admin.api(`STREAM.DELETE.${stream}`).catch(() => {}) // a test may have done it
      await admin[Symbol.asyncDispose]()
      await server?.[Symbol.asyncDispose]()
    },
  }
}

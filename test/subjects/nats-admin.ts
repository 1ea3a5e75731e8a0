import { connect } from '@nats-io/transport-node'
import type { NatsConnection } from '../../src/adapters/jetstream/index.ts'
import type { Event } from '../../src/core/event.ts'
import { decodeFields, decodeHeaderText } from '../../src/core/wire.ts'
import { fresh } from './adapter-subjects.ts'

/** What tests do to a NATS server themselves, over a connection that is made anew if the server has gone. */
export interface NatsAdmin extends AsyncDisposable {
  /** A request to JetStream's API; rejects with its error. */
  api<T = object>(what: string, body?: object): Promise<T>
  /** Publishes a message, with headers as they stand on the wire, and resolves with its sequence. */
  publish(subject: string, payload?: Uint8Array | string, headers?: Uint8Array): Promise<string>
  /** Creates a stream in files, by default of the subjects that begin with its name. */
  createStream(stream: string, config?: object): Promise<void>
  info(stream: string): Promise<StreamInfo>
  /** All messages of a stream, in order. */
  messages(stream: string): Promise<NatsStored[]>
  /** Takes a copy of a stream, as the server's own backup makes it. */
  backUp(stream: string): Promise<NatsBackup>
  /** Puts a copy in the place of a stream. */
  restore(stream: string, backup: NatsBackup): Promise<void>
}

/** What is used of the server's answer. */
export interface StreamInfo {
  readonly config: object
  readonly state: {
    readonly messages: number
    readonly first_seq: number
    readonly last_seq: number
    readonly consumer_count: number
  }
}

/** A message as it is stored. */
export interface NatsStored {
  readonly seq: number
  readonly subject: string
  /** Complete, as they stand on the wire. */
  readonly headers: Buffer | undefined
  readonly data: Buffer
}

/** A copy of a stream. */
export interface NatsBackup {
  readonly config: object
  readonly state: Pick<StreamInfo['state'], 'last_seq'>
  readonly chunks: readonly Uint8Array[]
}

/** Connects; `options` are those of the client, as the account. */
export async function natsAdmin(url: string, options: object = {}): Promise<NatsAdmin> {
  const open = (): Promise<NatsConnection> => connect({ servers: url, reconnect: false, ...options })
  let connection = await open()
  let reopening: Promise<NatsConnection> | undefined
  async function live(): Promise<NatsConnection> {
    if (!connection.isClosed()) return connection
    // Once for all that wait, which then go on in their order.
    reopening ??= open().finally(() => {
      reopening = undefined
    })
    connection = await reopening
    return connection
  }
  const ask = async <T>(subject: string, payload: Uint8Array | string, options: object = {}): Promise<T> => {
    const { data } = await (await live()).request(subject, payload, { timeout: 5000, ...options })
    const reply = (data.length === 0 ? {} : JSON.parse(Buffer.from(data).toString())) as { error?: object }
    if (reply.error !== undefined) throw new Error(`${subject}: ${JSON.stringify(reply.error)}`)
    return reply as T
  }
  const api = <T>(what: string, body?: object): Promise<T> =>
    ask(`$JS.API.${what}`, body === undefined ? '' : JSON.stringify(body))
  const info = (stream: string): Promise<StreamInfo> => api(`STREAM.INFO.${stream}`)

  return {
    api,
    createStream: async (stream, config = {}) => {
      const whole = { name: stream, subjects: [`${stream}.>`], storage: 'file', ...config }
      for (let tries = 1; ; tries++) {
        try {
          return void (await api(`STREAM.CREATE.${stream}`, whole))
        } catch (error) {
          // Now and then the server is still at work on the files of a stream of that name which was just deleted.
          if (tries === 5 || !isError(error, 10049)) throw error
        }
      }
    },
    info,
    publish: async (subject, payload = '', headers = undefined) => {
      const options = headers === undefined ? {} : { headers: { encode: () => headers } }
      return String((await ask<{ seq: number }>(subject, payload, options)).seq)
    },
    messages: async (stream) => {
      const { first_seq, last_seq: last } = (await info(stream)).state
      const first = Math.max(1, first_seq) // 0 before the first message
      const found = Array.from({ length: Math.max(0, last - first + 1) }, (_, i) =>
        api<{ message: ApiMessage }>(`STREAM.MSG.GET.${stream}`, { seq: first + i }).then(
          ({ message }) => [stored(message)],
          (error: unknown) => {
            if (!isError(error, NO_MESSAGE)) throw error
            return [] // removed
          },
        ),
      )
      return (await Promise.all(found)).flat()
    },
    backUp: async (stream) => {
      const inbox = `_INBOX.${fresh('backup')}`
      const chunks: Uint8Array[] = []
      const complete = Promise.withResolvers<void>()
      const on = await live()
      const subscription = on.subscribe(inbox, {
        callback: (error, { data, reply }) => {
          if (error) return complete.reject(error)
          if (data.length === 0) return complete.resolve()
          chunks.push(data.slice())
          if (reply) on.publish(reply)
        },
      })
      const { config, state } = await api<NatsBackup>(`STREAM.SNAPSHOT.${stream}`, {
        deliver_subject: inbox,
        no_consumers: true,
      })
      await complete.promise
      subscription.unsubscribe()
      return { config, state, chunks }
    },
    restore: async (stream, { config, state, chunks }) => {
      for (;;) {
        await api(`STREAM.DELETE.${stream}`)
        const { deliver_subject: to } = await api<{ deliver_subject: string }>(`STREAM.RESTORE.${stream}`, {
          config,
          state,
        })
        for (const chunk of chunks) await ask(to, chunk)
        await ask(to, '')
        // Now and then the server still writes the state of the deleted stream, and takes it for that of the restored one.
        if ((await info(stream)).state.last_seq === state.last_seq) return
      }
    },
    [Symbol.asyncDispose]: () => connection.close(),
  }
}

const NO_MESSAGE = 10037

/** Whether the API has answered with this code. */
function isError(error: unknown, code: number): boolean {
  return String(error).includes(`"err_code":${code}`)
}

interface ApiMessage {
  readonly seq: number
  readonly subject: string
  /** Both in base64. */
  readonly hdrs?: string
  readonly data?: string
}

function stored({ seq, subject, hdrs, data = '' }: ApiMessage): NatsStored {
  return {
    seq,
    subject,
    headers: hdrs === undefined ? undefined : Buffer.from(hdrs, 'base64'),
    data: Buffer.from(data, 'base64'),
  }
}

/** The headers of a message that are not for the server, as they are written. */
export function natsHeadersOf({ headers }: NatsStored): (readonly [name: string, value: string])[] {
  const lines = headers?.toString().split('\r\n').slice(1).filter(Boolean) ?? []
  return lines
    .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()] as const)
    .filter(([name]) => !name.startsWith('Nats-'))
}

/** The event of a message, read without the adapter's help. */
export function natsEventOf(message: NatsStored): Event {
  const { seq, data } = message
  const fields = natsHeadersOf(message).map(
    ([name, value]) => [decodeHeaderText(name), decodeHeaderText(value)] as const,
  )
  const decoded = decodeFields(fields)
  if (decoded === undefined) throw new Error(`message ${seq} is not an event`)
  const { isNull, ...event } = decoded
  return { id: String(seq), ...event, metadata: isNull ? null : data }
}

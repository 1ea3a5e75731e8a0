import { untilAborted } from '../../core/abort.ts'
import { ReflexError } from '../../core/errors.ts'
import { apiError, type ErrorReply } from './api-error.ts'
import { apiJson, parseApiJson } from './api-json.ts'
import { type ConnectNats, checkNatsConnection, inboxOf, type NatsMessage } from './nats-client.ts'
import { natsError } from './nats-error.ts'

/** A connection of our own. Every error it rejects with is a `ReflexError`. */
export interface JetStreamConnection extends AsyncDisposable {
  /** Of the server, `2.15.1`. */
  readonly version: string
  /** How many servers the cluster has now, as far as it tells; 1 if the server is alone. */
  readonly servers: number
  /** The server takes no larger message, headers included. */
  readonly maxPayload: number
  /** A prefix of subjects that nobody else listens to. */
  readonly inbox: string
  /**
   * Sends a message and resolves with the JSON of its answer; `headers` are complete, as on the wire. Throws what the server
   * refuses as `JETSTREAM_<err_code>`.
   */
  request<T extends object>(subject: string, data?: Uint8Array | string, headers?: Uint8Array): Promise<T>
  /**
   * Asks JetStream's API at `$JS.API.<what>`; sequences in the answer are bigint. Undefined if it refuses with one of the
   * `err_code`s in `unless`.
   */
  api<T>(what: string, body?: object, options?: ApiOptions): Promise<T>
  /** Sends a message that is not answered, or whose answers come to `reply`. */
  publish(subject: string, data?: Uint8Array | string, options?: PublishOptions): void
  /** Calls `onMessage` for every message until the connection is closed, or `onError` if the server refuses it. */
  subscribe(
    subject: string,
    onMessage: (message: NatsMessage) => void,
    onError: (error: ReflexError) => void,
  ): { unsubscribe(): void }
  isClosed(): boolean
  /** Resolves with why when it is closed, by whomever. */
  readonly closed: Promise<ReflexError>
}

/** Options of `publish`. */
export interface PublishOptions {
  readonly reply?: string
  /** Complete, as they stand on the wire. */
  readonly headers?: Uint8Array
}

/** Options of `api`. */
export interface ApiOptions {
  readonly unless?: readonly number[]
  readonly timeoutMs?: number
}

/** What a connection is for. */
export interface JetStreamConnectionOptions {
  /** Names what is read or written, in errors. */
  readonly log: string
  readonly signal?: AbortSignal | undefined
}

/** A server that does not answer for so long is dead. With the second that a reader waits, it is noticed within 5 s (rule 3). */
const ANSWER_WITHIN_MS = 2000
/** And one that is not even connected. */
const CONNECT_WITHIN_MS = 3500
/** A server that does not answer the end of a connection is left alone after this. */
const CLOSE_WITHIN_MS = 300

/** Makes a fresh connection with `connect`. Throws an `OptionError` for one that reconnects by itself. */
export async function connectNats(
  connect: ConnectNats,
  { log, signal }: JetStreamConnectionOptions,
): Promise<JetStreamConnection> {
  signal?.throwIfAborted()
  const connecting = Promise.resolve().then(connect)
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(new Error(`not within ${CONNECT_WITHIN_MS} ms`)), CONNECT_WITHIN_MS)
  const until = signal === undefined ? late.signal : AbortSignal.any([signal, late.signal])
  const nats = await untilAborted(connecting, until)
    .catch((error: unknown) => {
      connecting.then((unused) => unused.close()).catch(() => {}) // nobody is left to be told
      if (signal?.aborted) throw signal.reason
      throw natsError(log, error)
    })
    .finally(() => clearTimeout(timer))
  try {
    checkNatsConnection(log, nats)
  } catch (error) {
    await nats.close()
    throw error
  }
  let closing: Promise<void> | undefined
  const closed = nats
    .closed()
    .then((error) => natsError(log, error instanceof Error ? error : new Error('the connection has been closed')))

  async function ask<T extends object>(
    subject: string,
    data: Uint8Array | string,
    parse: (text: string) => T & ErrorReply,
    options: { timeout: number; headers?: object },
  ): Promise<T & ErrorReply> {
    try {
      const { data: answer } = await nats.request(subject, data, options)
      return parse(Buffer.from(answer.buffer, answer.byteOffset, answer.byteLength).toString())
    } catch (error) {
      throw natsError(log, error, subject)
    }
  }

  return {
    version: nats.info?.version ?? '0',
    servers: nats.info?.cluster === undefined ? 1 : Math.max(2, new Set(nats.info.connect_urls).size),
    maxPayload: nats.info?.max_payload ?? 1024 * 1024,
    inbox: inboxOf(nats),
    closed,
    isClosed: () => nats.isClosed(),
    request: async <T extends object>(subject: string, data: Uint8Array | string = '', headers?: Uint8Array) => {
      const options = { timeout: ANSWER_WITHIN_MS, ...(headers === undefined ? {} : { headers: encoded(headers) }) }
      const reply = await ask<T>(subject, data, (text) => JSON.parse(text), options)
      if (reply.error !== undefined) throw apiError(log, reply.error)
      return reply
    },
    api: async <T>(what: string, body?: object, { unless = [], timeoutMs = ANSWER_WITHIN_MS }: ApiOptions = {}) => {
      const data = body === undefined ? '' : apiJson(body)
      const reply = await ask<object>(`$JS.API.${what}`, data, parseApiJson, { timeout: timeoutMs })
      if (reply.error === undefined) return reply as T
      if (unless.includes(reply.error.err_code ?? 0)) return undefined as T
      throw apiError(log, reply.error)
    },
    publish: (subject, data = '', { reply, headers } = {}) => {
      try {
        nats.publish(subject, data, {
          ...(reply === undefined ? {} : { reply }),
          ...(headers === undefined ? {} : { headers: encoded(headers) }),
        })
      } catch (error) {
        throw natsError(log, error, subject)
      }
    },
    subscribe: (subject, onMessage, onError) => {
      try {
        const callback = (error: Error | null, message: NatsMessage): void => {
          // What is thrown here would end the client's own reading without a word.
          try {
            if (error) throw error
            onMessage(message)
          } catch (reason) {
            onError(natsError(log, reason, subject))
          }
        }
        return nats.subscribe(subject, { callback })
      } catch (error) {
        throw natsError(log, error, subject)
      }
    },
    [Symbol.asyncDispose]: () => {
      closing ??= closeWithin(nats.close(), CLOSE_WITHIN_MS)
      return closing
    },
  }
}

/** Both clients ask the headers of a message for their bytes. */
function encoded(headers: Uint8Array): { encode(): Uint8Array } {
  return { encode: () => headers }
}

async function closeWithin(closing: Promise<void>, ms: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  closing.then(resolve, resolve) // it is of no use to anyone any more
  await promise
  clearTimeout(timer)
}

/** Whether the server refused with this `err_code`. */
export function isRefusal(error: unknown, errCode: number): boolean {
  return error instanceof ReflexError && error.code === `JETSTREAM_${errCode}`
}

import { untilAborted } from '../../core/abort.ts'
import { OptionError, ReflexError } from '../../core/errors.ts'
import { apiError, type ErrorReply } from './api-error.ts'
import { natsError } from './nats-error.ts'

/** A connection of `@nats-io/transport-node` or of `nats`, as far as a sink uses it. */
export interface SinkNatsConnection {
  readonly info?: { readonly version: string; readonly max_payload: number } | undefined
  request(
    subject: string,
    data: Uint8Array | string,
    options: { timeout: number },
  ): Promise<{ readonly data: Uint8Array }>
  publish(subject: string, data: Uint8Array | string, options: object): void
  close(): Promise<void>
}

/** A connection of our own. Every error it rejects with is a `ReflexError`. */
export interface SinkConnection extends AsyncDisposable {
  /** Of the server, `2.15.1`. */
  readonly version: string
  /** The server takes no larger message, headers included. */
  readonly maxPayload: number
  /**
   * Sends a message and resolves with the JSON of its answer; `headers` are complete, as on the wire. Rejects with
   * `JETSTREAM_<err_code>` if the server refuses.
   */
  request<T extends object>(subject: string, data: Uint8Array | string, headers?: Uint8Array): Promise<T>
  /** Sends a message that is not answered. */
  publish(subject: string, data: Uint8Array, headers: Uint8Array): void
}

/** A server that does not answer for so long is dead: with the time between two checks that is noticed within 5 s (rule 3). */
const ANSWER_WITHIN_MS = 2500
/** The factory of a client may wait longer. */
const CONNECT_WITHIN_MS = 3500
/** A server that does not answer the end of a connection is left alone after this. */
const CLOSE_WITHIN_MS = 300

/** Makes a fresh connection. Throws an `OptionError` for one that reconnects by itself. */
export async function connectSink(
  connect: () => Promise<SinkNatsConnection>,
  { log, signal }: { readonly log: string; readonly signal?: AbortSignal | undefined },
): Promise<SinkConnection> {
  signal?.throwIfAborted()
  const connecting = Promise.resolve().then(connect)
  const late = AbortSignal.timeout(CONNECT_WITHIN_MS)
  const nats = await untilAborted(connecting, signal === undefined ? late : AbortSignal.any([signal, late])).catch(
    (error: unknown) => {
      connecting.then((unused) => unused.close()).catch(() => {}) // nobody is left to be told
      if (signal?.aborted) throw signal.reason
      throw natsError(log, error)
    },
  )
  // Both clients keep their options there; neither says so in its types.
  const { options } = nats as { options?: { reconnect?: unknown } }
  if (options?.reconnect !== false) {
    await nats.close()
    throw new OptionError(
      `${log}: this connection reconnects by itself (reconnect), which would hide a dead server; make it with connect({ servers, ...jetstreamFailFast })`,
    )
  }
  let closing: Promise<void> | undefined

  return {
    version: nats.info?.version ?? '0',
    maxPayload: nats.info?.max_payload ?? 1024 * 1024,
    request: async <T extends object>(subject: string, data: Uint8Array | string, headers?: Uint8Array) => {
      let reply: T & ErrorReply
      try {
        const options = { timeout: ANSWER_WITHIN_MS, ...(headers === undefined ? {} : { headers: encoded(headers) }) }
        const { data: answer } = await nats.request(subject, data, options)
        reply = JSON.parse(Buffer.from(answer.buffer, answer.byteOffset, answer.byteLength).toString()) as typeof reply
      } catch (error) {
        throw natsError(log, error, subject)
      }
      if (reply.error !== undefined) throw apiError(log, reply.error)
      return reply
    },
    publish: (subject, data, headers) => {
      try {
        nats.publish(subject, data, { headers: encoded(headers) })
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

/** Whether the server refused with this `err_code`. */
export function isRefusal(error: unknown, errCode: number): boolean {
  return error instanceof ReflexError && error.code === `JETSTREAM_${errCode}`
}

/** Both clients check and copy each header that is set, but to publish they ask only for the bytes, which are made already. */
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

import { OptionError } from '../../core/errors.ts'

/** What is needed of a connection of `@nats-io/transport-node` (v3) or of `nats` (2.29); the two are the same in this. */
export interface NatsConnection {
  readonly info?: NatsServerInfo | undefined
  request(subject: string, data?: Uint8Array | string, options?: NatsRequestOptions): Promise<NatsMessage>
  publish(subject: string, data?: Uint8Array | string, options?: { reply?: string; headers?: object }): void
  subscribe(subject: string, options: NatsSubscribeOptions): { unsubscribe(): void }
  isClosed(): boolean
  /** Resolves, with the error if there was one, when it is closed by whomever. */
  closed(): Promise<unknown>
  close(): Promise<void>
}

/** What a server says of itself. */
interface NatsServerInfo {
  readonly version: string
  readonly max_payload: number
  /** The name of its cluster, if it is of one. */
  readonly cluster?: string
  /** Where clients can reach the servers of the cluster that are there now, if it tells. */
  readonly connect_urls?: readonly string[]
}

interface NatsRequestOptions {
  timeout: number
  headers?: object
}

interface NatsSubscribeOptions {
  callback: (error: Error | null, message: NatsMessage) => void
}

/** A message as both clients give it. */
export interface NatsMessage {
  readonly subject: string
  readonly reply?: string | undefined
  readonly data: Uint8Array
  readonly headers?: NatsHeaders | undefined
}

/** The headers of a message: each name once, with all its values. `code` is that of a status of the server, or 0. */
export interface NatsHeaders extends Iterable<[name: string, values: string[]]> {
  readonly code: number
  readonly description: string
}

/** Makes a fresh connection each time it is called: `() => connect({ servers, ...jetstreamFailFast })`. */
export type ConnectNats = () => Promise<NatsConnection>

/**
 * The options of a connection that does not reconnect: `connect({ servers, ...jetstreamFailFast })`. One place, `supervise`,
 * starts again after a failure. A connection is given 2 s; a server that answers no ping is noticed within 3 s.
 */
export const jetstreamFailFast: {
  readonly reconnect: false
  readonly waitOnFirstConnect: false
  readonly timeout: number
  readonly pingInterval: number
  readonly maxPingOut: number
} = { reconnect: false, waitOnFirstConnect: false, timeout: 2000, pingInterval: 1000, maxPingOut: 2 }

/** Throws an `OptionError` that names every option by which the connection would reconnect by itself (rule 3). */
export function checkNatsConnection(log: string, connection: NatsConnection): void {
  const options = optionsOf(connection)
  const wrong = [
    options['reconnect'] === false ? '' : 'reconnect',
    options['waitOnFirstConnect'] ? 'waitOnFirstConnect' : '',
  ].filter(Boolean)
  if (wrong.length === 0) return
  throw new OptionError(
    `${log}: this connection reconnects by itself (${wrong.join(', ')}), which would hide a dead server: make it with connect({ servers, ...jetstreamFailFast }), that is with reconnect: false`,
  )
}

/** A subject of the connection's own, that nobody else subscribes to. */
export function inboxOf(connection: NatsConnection): string {
  const { inboxPrefix = '_INBOX' } = optionsOf(connection)
  return `${String(inboxPrefix)}.${crypto.randomUUID().replaceAll('-', '')}`
}

/** Both clients keep the options, with their defaults, in the connection. */
function optionsOf(connection: NatsConnection | undefined): Readonly<Record<string, unknown>> {
  const { options } = (connection ?? {}) as { readonly options?: Readonly<Record<string, unknown>> }
  if (options !== undefined) return options
  throw new OptionError(
    'nats: expected a connection of @nats-io/transport-node 3 or of nats 2.29, but connect() gave something else',
  )
}

import type { CallCredentials, CallOptions, ChannelOptions, Client } from '@grpc/grpc-js'
import { messageOf, OptionError, ReflexError } from '../../core/errors.ts'

/** A client of grpc-js, a generated one too. It is used as it is, and closed by whoever made it. */
export type GrpcClient = Pick<Client, 'makeServerStreamRequest' | 'makeUnaryRequest' | 'getChannel'>

/** Rule 3: a peer that is dead or frozen is noticed within this. */
const NOTICED_WITHIN_MS = 5000

/**
 * The options of a client that tries nothing again by itself, and that notices within 3 s that its server is dead or frozen:
 * `new Client(address, credentials, { ...grpcFailFast })`. One place, `supervise`, starts again after a failure. A Go server takes so many
 * pings for an attack unless it has `keepalive.EnforcementPolicy{MinTime: time.Second}`.
 */
export const grpcFailFast: {
  readonly 'grpc.enable_retries': 0
  readonly 'grpc.keepalive_time_ms': number
  readonly 'grpc.keepalive_timeout_ms': number
  readonly 'grpc.initial_reconnect_backoff_ms': number
  readonly 'grpc.max_reconnect_backoff_ms': number
} = {
  'grpc.enable_retries': 0,
  'grpc.keepalive_time_ms': 1500,
  'grpc.keepalive_timeout_ms': 1500,
  // Whoever waits for a connection is to have it soon after it can be made.
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1000,
}

/** The options of a server that notices within 3 s that a client is dead or frozen, whose streams then end: `new Server({ ...grpcServerKeepalive })`. */
export const grpcServerKeepalive: {
  readonly 'grpc.keepalive_time_ms': number
  readonly 'grpc.keepalive_timeout_ms': number
} = { 'grpc.keepalive_time_ms': 1500, 'grpc.keepalive_timeout_ms': 1500 }

/** Throws an `OptionError` that names every option by which a client would try again by itself, or not notice a dead server, where that can be seen. */
export function checkGrpcClient(client: GrpcClient): void {
  if (typeof client?.makeServerStreamRequest !== 'function' || typeof client.getChannel !== 'function')
    throw new OptionError(
      'grpc: client must be a Client of @grpc/grpc-js, made with new Client(address, credentials, { ...grpcFailFast })',
    )
  const options = optionsOf(client)
  if (options === undefined) return
  const noticedMs =
    Number(options['grpc.keepalive_time_ms'] ?? Infinity) + Number(options['grpc.keepalive_timeout_ms'] ?? 20_000)
  const wrong = [
    options['grpc.enable_retries'] === 0 ? '' : 'grpc.enable_retries',
    noticedMs <= NOTICED_WITHIN_MS ? '' : 'grpc.keepalive_time_ms, grpc.keepalive_timeout_ms',
  ].filter(Boolean)
  if (wrong.length === 0) return
  throw new OptionError(
    `grpc: this client tries again by itself, or would not notice a dead server within ${NOTICED_WITHIN_MS} ms (${wrong.join(', ')}); make it with new Client(address, credentials, { ...grpcFailFast })`,
  )
}

/** Where the channel is grpc-js's own, it holds its options, though it has no way to ask for them. */
function optionsOf(client: GrpcClient): ChannelOptions | undefined {
  return (client.getChannel() as { internalChannel?: { options?: ChannelOptions } }).internalChannel?.options
}

/** What goes with a call: a deadline `deadlineMs` from now, and what the caller proves who they are with. */
export function callOptions(
  nowMs: number,
  deadlineMs: number | undefined,
  credentials: CallCredentials | undefined,
): CallOptions {
  return {
    ...(deadlineMs !== undefined && { deadline: nowMs + deadlineMs }),
    ...(credentials !== undefined && { credentials }),
  }
}

/** Begins a call; a client that has been closed is an error that no other attempt mends. */
export function beginCall<T>(what: string, call: () => T): T {
  try {
    return call()
  } catch (cause) {
    throw new ReflexError(
      'GRPC_CLIENT_CLOSED',
      `${what}: the client takes no calls (${messageOf(cause)}): it has been closed; hand in another one`,
      {
        cause,
        retriable: false,
      },
    )
  }
}

/** Ends a call. One that has just begun takes no notice in grpc-js, and would stay open at the server for ever: so it is told once more. */
export function cancelCall(call: { cancel(): void }): void {
  call.cancel()
  setImmediate(() => call.cancel())
}

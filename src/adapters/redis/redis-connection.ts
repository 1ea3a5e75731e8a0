import { untilAborted } from '../../core/abort.ts'
import { type RedisClient, redisFailFast } from './redis-client.ts'
import { redisError } from './redis-error.ts'

/** A connection of our own. Every error it rejects with is a `ReflexError`. */
export interface RedisConnection extends AsyncDisposable {
  /** Names what is read or written, in errors. */
  readonly log: string
  /** Replies with text. Numbers are strings, maps are flat arrays. */
  call(command: string, ...args: (string | Buffer)[]): Promise<unknown>
  /** Replies with bytes. */
  callBuffer(command: string, ...args: (string | Buffer)[]): Promise<unknown>
  /** Resolves when it is closed, by whomever. */
  readonly closed: Promise<void>
}

/** What a connection is for. */
export interface RedisConnectionOptions {
  /** Names what is read or written, in errors. */
  readonly log: string
  /** Shown by CLIENT LIST. */
  readonly name: string
  /** No command times out: for commands that block. */
  readonly blocking?: boolean
  readonly signal?: AbortSignal | undefined
}

/** Over the wire the greeting may hang as well, which `connectTimeout` does not cover. */
const CONNECT_WITHIN_MS = 3000
/** A server that does not answer the end of a connection is left alone after this. */
const DISCONNECT_WITHIN_MS = 100

/** Makes a fresh connection to the server of `redis` that neither retries nor reconnects. */
export async function connectRedis(
  redis: RedisClient,
  { log, name, blocking = false, signal }: RedisConnectionOptions,
): Promise<RedisConnection> {
  signal?.throwIfAborted()
  const client = redis.duplicate({
    ...redisFailFast,
    sentinelRetryStrategy: () => null,
    commandTimeout: blocking ? undefined : redisFailFast.commandTimeout,
    blockingTimeout: 0,
    socketTimeout: undefined,
    disconnectTimeout: DISCONNECT_WITHIN_MS,
    enableOfflineQueue: false,
    enableReadyCheck: false, // it retries while the server is loading
    enableAutoPipelining: false,
    connectionName: name,
    keyPrefix: '',
    stringNumbers: true,
    replyMapping: 'legacy',
  })
  let lastError: unknown
  client.on('error', (error) => {
    lastError = error
  })
  const ended = Promise.withResolvers<void>()
  client.on('end', () => ended.resolve())

  const close = (): Promise<void> => {
    if (client.status !== 'end') client.disconnect()
    return ended.promise
  }
  const call =
    (send: RedisClient['call']) =>
    async (command: string, ...args: (string | Buffer)[]): Promise<unknown> => {
      try {
        return await send(command, ...args)
      } catch (error) {
        throw redisError(log, error)
      }
    }

  const timer = setTimeout(() => {
    lastError ??= new Error(`no greeting within ${CONNECT_WITHIN_MS} ms`)
    client.disconnect()
  }, CONNECT_WITHIN_MS)
  try {
    await untilAborted(client.connect(), signal)
  } catch (error) {
    const closing = close()
    if (signal?.aborted) throw signal.reason
    await closing
    throw redisError(log, lastError ?? error)
  } finally {
    clearTimeout(timer)
  }
  return {
    log,
    call: call((...args) => client.call(...args)),
    callBuffer: call((...args) => client.callBuffer(...args)),
    closed: ended.promise,
    [Symbol.asyncDispose]: close,
  }
}

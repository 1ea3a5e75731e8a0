import type { Socket } from 'node:net'
import { untilAborted } from '../../core/abort.ts'
import { OptionError } from '../../core/errors.ts'
import { commandPipe } from './protocol/command-pipe.ts'
import type { Reply } from './protocol/decode-replies.ts'
import { type RedisClient, redisFailFast } from './redis-client.ts'
import { redisError } from './redis-error.ts'

/** A connection of our own. Every error it rejects with is a `ReflexError`. */
export interface RedisConnection extends AsyncDisposable {
  /** Names what is read or written, in errors. */
  readonly log: string
  /** Replies with text. Numbers are strings, maps are flat arrays, an error inside of an array is an `Error`. */
  call(command: string, ...args: (string | Buffer)[]): Promise<unknown>
  /** Replies with bytes where `call` has text, but for numbers. */
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

/**
 * Makes a fresh connection to the server of `redis` that neither retries nor reconnects. The client makes it and greets the server;
 * then commands and replies are our own, over the client's socket.
 */
export async function connectRedis(
  redis: RedisClient,
  { log, name, blocking = false, signal }: RedisConnectionOptions,
): Promise<RedisConnection> {
  signal?.throwIfAborted()
  const client = redis.duplicate({
    ...redisFailFast,
    sentinelRetryStrategy: () => null,
    socketTimeout: undefined, // it would go on listening to the socket
    disconnectTimeout: DISCONNECT_WITHIN_MS,
    enableOfflineQueue: false,
    enableReadyCheck: false, // it retries while the server is loading
    monitor: false,
    himportFieldsets: undefined, // commands of its own
    connectionName: name,
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
  const timer = setTimeout(() => {
    lastError ??= new Error(`no greeting within ${CONNECT_WITHIN_MS} ms`)
    client.disconnect()
  }, CONNECT_WITHIN_MS)
  let socket: Socket
  try {
    await untilAborted(client.connect(), signal)
    if (lastError !== undefined) throw lastError // the client goes on where it may not use the database, in database 0
    socket = takeOver(client, log)
  } catch (error) {
    const closing = close()
    if (signal?.aborted) throw signal.reason
    await closing
    throw redisError(log, lastError ?? error)
  } finally {
    clearTimeout(timer)
  }
  const send = commandPipe(socket, { replyWithinMs: blocking ? undefined : redisFailFast.commandTimeout })
  const callBuffer = async (command: string, ...args: (string | Buffer)[]): Promise<Reply> => {
    try {
      return await send(command, args)
    } catch (error) {
      throw redisError(log, error)
    }
  }
  return {
    log,
    call: async (...args) => textOf(await callBuffer(...args)),
    callBuffer,
    closed: ended.promise,
    [Symbol.asyncDispose]: close,
  }
}

/**
 * The socket of a client that has just connected, without the client's own decoder: from here on it only notices that the socket
 * closes. Throws if the client is not as ioredis 6 is, or still waits for a reply.
 */
function takeOver({ stream, commandQueue }: RedisClient, log: string): Socket {
  const [decoder, ...others] = stream?.listeners('data') ?? []
  if (decoder === undefined || others.length > 0 || commandQueue?.length !== 0) {
    throw new OptionError(
      `${log}: expected a client of ioredis 6 whose socket has one reader, and which waits for no reply; found ${others.length + (decoder === undefined ? 0 : 1)} readers and ${commandQueue?.length} replies to come: hand in a client of ioredis 6 that nothing is hooked into`,
    )
  }
  stream.off('data', decoder as (piece: Buffer) => void)
  return stream
}

function textOf(reply: Reply): unknown {
  if (Array.isArray(reply)) return reply.map(textOf)
  return Buffer.isBuffer(reply) ? reply.toString() : reply
}

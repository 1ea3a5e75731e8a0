import type { Socket } from 'node:net'
import { OptionError } from '../../core/errors.ts'

/** What is needed of a client, ioredis's `Redis`. It is only duplicated, never used itself. */
export interface RedisClient {
  readonly options: RedisClientOptions
  readonly isCluster?: boolean | undefined
  readonly status: string
  duplicate(overrides: object): RedisClient
  connect(): Promise<unknown>
  disconnect(): void
  on(event: string, listener: (error: Error) => void): unknown
  readonly stream: Socket
  readonly commandQueue: { readonly length: number }
}

/** The options of a client that are looked at. */
export interface RedisClientOptions {
  readonly retryStrategy?: ((times: number) => unknown) | null | undefined
  readonly reconnectOnError?: unknown
  readonly maxRetriesPerRequest?: number | null | undefined
  readonly autoResendUnfulfilledCommands?: boolean | undefined
  readonly keyPrefix?: string | undefined
}

/**
 * The options of a client that does not retry, reconnect or send again: `new Redis(url, { ...redisFailFast })`. One place,
 * `supervise`, starts again after a failure. A connection is given 2 s, a command 3 s; both are refused again with an error.
 */
export const redisFailFast: {
  readonly lazyConnect: true
  readonly retryStrategy: () => null
  readonly reconnectOnError: null
  readonly maxRetriesPerRequest: 0
  readonly autoResendUnfulfilledCommands: false
  readonly connectTimeout: number
  readonly commandTimeout: number
} = {
  lazyConnect: true,
  retryStrategy: () => null,
  reconnectOnError: null,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  connectTimeout: 2000,
  commandTimeout: 3000,
}

/** Throws an `OptionError` that names every option by which the client would retry by itself (rule 3). */
export function checkRedisClient(redis: RedisClient): void {
  if (redis.isCluster) {
    throw new OptionError(
      'redis: a Cluster client redirects and retries by itself; hand in a Redis client of the node that holds the key',
    )
  }
  const { retryStrategy, reconnectOnError, maxRetriesPerRequest, autoResendUnfulfilledCommands } = redis.options
  const wrong = [
    typeof retryStrategy === 'function' && typeof retryStrategy(1) === 'number' ? 'retryStrategy' : '',
    reconnectOnError ? 'reconnectOnError' : '',
    maxRetriesPerRequest === 0 ? '' : 'maxRetriesPerRequest',
    autoResendUnfulfilledCommands === false ? '' : 'autoResendUnfulfilledCommands',
  ].filter(Boolean)
  if (wrong.length === 0) return
  throw new OptionError(
    `redis: this client retries by itself (${wrong.join(', ')}), which would hide a dead server; make it with new Redis(url, { ...redisFailFast })`,
  )
}

/** The key as the server knows it. Our own connections add no prefix, so that keys inside of scripts are right too. */
export function prefixedKey(redis: RedisClient, key: string): string {
  if (typeof key !== 'string' || key === '') throw new OptionError('redis: key must be a string that is not empty')
  return `${redis.options.keyPrefix ?? ''}${key}`
}

import type { Notifier } from '../../core/notifier.ts'

/** What is needed of a client, ioredis's `Redis`. It publishes; a duplicate of it subscribes. */
export interface RedisPublisher {
  publish(channel: string, message: string): Promise<unknown>
  duplicate(overrides: object): RedisSubscriber
}

/** A client that is subscribed. */
export interface RedisSubscriber {
  connect(): Promise<unknown>
  subscribe(channel: string): Promise<unknown>
  disconnect(): void
  on(event: string, listener: () => void): unknown
}

/**
 * Hints between processes by PUBLISH and SUBSCRIBE on a channel, which is to be the same for all that share a log. Each object
 * that is given it has one connection more while it listens. `redis` is the application's; hints that it cannot send are lost.
 *
 * @example const events = mysqlEvents(pool, { notifier: redisNotifier(redis, 'shop.events') })
 */
export function redisNotifier(redis: RedisPublisher, channel: string): Notifier {
  return {
    notify: async () => void (await redis.publish(channel, '')),
    subscribe: async (onHint, signal) => {
      signal.throwIfAborted()
      const own = redis.duplicate({ lazyConnect: true, retryStrategy: () => null })
      const over = Promise.withResolvers<void>()
      const onAbort = (): void => over.resolve()
      signal.addEventListener('abort', onAbort, { once: true })
      own.on('error', () => {}) // what it means is told by what it ends
      own.on('end', () => over.reject(new Error(`redis: the subscription of the channel ${channel} is lost`)))
      own.on('message', onHint)
      const subscribing = (async () => {
        await own.connect()
        await own.subscribe(channel)
        onHint()
        await over.promise
      })()
      try {
        await Promise.race([subscribing, over.promise])
      } finally {
        signal.removeEventListener('abort', onAbort)
        own.disconnect()
        subscribing.catch(() => {}) // told, or aborted
      }
    },
  }
}

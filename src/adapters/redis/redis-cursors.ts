import type { CursorStore } from '../../core/cursor.ts'
import { CursorConflictError, OptionError } from '../../core/errors.ts'
import { onDemand } from '../../core/on-demand.ts'
import { checkRedisClient, type RedisClient } from './redis-client.ts'
import { connectRedis } from './redis-connection.ts'
import { redisScript } from './redis-script.ts'

/** Options of `redisCursors`. */
export interface RedisCursorsOptions {
  /** Stands before `cursors` in the name of the key. Default: `reflex:`. */
  readonly prefix?: string | undefined
}

/** KEYS: the hash. ARGV: consumer, cursor, expected. Replies with nothing, or with what is there instead. */
const compareAndSet = redisScript(`
local value = redis.call('HGET', KEYS[1], ARGV[1]) or '='
local actual = string.sub(value, 2)
if actual ~= ARGV[3] and actual ~= ARGV[2] then return { value } end
redis.call('HSET', KEYS[1], ARGV[1], '=' .. ARGV[2])
return {}`)

/**
 * Cursors in a Redis hash, `reflex:cursors`: a field per consumer, whose value is the cursor after a `=`, or after a `!` if an
 * operator reset it. Each call is one command. A cursor is as safe as the server: with `appendfsync everysec` a crash loses the
 * last second, after which events are handled again; with a policy other than `noeviction` all cursors may be evicted.
 */
export function redisCursors(redis: RedisClient, { prefix = 'reflex:' }: RedisCursorsOptions = {}): CursorStore {
  checkRedisClient(redis)
  if (typeof prefix !== 'string')
    throw new OptionError(`redisCursors: prefix must be a string, but is ${JSON.stringify(prefix)}`)
  const key = `${redis.options.keyPrefix ?? ''}${prefix}cursors`
  const { use } = onDemand((signal) => connectRedis(redis, { log: `redis:${key}`, name: 'reflex-cursors', signal }))

  return {
    get: async (consumer, { signal } = {}) => {
      const value = (await use(({ call }) => call('HGET', key, consumer), signal)) as string | null
      return value === null ? '' : value.slice(1)
    },
    set: async (consumer, cursor, expected) => {
      const [value] = await use((connection) => compareAndSet.call(connection, [key], [consumer, cursor, expected]))
      if (typeof value !== 'string') return
      throw new CursorConflictError({ consumer, expected, actual: value.slice(1), reset: value.startsWith('!') })
    },
    reset: async (consumer, cursor) => {
      await use(({ call }) => call('HSET', key, consumer, `!${cursor}`))
    },
    list: async () => {
      const pairs = (await use(({ call }) => call('HGETALL', key))) as string[]
      const stored = new Map<string, string>()
      for (let i = 0; i < pairs.length; i += 2) stored.set(pairs[i] as string, (pairs[i + 1] as string).slice(1))
      return stored
    },
  }
}

import { type Appender, WrongLastIdError, withKnownOutcome } from '../../core/appender.ts'
import { OptionError } from '../../core/errors.ts'
import { onDemand } from '../../core/on-demand.ts'
import { encodeEntry } from './codec.ts'
import { parseEntryId } from './entry-id.ts'
import { checkRedisClient, prefixedKey, type RedisClient } from './redis-client.ts'
import { connectRedis } from './redis-connection.ts'
import { redisScript } from './redis-script.ts'

/** Options of `redisPublisher`. */
export interface RedisPublisherOptions {
  /** The stream's key; made by the first event. Not one of a sink with `ids: 'source'`. */
  readonly key: string
  /** So long an idempotency key is remembered, in ms. Default: 120,000, as JetStream's. */
  readonly dedupeMs?: number | undefined
}

/**
 * KEYS: the stream, and that of the idempotency key. ARGV: whether there is one, its ms, the id expected or an empty one, then the
 * entry. Replies with what became of it, and an id. The key is set first: where it may not be, nothing is appended. It stays
 * empty if the stream refuses the entry: then there is none that another one could be a duplicate of.
 */
const append = redisScript(
  `
local keyed = ARGV[1] == '1'
if keyed then
  local there = redis.call('GET', KEYS[2])
  if there and there ~= '' then return { 'duplicate', there } end
end
if ARGV[3] ~= '' then
  local last = '0-0'
  if redis.call('EXISTS', KEYS[1]) == 1 then
    local info = redis.call('XINFO', 'STREAM', KEYS[1])
    for i = 1, #info, 2 do if info[i] == 'last-generated-id' then last = info[i + 1] end end
  end
  if last ~= ARGV[3] then return { 'wrong', last } end
end
if keyed then redis.call('SET', KEYS[2], '', 'PX', ARGV[2]) end
local id = redis.call('XADD', KEYS[1], unpack(ARGV, 4))
if keyed then redis.call('SET', KEYS[2], id, 'PX', ARGV[2]) end
return { 'appended', id }`,
  { inOrder: true },
)

/**
 * A Redis stream that anybody publishes to, entry by entry, under the server's own ids. An idempotency key is remembered for `dedupeMs`
 * in a key of its own beside the stream (`reflex:{<key>}:published:<idempotency key>`), by the same script that appends. The id that is
 * expected is an entry's; a stream has no subjects. Publishes may be under way at the same time. It has a connection while it is used,
 * closed 0.5 s after.
 *
 * @example publisher({ to: redisPublisher(new Redis(url, { ...redisFailFast }), { key: 'orders' }), client: 'web-1' })
 */
export function redisPublisher(redis: RedisClient, options: RedisPublisherOptions): Appender {
  checkRedisClient(redis)
  const key = prefixedKey(redis, options.key)
  const { dedupeMs = 120_000 } = options
  const log = `redis:${key}`
  if (!Number.isSafeInteger(dedupeMs) || dedupeMs < 1)
    throw new OptionError(`${log}: dedupeMs must be a positive integer of ms, but is ${dedupeMs}`)
  const { use } = onDemand((signal) => connectRedis(redis, { log, name: 'reflex-publisher', signal }))
  const tag = /^[^{]*\{([^}]+)\}/.exec(key)?.[1]
  const published = tag === undefined ? `reflex:{${key}}:published:` : `reflex:{${tag}}:${key}:published:`

  return {
    name: log,
    honours: ['idempotencyKey', 'expectedLastId'],
    append: (event, { source, idempotencyKey, expectedLastId, signal }) => {
      const entry = encodeEntry(event, source, '*').map((each) => (typeof each === 'string' ? each : Buffer.from(each)))
      const expected = expectedLastId === undefined ? '' : parseEntryId(log, expectedLastId)
      const keyed = idempotencyKey === undefined ? '0' : '1'
      const refused = (code: string): boolean => code !== 'REDIS_CONNECTION'
      return withKnownOutcome(log, { signal, refused }, (send) =>
        use(async (connection) => {
          send()
          // What needs no look at the stream needs no script.
          if (keyed === '0' && expected === '')
            return { id: (await connection.call('XADD', key, ...entry)) as string, duplicate: false }
          const [outcome, id] = await append.call(
            connection,
            [key, `${published}${idempotencyKey ?? ''}`],
            [keyed, String(dedupeMs), expected, ...entry],
          )
          if (outcome === 'wrong') throw new WrongLastIdError(log, { expected, found: id as string })
          return { id: id as string, duplicate: outcome === 'duplicate' }
        }, signal),
      )
    },
  }
}

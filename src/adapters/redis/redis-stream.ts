import { OptionError } from '../../core/errors.ts'
import { onDemand } from '../../core/on-demand.ts'
import type { Source } from '../../core/stream.ts'
import { type DecodeEntry, decodeEntry, pairsOf } from './codec.ts'
import { countEntries } from './count-entries.ts'
import { compareIds, parseEntryId } from './entry-id.ts'
import { knownAt, provePosition, type RawEntry, readPage } from './log-page.ts'
import { checkRedisClient, prefixedKey, type RedisClient } from './redis-client.ts'
import { connectRedis } from './redis-connection.ts'
import { streamEntries } from './stream-entries.ts'

/** Options of `redisStream`. */
export interface RedisStreamOptions {
  /** The stream's key. A key that does not exist is an empty log. */
  readonly key: string
  /** The source's name in errors, metrics and dedupe keys. Default: `redis:<key>`. */
  readonly name?: string | undefined
  /** The most events in a batch. Default: 1,000. */
  readonly batchSize?: number | undefined
  /** About the most bytes of a batch. Default: 8 MiB. */
  readonly batchBytes?: number | undefined
  /**
   * Makes an event of an entry; what it throws ends the stream with a `DecodeError`. Default: the fields that `redisSink`
   * writes (docs/wire.md); another entry has type 0, the key as foreignId, its fields as JSON in `metadata` and the time of its id.
   */
  readonly decode?: DecodeEntry | undefined
}

/**
 * A Redis stream as a source, without a consumer group: the cursor is the id of the last entry, and nothing is kept in Redis
 * but the stream. Each open stream has two connections of its own, one of them only while it waits. Redis 7.0 or newer.
 *
 * Trimmed entries are noticed by reading each page from the entry of the cursor itself. So a cursor is refused as well when its
 * own entry was the last one removed at the front, although nothing after it is missing: `trimStream` never does that to the
 * cursors of a store. `at` goes by the time in the entry ids, `backlog`
 * counts entries on the server: its cost grows with the backlog (about 1 s for a million).
 *
 * @example redisStream(new Redis(url, { ...redisFailFast }), { key: 'orders' })
 */
export function redisStream(redis: RedisClient, options: RedisStreamOptions): Source {
  checkRedisClient(redis)
  const key = prefixedKey(redis, options.key)
  const { name: log = `redis:${key}`, batchSize = 1000, batchBytes = 8 * 1024 * 1024, decode } = options
  for (const [option, value] of Object.entries({ batchSize, batchBytes })) {
    if (!Number.isSafeInteger(value) || value < 1)
      throw new OptionError(`${log}: ${option} must be a positive integer, but is ${value}`)
  }
  const toEvent: typeof decodeEntry =
    decode === undefined ? decodeEntry : (id, fields, key) => ({ ...decode({ id, fields: pairsOf(fields) }, key), id })
  const { use } = onDemand((signal) => connectRedis(redis, { log, name: 'reflex-lookup', signal }))

  return {
    name: log,
    stream: (after, options) => streamEntries({ redis, key, log, batchSize, batchBytes, toEvent }, after, options),
    head: ({ signal } = {}) =>
      use(async (connection) => (await readPage(connection, { log, key, from: '-', count: 1 })).state.head, signal),
    backlog: async (after, { signal } = {}) => {
      const from = parseEntryId(log, after)
      const count = await use(async (connection) => {
        const page = await readPage(connection, { log, key, from, count: 1 })
        if (after !== '') provePosition(log, from, page, knownAt(from))
        return countEntries(connection, { key, after: from, state: page.state, signal })
      }, signal)
      return { count, unit: 'events' }
    },
    at: async (timestamp, { signal } = {}) => {
      if (!Number.isFinite(timestamp))
        throw new OptionError(`${log}: a timestamp must be epoch ms, but is ${timestamp}`)
      if (timestamp < 1) return ''
      const before = `(${BigInt(Math.floor(timestamp))}-0`
      const rows = await use(({ callBuffer }) => callBuffer('XREVRANGE', key, before, '-', 'COUNT', '1'), signal)
      return (rows as RawEntry[])[0]?.[0].toString('latin1') ?? ''
    },
    compare: (a, b) => compareIds(parseEntryId(log, a), parseEntryId(log, b)) || (a === b ? 0 : a === '' ? -1 : 1),
  }
}

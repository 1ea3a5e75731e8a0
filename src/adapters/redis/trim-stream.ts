import type { CursorStore } from '../../core/cursor.ts'
import { CursorAheadError, OptionError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import { readUpTo } from '../../core/read-up-to.ts'
import { compareIds, parseEntryId, ZERO_ID } from './entry-id.ts'
import { type LogState, readPage } from './log-page.ts'
import { checkRedisClient, prefixedKey, type RedisClient } from './redis-client.ts'
import { connectRedis } from './redis-connection.ts'
import { redisScript } from './redis-script.ts'
import { checkpointKey } from './redis-sink.ts'
import { idOrder } from './sink-scripts.ts'

/** Options of `trimStream`. */
export interface TrimStreamOptions {
  /** The stream's key. */
  readonly key: string
  /** Where the cursors of the stream's consumers are: each of them holds back what it has not read. */
  readonly cursors: Pick<CursorStore, 'list'>
  /** Consumers of that store that hold nothing back: those that are gone for good, and those of other logs. Default: none. */
  readonly except?: readonly string[] | undefined
  /** Routes of `redisSink` into this stream: the newest entry of each stays, on which its checkpoint stands. Default: none. */
  readonly routes?: readonly string[] | undefined
  /** Entries younger than this stay, in ms, by the time in their ids; refused where these are no times (`ids: 'source'`). Default: 0. */
  readonly keepMs?: number | undefined
  /** So many of the newest entries stay. Default: 0. */
  readonly keepEntries?: number | undefined
  /** Ends it between two steps, which take the server about a millisecond each. */
  readonly signal?: AbortSignal | undefined
}

/** What `trimStream` has done. */
export interface Trimmed {
  /** How many entries were removed. */
  readonly removed: number
  /** The consumer whose cursor is the smallest: nothing behind that was removed. */
  readonly heldBy: string
}

/**
 * Trims a stream as far as every consumer has read it, and no policy keeps more. The newest entry that each cursor can be proven
 * with stays, so that no consumer is ever refused for it. Only as good as the store is complete: a consumer that has not saved a
 * cursor yet holds nothing back.
 *
 * Throws before anything is removed if the store has no cursor, or has one that is not of this stream (`CURSOR_INVALID`,
 * `CURSOR_AHEAD`). A checkpoint of a bridge that reads the stream counts with its cursor. Needs XTRIM, XLEN, XRANGE and XREVRANGE.
 *
 * @example await trimStream(redis, { key: 'orders', cursors: redisCursors(redis), keepMs: 24 * 3600_000 })
 */
export async function trimStream(
  redis: RedisClient,
  { keepMs = 0, keepEntries = 0, except = [], routes = [], cursors, signal, ...options }: TrimStreamOptions,
): Promise<Trimmed> {
  checkRedisClient(redis)
  const key = prefixedKey(redis, options.key)
  const log = `redis:${key}`
  for (const [option, value] of Object.entries({ keepMs, keepEntries })) {
    if (!Number.isSafeInteger(value) || value < 0)
      throw new OptionError(`${log}: ${option} must be an integer from 0 on, but is ${value}`)
  }
  if (cursors.list === undefined) throw new OptionError(`${log}: to trim it, a cursor store is needed that has list()`)

  await using connection = await connectRedis(redis, { log, name: 'reflex-trim', signal })
  const stored = await cursors.list()
  const { state } = await readPage(connection, { log, key, from: '-', count: 1 }) // after the cursors: they are not ahead of it
  if (keepMs > 0) checkTimes(log, state)
  const least = leastCursor(log, new Map([...stored].filter(([name]) => !except.includes(name))), state)
  // Without keepMs nothing is too young, however the clocks of the two machines differ.
  const young = keepMs === 0 ? least.id : `${Math.max(0, Date.now() - keepMs)}-0`
  const keys = [key, ...routes.map((route) => checkpointKey(key, route))]
  let removed = 0
  for (let step = FIRST_STEP; ; ) {
    signal?.throwIfAborted()
    const reply = await trim.call(connection, keys, [least.id, young, String(keepEntries), String(step)])
    const [count = 0, bytes = 0] = reply.map(Number)
    removed += count
    if (count < step) return { removed, heldBy: least.name }
    const fitting = Math.floor((STEP_BYTES * count) / Math.max(1, bytes))
    step = Math.max(1, Math.min(STEP_ENTRIES, 10 * step, fitting))
  }
}

/** So many entries, or bytes, of one call hold other clients up for about a millisecond; how large they are is seen as they go. */
const FIRST_STEP = 10
const STEP_ENTRIES = 500
const STEP_BYTES = 1024 * 1024
/** September 2001 in ms. What is less, or lies years ahead, is no time, but an event's id: `ids: 'source'` of a sink. */
const EARLIEST_TIME = 1_000_000_000_000
const YEAR_MS = 366 * 24 * 3_600_000

/** Refuses to go by the time in entry ids where there is none. */
function checkTimes(log: string, { last }: LogState): void {
  const ms = Number(last.split('-')[0])
  if (last === ZERO_ID || (ms >= EARLIEST_TIME && ms <= Date.now() + YEAR_MS)) return
  throw new OptionError(
    `${log}: keepMs goes by the time in entry ids, but ${last}, the newest one, is of no time: keep a number of entries instead, with keepEntries`,
  )
}

function leastCursor(
  log: string,
  stored: ReadonlyMap<string, Cursor>,
  { last }: LogState,
): { readonly id: string; readonly name: string } {
  let least: { readonly id: string; readonly name: string } | undefined
  for (const [name, cursor] of stored) {
    const where = `${log}, as the cursor of ${JSON.stringify(name)}`
    const upTo = readUpTo(cursor)
    if (upTo === undefined) continue
    const id = parseEntryId(where, upTo)
    if (compareIds(id, last) > 0) throw new CursorAheadError(where, { cursor: id, reason: 'beyond', found: last })
    if (least === undefined || compareIds(id, least.id) < 0) least = { id, name }
  }
  if (least !== undefined) return least
  throw new OptionError(
    `${log}: not trimmed, since the cursor store has no cursor of any consumer: is it the right one?`,
  )
}

/**
 * One step. KEYS: stream, checkpoints of routes. ARGV: the least cursor, the least id that is too young, how many stay, how many
 * go at most. Replies with how many went, and their bytes. A cursor is proven by an entry at or before it, which its own need not be
 * (XDEL).
 */
const trim = redisScript(`${idOrder}
local proof = redis.call('XREVRANGE', KEYS[1], ARGV[1], '-', 'COUNT', 1)[1]
if not proof then return { '0', '0' } end
local stay = proof[1]
local function keep(id) if id and before(id, stay) then stay = id end end
keep(ARGV[2])
for i = 2, #KEYS do keep(redis.call('HGET', KEYS[i], 'id')) end
local most = math.min(redis.call('XLEN', KEYS[1]) - tonumber(ARGV[3]), tonumber(ARGV[4]))
if most <= 0 then return { '0', '0' } end
local gone = redis.call('XRANGE', KEYS[1], '-', '(' .. stay, 'COUNT', most)
if #gone == 0 then return { '0', '0' } end
local first = redis.call('XRANGE', KEYS[1], '(' .. gone[#gone][1], '+', 'COUNT', 1)[1]
local bytes = 0
for _, entry in ipairs(gone) do
  for _, part in ipairs(entry[2]) do bytes = bytes + #part end
end
return { string.format('%.0f', redis.call('XTRIM', KEYS[1], 'MINID', first[1])), string.format('%.0f', bytes) }`)

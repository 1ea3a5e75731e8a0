import { randomUUID } from 'node:crypto'
import { untilAborted } from '../../core/abort.ts'
import { type AuditOptions, type Auditor, auditor } from '../../core/audit.ts'
import { OptionError } from '../../core/errors.ts'
import type { Cursor, Event } from '../../core/event.ts'
import type { Checkpoint, Mark, Sink, SinkWriter } from '../../core/sink.ts'
import { type EntryArguments, encodeEntry } from './codec.ts'
import { compareIds } from './entry-id.ts'
import { packEntries } from './pack-entries.ts'
import { checkRedisClient, prefixedKey, type RedisClient } from './redis-client.ts'
import { connectRedis, type RedisConnection } from './redis-connection.ts'
import { type FoundMark, formatMark, parseMark, type RouteTail, resume } from './route-tail.ts'
import { auditServer } from './server-risks.ts'
import { appendRefused, keyIsShared, outOfStep, oversizeHint } from './sink-errors.ts'
import { appendBatch, openRoute } from './sink-scripts.ts'
import { findSourceEntries } from './source-entries.ts'

/** Options of `redisSink`. */
export interface RedisSinkOptions extends AuditOptions {
  /** The stream's key; made with the first entry. */
  readonly key: string
  /**
   * `auto`: Redis gives the entries their ids, and the key may be shared with other routes and writers. `source`: the entry of
   * event 7 has the id `7-0`, so that a position in the table is a position in the stream: only for a source whose ids are
   * integers from 1 on, and for a key that no one else writes to; anything else is refused. Default: `auto`.
   */
  readonly ids?: 'auto' | 'source' | undefined
  /**
   * If Redis has lost more events than this, opening is refused instead of refilling them. It is also how many entries are
   * looked at where the checkpoint in Redis has been lost. Default: 100,000.
   */
  readonly maxRefill?: number | undefined
}

/**
 * A Redis stream as a destination that gets every event once. Each batch is one Lua call, which appends the entries and sets the
 * route's checkpoint, a hash beside the stream (`reflex:{<key>}:<route>`), if this is still the route's writer. So a crash loses
 * or keeps both, an append of unknown outcome is found out by the next `open`, and a writer that has been replaced can append nothing.
 *
 * What a crash of Redis has lost is refilled from the source (how much that can be is up to `appendfsync`). Trimming is retention,
 * not loss; deleting the key is loss. Docs/wire.md has the fields of an entry. Redis 7.0 or newer.
 *
 * Each open looks at how the server can lose what it has acknowledged: no append-only file, `appendfsync` other than `always`, a
 * policy that evicts the stream, a replica. An event larger than an argument may be is `EVENT_TOO_LARGE` before it is sent.
 *
 * @example redisSink(new Redis(url, { ...redisFailFast }), { key: 'orders' })
 */
export function redisSink(redis: RedisClient, options: RedisSinkOptions): Sink {
  checkRedisClient(redis)
  const key = prefixedKey(redis, options.key)
  const { ids = 'auto', maxRefill = 100_000, strict, note } = options
  const log = `redis:${key}`
  if (ids !== 'auto' && ids !== 'source')
    throw new OptionError(`${log}: ids must be "auto" or "source", but is ${JSON.stringify(ids)}`)
  if (!Number.isSafeInteger(maxRefill) || maxRefill < 0)
    throw new OptionError(`${log}: maxRefill must be an integer from 0 on, but is ${maxRefill}`)

  const audit = auditor(log, { strict, note })

  return {
    name: log,
    audit: async ({ signal } = {}) => {
      await using connection = await connectRedis(redis, { log, name: 'reflex-audit', signal })
      const { risks, unknown } = await untilAborted(auditServer(connection), signal)
      for (const each of unknown) audit.note(each)
      return risks
    },
    open: async ({ route, source, saved, signal }) => {
      const connection = await connectRedis(redis, { log, name: 'reflex-sink', signal })
      try {
        const opening = openWriter(connection, { log, key, ids, maxRefill, audit, route, source, saved })
        return await untilAborted(opening, signal)
      } catch (error) {
        await connection[Symbol.asyncDispose]()
        throw error
      }
    },
  }
}

interface WriterOptions {
  readonly log: string
  readonly key: string
  readonly ids: 'auto' | 'source'
  readonly maxRefill: number
  readonly audit: Auditor
  readonly route: string
  readonly source: string
  readonly saved: Checkpoint | undefined
}

async function openWriter(connection: RedisConnection, options: WriterOptions): Promise<SinkWriter> {
  const { log, key, ids, maxRefill, audit, route, source, saved } = options
  const keys = [key, checkpointKey(key, route)]
  const writer = randomUUID()
  const where = `${log}, route ${route}`
  const mark = saved === undefined ? undefined : parseMark(route, saved)

  const { risks, unknown, argumentBytes } = await auditServer(connection)
  for (const each of unknown) audit.note(each)
  audit.judge(risks) // before anything is taken over

  const tail = parseTail(where, source, await openRoute.call(connection, keys, [writer]))
  const resumption = await resume(where, mark, tail, {
    maxRefill,
    entriesOfSource: (upTo) => findSourceEntries(connection, { log, key, source, mark: upTo, limit: maxRefill }),
  })
  if (ids === 'source' && resumption.id !== tail.last) throw keyIsShared(where, tail.last)

  let { id, count } = resumption
  let cursor = tail.found?.cursor ?? ''
  let added = String(resumption.added)
  const skip = new Set(resumption.skip)
  let failure: { readonly error: unknown } | undefined

  function* entriesOf(events: readonly Event[]): Generator<EntryArguments> {
    let last = id
    for (const event of events) {
      if (ids === 'source') last = entryIdAfter(last, event, where)
      yield encodeEntry(event, source, ids === 'source' ? last : '*')
    }
  }
  async function appendOnce(events: readonly Event[], next: Cursor): Promise<Mark> {
    const fresh = skip.size === 0 ? events : events.filter((event) => !skip.delete(event.id))
    const counted = count + BigInt(events.length)
    const packages = packEntries(entriesOf(fresh), argumentBytes)
    const [outcome, ...found] = await appendBatch
      .call(connection, keys, [
        ...[writer, cursor, next, String(counted), id, added, ids === 'source' ? '1' : '', source],
        skip.size === 0 ? '' : JSON.stringify([...skip]),
        ...packages,
      ])
      .catch((error: unknown) => {
        throw oversizeHint(error, Math.max(...packages.map(({ length }) => length)))
      })
    if (outcome !== 'ok') throw appendRefused(where, outcome, found)
    if (found[2] !== String(counted)) throw outOfStep(where)
    cursor = next
    count = counted
    id = found[0] as string
    added = found[1] as string
    return formatMark({ id, count })
  }

  return {
    resumeFrom: resumption.resumeFrom,
    ...(resumption.repair === undefined ? {} : { repair: resumption.repair }),
    append: async (events, next) => {
      if (failure !== undefined) throw failure.error
      try {
        return await appendOnce(events, next)
      } catch (error) {
        failure = { error } // what has happened in Redis is for the next open to find out
        throw error
      }
    },
    [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
  }
}

/** In the same slot of a cluster as the stream: if its key has a hash tag, so has this one. */
export function checkpointKey(key: string, route: string): string {
  const tag = /^[^{]*\{([^}]+)\}/.exec(key)?.[1]
  return tag === undefined ? `reflex:{${key}}:${route}` : `reflex:{${tag}}:${key}:${route}`
}

function parseTail(where: string, source: string, reply: readonly (string | null)[]): RouteTail {
  const [cursor, id, count, added, foundSource, skip, matches, ...state] = reply
  const [length, allAdded, first, last] = state as [string, string, string, string]
  if (foundSource !== null && foundSource !== source) {
    throw new OptionError(
      `${where}: its checkpoint was written from the source ${foundSource}, not ${source}, so that its cursor means nothing here: give the bridge another name`,
    )
  }
  const found: FoundMark | undefined =
    typeof cursor !== 'string' || typeof id !== 'string'
      ? undefined
      : {
          cursor,
          id,
          count: BigInt(count ?? 0),
          added: BigInt(added ?? 0),
          matches: matches === '1',
          skip: new Set(skip ? (JSON.parse(skip) as string[]) : []),
        }
  return { found, length: BigInt(length), added: BigInt(allAdded), last, first }
}

/** The entry id of an event whose id is its position. */
function entryIdAfter(last: string, { id }: Event, where: string): string {
  if (!/^[1-9]\d{0,19}$/.test(id) || BigInt(id) >= 2n ** 64n) {
    throw new OptionError(
      `${where}: with ids: 'source' the events must have integer ids from 1 on, but one has ${JSON.stringify(id)}: use ids: 'auto'`,
    )
  }
  const next = `${id}-0`
  if (compareIds(next, last) > 0) return next
  throw new OptionError(
    `${where}: with ids: 'source' the ids of events must rise, but event ${id} follows the entry ${last}: use ids: 'auto', or another key`,
  )
}

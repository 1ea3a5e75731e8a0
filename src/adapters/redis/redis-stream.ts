import { untilAborted } from '../../core/abort.ts'
import { systemClock } from '../../core/clock.ts'
import { DecodeError, OptionError } from '../../core/errors.ts'
import type { Batch, Cursor, Event } from '../../core/event.ts'
import {
  checkStreamOptions,
  type EventStream,
  eventStream,
  type Source,
  type StreamOptions,
} from '../../core/stream.ts'
import { type DecodeEntry, decodeEntry, pairsOf } from './codec.ts'
import { countEntries } from './count-entries.ts'
import { compareIds, parseEntryId, ZERO_ID } from './entry-id.ts'
import {
  bytesOf,
  knownAt,
  type LogKnowledge,
  type LogState,
  provePosition,
  type RawEntry,
  readPage,
} from './log-page.ts'
import { checkRedisClient, prefixedKey, type RedisClient } from './redis-client.ts'
import { connectRedis, type RedisConnection } from './redis-connection.ts'
import { redisError } from './redis-error.ts'
import { redisOnDemand } from './redis-on-demand.ts'

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

const FIRST_PAGE = 100
/** The wake-up is asked for anew, and everything is proven again, this often while nothing comes. */
const BLOCK_MS = 1000
/** A wake-up that has not been answered by then is not waited for: the next read shows whether the server still lives. */
const HEARTBEAT_MS = 1250

/**
 * A Redis stream as a source, without a consumer group: the cursor is the id of the last entry, and nothing is kept in Redis
 * but the stream. Each open stream has two connections of its own, one of them only while it waits. Redis 7.0 or newer.
 *
 * Trimmed entries are noticed by reading each page from the entry of the cursor itself. So a cursor whose own entry was
 * the last one to be trimmed is refused although nothing after it is missing. `at` goes by the time in the entry ids, `backlog`
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
  const toEvent = decode === undefined ? decodeEntry : customDecode(decode)
  const control = redisOnDemand(redis, { log, name: 'reflex-lookup' })
  const read = (connection: RedisConnection, from: string, count: number) =>
    readPage(connection, { log, key, from, count }).catch((error: unknown) => {
      throw redisError(log, error)
    })

  async function stream(after: Cursor, options: StreamOptions): Promise<EventStream> {
    checkStreamOptions(log, after, options)
    const { signal, toHead, fromHead, types } = options
    let position = parseEntryId(log, after)
    const closed = new AbortController()
    const opened = new AsyncDisposableStack()
    const connection = opened.use(await connectRedis(redis, { log, name: 'reflex-source', signal }))
    let earliest = after === '' // "" is never trimmed
    let known = knownAt(position)
    let end: string | undefined
    let limit: number
    try {
      const page = await untilAborted(read(connection, position, 1), signal)
      if (fromHead) {
        position = page.state.head
        earliest = false
      } else if (!earliest) provePosition(log, position, page, known)
      if (toHead) end = page.state.head
      known = learn(known, page.state, position, fromHead)
      limit = pageLimit(FIRST_PAGE, page.state.entryBytes)
    } catch (error) {
      await opened.disposeAsync()
      throw error
    }

    async function* batches(): AsyncGenerator<Batch> {
      if (fromHead) yield { events: [], cursor: position }
      let blocking: RedisConnection | undefined
      let wakeup: Promise<unknown> | undefined
      while (end === undefined || compareIds(position, end) < 0) {
        const page = await read(connection, position, limit + 1)
        if (!earliest) provePosition(log, position, page, known)
        const { rows, state } = page
        const complete = rows.length <= limit
        const overlaps = rows[0]?.[0].toString('latin1') === position ? 1 : 0
        const events: Event[] = []
        let last = position
        let bytes = 0
        let count = 0
        let undecodable: DecodeError | undefined
        const rest = Math.min(rows.length, overlaps + limit)
        const cut = end === undefined || rest === 0 || compareIds(idOf(rows[rest - 1]), end) <= 0 ? undefined : end
        for (let i = overlaps; i < rest; i++) {
          const row = rows[i] as RawEntry
          const id = row[0].toString('latin1')
          if (cut !== undefined && compareIds(id, cut) > 0) break
          bytes += bytesOf(row[1])
          count++
          try {
            const event = toEvent(id, row[1], key)
            if (types === undefined || types.includes(event.type)) events.push(event)
          } catch (cause) {
            undecodable = new DecodeError(log, { position: id, cause })
            break
          }
          last = id
        }
        // What was the head has been passed, also when its own entry has been deleted since.
        if (undecodable === undefined) {
          if (end !== undefined && (complete || cut !== undefined)) last = end
          else if (complete && compareIds(state.head, last) > 0) last = state.head
        }
        const moved = last !== position
        position = last
        known = learn(known, state, position, moved)
        if (moved) {
          earliest = false
          yield { events, cursor: position }
        }
        if (undecodable !== undefined) throw undecodable
        if (count > 0) limit = pageLimit(limit * 10, Math.max(bytes / count, state.entryBytes))
        else if (!moved) {
          if (blocking === undefined) {
            blocking = await connectRedis(redis, { log, name: 'reflex-wakeup', blocking: true, signal: closed.signal })
            if (closed.signal.aborted) return await blocking[Symbol.asyncDispose]()
            opened.use(blocking)
          }
          // Not awaited for good: a frozen server never answers, but the next read notices.
          wakeup ??= blocking
            .callBuffer('XREAD', 'COUNT', '1', 'BLOCK', String(BLOCK_MS), 'STREAMS', key, position)
            .finally(() => {
              wakeup = undefined
            })
          await atMost(wakeup, HEARTBEAT_MS, closed.signal)
        }
      }
    }
    const close = async (): Promise<void> => {
      closed.abort()
      await opened.disposeAsync()
    }
    return eventStream(batches(), close, { signal })
  }

  /** Never more than a batch may have; less while entries are large. */
  function pageLimit(wanted: number, entryBytes: number): number {
    return Math.max(1, Math.min(batchSize, wanted, Math.floor(batchBytes / Math.max(1, entryBytes))))
  }

  return {
    name: log,
    stream,
    head: ({ signal } = {}) => control.use(async (connection) => (await read(connection, '-', 1)).state.head, signal),
    backlog: async (after, { signal } = {}) => {
      const position = parseEntryId(log, after)
      const count = await control.use(async (connection) => {
        const page = await read(connection, position, 1)
        if (after !== '') provePosition(log, position, page, knownAt(position))
        return countEntries(connection, { key, after: position, state: page.state, signal })
      }, signal)
      return { count, unit: 'events' }
    },
    at: async (timestamp, { signal } = {}) => {
      if (!Number.isFinite(timestamp))
        throw new OptionError(`${log}: a timestamp must be epoch ms, but is ${timestamp}`)
      if (timestamp < 1) return ''
      const before = `(${BigInt(Math.floor(timestamp))}-0`
      const rows = await control.use(
        ({ callBuffer }) => callBuffer('XREVRANGE', key, before, '-', 'COUNT', '1'),
        signal,
      )
      const [newest] = rows as RawEntry[]
      return newest === undefined ? '' : idOf(newest)
    },
    compare: (a, b) => {
      const [x, y] = [parseEntryId(log, a), parseEntryId(log, b)]
      return compareIds(x, y) || (a === b ? 0 : a === '' ? -1 : 1)
    },
  }
}

function learn(known: LogKnowledge, { added, head }: LogState, position: string, moved = false): LogKnowledge {
  return { added, addedAtHead: position === head ? added : moved ? undefined : known.addedAtHead }
}

function idOf(entry: RawEntry | undefined): string {
  return entry === undefined ? ZERO_ID : entry[0].toString('latin1')
}

function customDecode(decode: DecodeEntry): typeof decodeEntry {
  return (id, fields, key) => ({ ...decode({ id, fields: pairsOf(fields) }, key), id })
}

async function atMost(work: Promise<unknown>, ms: number, signal: AbortSignal): Promise<void> {
  const done = new AbortController()
  try {
    await Promise.race([work, systemClock.sleep(ms, AbortSignal.any([signal, done.signal]))])
  } finally {
    done.abort()
  }
}

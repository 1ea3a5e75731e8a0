import { untilAborted } from '../../core/abort.ts'
import { disposeStack } from '../../core/dispose-stack.ts'
import { DecodeError } from '../../core/errors.ts'
import type { Batch, Cursor, Event } from '../../core/event.ts'
import { checkStreamOptions, type EventStream, eventStream, type StreamOptions } from '../../core/stream.ts'
import type { decodeEntry } from './codec.ts'
import { compareIds, parseEntryId } from './entry-id.ts'
import { bytesOf, knownAt, type LogPage, learn, provePosition, readPage } from './log-page.ts'
import type { RedisClient } from './redis-client.ts'
import { connectRedis } from './redis-connection.ts'
import { createWakeup } from './wakeup.ts'

/** A Redis stream and how it is read. */
export interface EntryLog {
  readonly redis: RedisClient
  readonly key: string
  /** Names it in errors. */
  readonly log: string
  readonly batchSize: number
  readonly batchBytes: number
  readonly toEvent: typeof decodeEntry
}

const FIRST_PAGE = 100

/**
 * Opens a stream of the entries after a cursor. Each page is read from the entry of the position itself and is proven to follow
 * it, in one transaction; at the head a wake-up is waited for, which comes with such a page.
 */
export async function streamEntries(
  { redis, key, log, batchSize, batchBytes, toEvent }: EntryLog,
  after: Cursor,
  options: StreamOptions,
): Promise<EventStream> {
  checkStreamOptions(log, after, options)
  const { signal, toHead, fromHead, types } = options
  let position = parseEntryId(log, after)
  let proven = after !== '' // "" is never trimmed
  let known = knownAt(position)
  let end: string | undefined
  let limit = FIRST_PAGE

  const opened = disposeStack()
  const connection = opened.use(await connectRedis(redis, { log, name: 'reflex-source', signal }))
  const wakeup = opened.use(createWakeup(redis, { log, key, reading: connection }))
  const read = (count: number): Promise<LogPage> => readPage(connection, { log, key, from: position, count })
  /** Never more than a batch may have; less while entries are large. */
  const pageLimit = (wanted: number, entryBytes: number): number =>
    Math.max(1, Math.min(batchSize, wanted, Math.floor(batchBytes / Math.max(1, entryBytes))))

  try {
    const page = await untilAborted(read(1), signal)
    if (fromHead) {
      position = page.state.head
      proven = true
    } else if (proven) provePosition(log, position, page, known)
    if (toHead) end = page.state.head
    known = learn(known, position, page.state)
    limit = pageLimit(FIRST_PAGE, page.state.entryBytes)
  } catch (error) {
    await opened[Symbol.asyncDispose]()
    throw error
  }

  async function* batches(): AsyncGenerator<Batch> {
    if (fromHead) yield { events: [], cursor: position }
    let atEnd = false
    while (end === undefined || compareIds(position, end) < 0) {
      const page: LogPage = (atEnd ? await wakeup.wait(position, limit + 1) : undefined) ?? (await read(limit + 1))
      if (proven) provePosition(log, position, page, known)
      const { events, last, entryBytes, failure } = decodePage(page)
      const moved = last !== position
      position = last
      known = learn(known, position, page.state)
      proven ||= moved
      if (moved) yield { events, cursor: position }
      if (failure !== undefined) throw failure
      atEnd = page.rows.length <= limit
      if (entryBytes > 0) limit = pageLimit(limit * 10, Math.max(entryBytes, page.state.entryBytes))
    }
  }

  /** The events after the position, up to the end; the position after them, and after what was passed over. */
  function decodePage({ rows, state }: LogPage): {
    readonly events: Event[]
    readonly last: string
    /** Bytes of an entry, on average; 0 if there is none. */
    readonly entryBytes: number
    readonly failure?: DecodeError
  } {
    const events: Event[] = []
    let last = position
    let bytes = 0
    let count = 0
    const complete = rows.length <= limit
    const newest = rows.at(-1)?.[0].toString('latin1')
    const beyond = end !== undefined && newest !== undefined && compareIds(newest, end) > 0
    for (const [entryId, fields] of rows) {
      const id = entryId.toString('latin1')
      if (id === position) continue
      if (count === limit || (beyond && compareIds(id, end as string) > 0)) break
      count++
      bytes += bytesOf(fields)
      try {
        const event = toEvent(id, fields, key)
        if (types === undefined || types.includes(event.type)) events.push(event)
      } catch (cause) {
        return { events, last, entryBytes: bytes / count, failure: new DecodeError(log, { position: id, cause }) }
      }
      last = id
    }
    // What was the head is passed, also if its own entry has been deleted since.
    if (end !== undefined && (complete || beyond)) last = end
    else if (complete && compareIds(state.head, last) > 0) last = state.head
    return { events, last, entryBytes: count === 0 ? 0 : bytes / count }
  }

  return eventStream(batches(), () => opened[Symbol.asyncDispose](), { signal })
}

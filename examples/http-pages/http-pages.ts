import type { Batch, Cursor, Event, Source, StreamFunc } from 'reflex-bridge'
import {
  CursorAheadError,
  CursorInvalidError,
  CursorTrimmedError,
  checkStreamOptions,
  DecodeError,
  eventStream,
  messageOf,
  positionIn,
  ReflexError,
  savedCursor,
  systemClock,
} from 'reflex-bridge'

/** What `GET /events?after=ID&limit=N` answers. Ids are consecutive decimal numbers; without `after` the page begins at the oldest. */
export interface Page {
  /** Tells this log from an earlier one at the same place. */
  readonly epoch: string
  /** The id of the earliest event that is still there; `head` + 1 if there is none. */
  readonly oldest: string
  /** The newest id that was ever given; "0" if there was none. */
  readonly head: string
  /** At most N; the payload in base64. */
  readonly events: readonly (Omit<Event, 'metadata'> & { readonly metadata: string | null })[]
}

/** Options of `httpPages`. */
export interface HttpPagesOptions {
  /** The most events in a page. Default: 500. */
  readonly limit?: number
  /** How long to wait at the head before asking again. In ms, default 1,000. */
  readonly pollMs?: number
  /** How long an answer may take: a server that is stuck is an error. In ms, default 4,000. */
  readonly timeoutMs?: number
}

/**
 * A source over an HTTP endpoint that gives a log in pages, and is polled at its head.
 *
 * Every answer says which log it is of, and from where to where it goes, so each of them proves the cursor anew. An error, a
 * connection that breaks and an answer that is late end the stream: whoever opened it starts again (`supervise`).
 */
export function httpPages(
  url: string,
  { limit = 500, pollMs = 1000, timeoutMs = 4000 }: HttpPagesOptions = {},
): Source {
  /** Asks once. */
  async function getPage(after: Cursor, count: number, signal: AbortSignal | undefined): Promise<Page> {
    const query = new URLSearchParams({ limit: String(count), ...(after === '' ? {} : { after }) })
    const timeout = AbortSignal.timeout(timeoutMs)
    try {
      const response = await fetch(`${url}/events?${query}`, {
        signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
        headers: { connection: 'close' }, // a server may close one that is kept just as it is used again
      })
      if (!response.ok) throw new Error(`expected a page, but found the status ${response.status}`)
      const page = (await response.json()) as Page
      if (isId(page.oldest) && isId(page.head) && typeof page.epoch === 'string' && Array.isArray(page.events))
        return page
      throw new Error('expected epoch, oldest, head and events in the page')
    } catch (cause) {
      signal?.throwIfAborted()
      throw new ReflexError('HTTP_FAILED', `${url}: ${messageOf(cause)}`, { cause })
    }
  }

  /** Throws unless everything after `position` is still there. */
  function prove(position: Cursor, { epoch, oldest, head }: Page, opened: string): void {
    const cursor = savedCursor(position, opened)
    if (epoch !== opened) throw new CursorAheadError(url, { cursor, reason: 'recreated', found: `epoch ${epoch}` })
    if (position === '') return
    if (BigInt(position) > BigInt(head)) throw new CursorAheadError(url, { cursor, reason: 'beyond', found: head })
    if (BigInt(position) + 1n < BigInt(oldest)) throw new CursorTrimmedError(url, { cursor, earliest: oldest })
  }

  /** Finds out where the log begins and ends, and proves the cursor. */
  async function open(after: Cursor, signal?: AbortSignal): Promise<Page & { readonly position: Cursor }> {
    const page = await getPage('', 1, signal)
    const position = positionIn(url, after, page.epoch)
    if (after !== '' && !isId(position)) throw new CursorInvalidError(url, { cursor: after, expected: 'a decimal id' })
    prove(position, page, page.epoch)
    return { ...page, position }
  }

  const stream: StreamFunc = async (after, options) => {
    checkStreamOptions(url, after, options)
    const { signal, toHead, fromHead, types } = options
    const { epoch, head, position } = await open(after, signal)
    const end = toHead ? BigInt(head) : Number.POSITIVE_INFINITY
    const closed = new AbortController()

    async function* batches(): AsyncGenerator<Batch> {
      let cursor = fromHead ? head : position
      if (fromHead) yield { events: [], cursor }
      while (BigInt(cursor) < end) {
        const page = await getPage(cursor, limit, closed.signal)
        prove(cursor, page, epoch)
        if (toHead) prove(head, { ...page, oldest: '0' }, epoch) // one that was lost is never reached
        const events = eventsIn(url, page).filter(({ id }) => BigInt(id) <= end)
        const last = events.at(-1)
        if (last !== undefined) {
          cursor = last.id
          yield { events: events.filter(({ type }) => types?.includes(type) ?? true), cursor }
        } else if (BigInt(page.oldest) > end)
          return // all of it has been trimmed
        else await systemClock.sleep(pollMs, closed.signal)
      }
    }
    return eventStream(batches(), () => closed.abort(), { signal, incarnation: epoch })
  }

  return {
    name: url,
    stream,
    head: async ({ signal } = {}) => (await getPage('', 1, signal)).head,
    backlog: async (after, { signal } = {}) => {
      const { oldest, head, position } = await open(after, signal)
      const from = position === '' ? BigInt(oldest) - 1n : BigInt(position)
      return { count: BigInt(head) - from, unit: 'positions' }
    },
    compare: (a, b) => Number(a.split('@')[0]) - Number(b.split('@')[0]),
  }
}

function isId(text: unknown): boolean {
  return typeof text === 'string' && /^(0|[1-9]\d{0,14})$/.test(text)
}

/** The events up to the first entry that is none; throws if that is the first. */
function eventsIn(url: string, page: Page): Event[] {
  const events: Event[] = []
  for (const { id, type, foreignId, timestamp, metadata, headers } of page.events) {
    try {
      if (!isId(id) || type !== (type | 0) || typeof foreignId !== 'string' || typeof timestamp !== 'number')
        throw new TypeError('expected an id, a type, a foreignId and a timestamp')
      const payload = metadata === null ? null : Buffer.from(metadata, 'base64')
      events.push({ id, type, foreignId, timestamp, metadata: payload, headers: { ...headers } })
    } catch (cause) {
      if (events.length > 0) break
      throw new DecodeError(url, { position: id, cause })
    }
  }
  return events
}

import { untilAborted } from '../core/abort.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import { CursorAheadError, codeOf, messageOf, OptionError, ReflexError } from '../core/errors.ts'
import type { Batch, Cursor } from '../core/event.ts'
import { checkStreamOptions, eventStream, type Source, type StreamFunc } from '../core/stream.ts'
import { checkLimit } from './check-limit.ts'

/** What a paged API gives of what follows a cursor. */
export interface Page extends Batch {
  /** There is more: the next page is asked for at once, else only after a while. */
  readonly more: boolean
}

/**
 * Gets the page after a cursor, which is `""` for the earliest. An implementer promises: at most `limit` events, in order, whose ids
 * are cursors; the cursor of the page stands after all of them, and moves on over what was left out; one that cannot be honoured is a
 * `CursorTrimmedError`, `CursorAheadError` or `CursorInvalidError`, never a jump. An empty page after `""` says that there is nothing. The
 * signal ends the waiting. Nothing is retried.
 */
export type FetchPage = (
  after: Cursor,
  options: { readonly signal: AbortSignal; readonly limit: number },
) => Promise<Page>

/** Options of `poll`. */
export interface PollOptions extends Pick<Source, 'head' | 'backlog' | 'at' | 'compare'> {
  /** The most events in a page. Default: 100. */
  readonly limit?: number | undefined
  /** How long to wait before asking again when there was nothing; doubles each time, until something comes. In ms, default 1,000. */
  readonly intervalMs?: number | undefined
  /** The longest wait. In ms, default 10 times `intervalMs`. */
  readonly maxIntervalMs?: number | undefined
  /** How long an answer may take; one that is late is an error. In ms, default 4,000. */
  readonly timeoutMs?: number | undefined
  /** Default: the machine's clock. */
  readonly clock?: Clock | undefined
}

/**
 * Makes a source of an API that gives a log in pages, and is polled at its head. `types` are left out here. With `head` and `compare`
 * the head is pinned when a stream is opened, so `toHead` ends exactly there; without them it ends with the first page that says that
 * there is no more, which may hold events that came since. `fromHead` needs a `head` that is never `""`, and is refused without one.
 *
 * An error of a request, and an answer that is late, is a `POLL_FAILED`, unless it has a code of its own; a page that breaks the
 * contract of `FetchPage` is a `SOURCE_CONTRACT`: too long, not moving on, or with an event twice; with `compare` also one that goes back, or whose events are out
 * of order or beyond its cursor. Both end the stream: whoever opened it starts again (`supervise`).
 *
 * Throws an `OptionError` on a limit that is not a whole number from 1 on, for `maxIntervalMs` below `intervalMs`, and for `head` without
 * `compare`.
 *
 * @example
 * const source = poll('invoices', async (after, { signal, limit }) => {
 *   const answer = await fetch(`https://example.com/invoices?after=${after}&limit=${limit}`, { signal })
 *   return toPage(await answer.json())
 * })
 */
export function poll(name: string, fetchPage: FetchPage, options: PollOptions = {}): Source {
  const { limit = 100, intervalMs = 1000, timeoutMs = 4000, clock = systemClock } = options
  const { maxIntervalMs = 10 * intervalMs, head, backlog, at } = options
  const compare =
    options.compare &&
    ((a: Cursor, b: Cursor): number => {
      const order = options.compare?.(a, b) as number
      if (Number.isNaN(order)) throw new TypeError(`${JSON.stringify(a)} and ${JSON.stringify(b)} have no order`)
      return order
    })
  for (const [option, value] of Object.entries({ limit, intervalMs, maxIntervalMs, timeoutMs }))
    checkLimit(name, option, value)
  if (maxIntervalMs < intervalMs)
    throw new OptionError(`${name}: maxIntervalMs must be intervalMs (${intervalMs}) or more, but is ${maxIntervalMs}`)
  if (head !== undefined && compare === undefined)
    throw new OptionError(`${name}: head needs compare, which tells whether the head is reached`)

  /** Asks once. */
  async function ask<T>(
    what: string,
    signal: AbortSignal | undefined,
    request: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    signal?.throwIfAborted()
    const ended = new AbortController()
    const onAbort = (): void => ended.abort(signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    clock.sleep(timeoutMs, ended.signal).then(
      () => ended.abort(new ReflexError('POLL_FAILED', `${name}: no answer to ${what} within ${timeoutMs} ms`)),
      () => {},
    )
    try {
      return await untilAborted(request(ended.signal), ended.signal)
    } catch (cause) {
      signal?.throwIfAborted()
      if (ended.signal.aborted) throw ended.signal.reason // the request may have told of it in its own words
      if (codeOf(cause) !== undefined) throw cause
      throw new ReflexError('POLL_FAILED', `${name}: ${what} failed: ${messageOf(cause)}`, { cause })
    } finally {
      signal?.removeEventListener('abort', onAbort)
      ended.abort()
    }
  }

  async function get(after: Cursor, signal: AbortSignal | undefined): Promise<Page> {
    const what = `the page after ${JSON.stringify(after)}`
    const page = await ask(what, signal, (ended) => fetchPage(after, { signal: ended, limit }))
    const refuse = (wrong: string, cause?: unknown): never => {
      const message = `${name}: ${what}: ${wrong}: correct fetchPage`
      throw new ReflexError('SOURCE_CONTRACT', message, { retriable: false, cause })
    }
    let wrong: string | undefined
    try {
      wrong = wrongIn(page, after)
    } catch (error) {
      if (codeOf(error) !== undefined) throw error
      return refuse(`expected cursors that can be compared, but found one that cannot (${messageOf(error)})`, error)
    }
    return wrong === undefined ? page : refuse(wrong)
  }

  /** What breaks the contract of `FetchPage`. */
  function wrongIn(page: Page, after: Cursor): string | undefined {
    const { events, cursor, more } = page ?? {}
    if (!Array.isArray(events) || typeof cursor !== 'string' || typeof more !== 'boolean')
      return 'expected events, a cursor and more'
    if (events.some((event) => typeof event?.id !== 'string'))
      return 'expected events, each with an id that is a string'
    if (events.length > limit) return `expected at most ${limit} events, but found ${events.length}`
    const isSame = cursor === after || (after !== '' && cursor !== '' && compare?.(cursor, after) === 0)
    if (isSame && (events.length > 0 || more))
      return `expected a cursor that moves on, but it is the same, with ${events.length} events and more: ${more}`
    if (cursor === '' && after !== '') return 'expected a cursor that moves on, but found ""'
    if (compare === undefined) {
      const isOnce = new Set([after, ...events.map(({ id }) => id)]).size > events.length
      return isOnce ? undefined : 'expected each event once, and not that of the cursor, but found one again'
    }
    if (after !== '' && compare(cursor, after) < 0) return `expected a cursor that moves on, but ${cursor} is before it`
    let before = after
    for (const { id } of events) {
      if (before !== '' && compare(id, before) <= 0) return `expected an event after ${before}, but found ${id}`
      before = id
    }
    if (events.length > 0 && compare(before, cursor) > 0)
      return `expected a cursor at or after the last event, ${before}, but found ${cursor}`
    return undefined
  }

  const getHead = (signal: AbortSignal | undefined): Promise<Cursor> =>
    ask('the head', signal, async (ended) => (await head?.call(options, { signal: ended })) ?? '')

  const stream: StreamFunc = async (after, streamOptions) => {
    checkStreamOptions(name, after, streamOptions)
    const { signal, toHead, fromHead, types } = streamOptions
    if (fromHead && head === undefined)
      throw new OptionError(`${name}: the option fromHead is not supported: poll was given no head`)
    const pinned = head !== undefined && (toHead || fromHead) ? await getHead(signal) : undefined
    const isBehind = (position: Cursor, end: Cursor): boolean =>
      end !== '' && (position === '' || (compare?.(position, end) ?? 0) < 0)
    const end = toHead ? pinned : undefined
    let proof = fromHead ? undefined : await get(after, signal) // and the first page
    if (pinned !== undefined && isBehind(pinned, after))
      throw new CursorAheadError(name, { cursor: after, reason: 'beyond', found: pinned })
    const closed = new AbortController()

    async function* batches(): AsyncGenerator<Batch> {
      let position = fromHead ? (pinned ?? '') : after
      let idleMs = intervalMs
      if (fromHead) yield { events: [], cursor: position }
      while (end === undefined || isBehind(position, end)) {
        const page = proof ?? (await get(position, closed.signal))
        proof = undefined
        const { cursor, more } = page
        const isLast = end !== undefined && !isBehind(cursor, end)
        const events = page.events.filter(
          ({ id, type }) => (!isLast || !isBehind(end, id)) && (types === undefined || types.includes(type)),
        )
        if (cursor !== position) {
          position = isLast ? end : cursor
          idleMs = intervalMs
          yield { events, cursor: position }
        }
        if (more) continue
        if (toHead && end === undefined) return
        if (end !== undefined && isBehind(position, end)) {
          const found = await getHead(closed.signal)
          if (isBehind(found, end)) throw new CursorAheadError(name, { cursor: end, reason: 'beyond', found })
          if (position === '') return // the log is empty
        }
        if (end !== undefined && !isBehind(position, end)) return
        await clock.sleep(idleMs, closed.signal)
        idleMs = Math.min(idleMs * 2, maxIntervalMs)
      }
    }
    return eventStream(batches(), () => closed.abort('closed'), { signal })
  }

  return {
    name,
    stream,
    ...(head === undefined ? {} : { head: ({ signal } = {}) => getHead(signal) }),
    ...(backlog && {
      backlog: (after: Cursor, { signal } = {}) =>
        ask(`the backlog after ${JSON.stringify(after)}`, signal, (ended) =>
          backlog.call(options, after, { signal: ended }),
        ),
    }),
    ...(at && {
      at: (timestamp: number, { signal } = {}) =>
        ask(`the position at ${timestamp}`, signal, (ended) => at.call(options, timestamp, { signal: ended })),
    }),
    ...(compare === undefined ? {} : { compare }),
  }
}

import { untilAborted } from '../core/abort.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import { OptionError, ReflexError, StreamEndedError } from '../core/errors.ts'
import type { Cursor, Event } from '../core/event.ts'
import { type EventStream, openStream, type Source } from '../core/stream.ts'

/** Which event is awaited: one that meets all that is given. */
export interface EventMatch {
  readonly foreignId?: string | undefined
  readonly types?: readonly number[] | undefined
  /** Must be quick and do no I/O. */
  readonly where?: ((event: Event) => boolean) | undefined
}

/** Options of `expectEvent` and `awaitEvent`. */
export interface AwaitOptions {
  /** How long the event is waited for, in ms. */
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
  /** Look from this cursor on, `""` being the earliest. Default: from the head. */
  readonly after?: Cursor | undefined
  /** Default: the machine's clock. */
  readonly clock?: Clock | undefined
}

/** An event that is expected. Disposing of it before it has come closes its stream, and ends the wait for it with `AWAIT_DISPOSED`. */
export interface ExpectedEvent extends AsyncDisposable {
  /**
   * Waits for the first event since `expectEvent` that matches; called again, it is the same one. Rejects with `AWAIT_TIMEOUT` when
   * `timeoutMs` have passed since this was called, with the signal's reason when it aborts, with `AWAIT_DISPOSED` when it is disposed of,
   * and as the stream does when it fails.
   */
  event(): Promise<Event>
}

/**
 * Pins the head of a log *before* something is done that makes an event, so that the event is not missed, however soon it comes.
 *
 * @example
 * await using paid = await expectEvent(source, { foreignId: 'order-7', types: [PAID] }, { timeoutMs: 5_000, signal })
 * await pay('order-7')
 * const { id } = await paid.event()
 */
export async function expectEvent(
  source: Pick<Source, 'name' | 'stream'>,
  match: EventMatch,
  { timeoutMs, signal, after, clock = systemClock }: AwaitOptions,
): Promise<ExpectedEvent> {
  const what = describe(match)
  if (!(timeoutMs >= 0))
    throw new OptionError(
      `${source.name}: timeoutMs of an event that is awaited must be 0 or more ms, but is ${timeoutMs}`,
    )
  const stream = await openStream(source.stream, after ?? '', { signal, fromHead: after === undefined })
  let waiting: Promise<Event> | undefined
  const disposed = new AbortController()
  const ended = signal === undefined ? disposed.signal : AbortSignal.any([disposed.signal, signal])

  async function event(): Promise<Event> {
    const found = new AbortController()
    const late = clock.sleep(timeoutMs, AbortSignal.any([found.signal, ended])).then(() => {
      throw new ReflexError('AWAIT_TIMEOUT', `${source.name}: no event${what} has come within ${timeoutMs} ms`)
    })
    late.catch(() => {}) // why it ends early is seen below
    try {
      return await untilAborted(Promise.race([firstOf(stream, match), late]), ended)
    } finally {
      found.abort('found') // a reason without a stack: nobody sees it
      await stream[Symbol.asyncDispose]()
    }
  }
  return {
    event: () => {
      waiting ??= event()
      return waiting
    },
    [Symbol.asyncDispose]: async () => {
      waiting?.catch(() => {}) // told to whoever waits; nobody else needs to hear of it
      if (!disposed.signal.aborted)
        disposed.abort(
          new ReflexError(
            'AWAIT_DISPOSED',
            `${source.name}: the event${what} that was expected was disposed of before it has come: wait for event() to settle first`,
            { retriable: false },
          ),
        )
      await stream[Symbol.asyncDispose]()
    },
  }
}

/**
 * Waits for the next event that matches: `expectEvent` for what somebody else makes. One that comes before this has pinned the head
 * is missed, unless `after` says where to look from.
 */
export async function awaitEvent(
  source: Pick<Source, 'name' | 'stream'>,
  match: EventMatch,
  options: AwaitOptions,
): Promise<Event> {
  await using expected = await expectEvent(source, match, options)
  return await expected.event()
}

async function firstOf(stream: EventStream, { foreignId, types, where }: EventMatch): Promise<Event> {
  for await (const { events } of stream) {
    for (const event of events) {
      if (foreignId !== undefined && event.foreignId !== foreignId) continue
      if (types !== undefined && !types.includes(event.type)) continue
      if (where === undefined || where(event)) return event
    }
  }
  throw new StreamEndedError()
}

function describe({ foreignId, types, where }: EventMatch): string {
  const of = foreignId === undefined ? '' : ` of ${JSON.stringify(foreignId)}`
  return `${of}${types === undefined ? '' : ` of type ${types.join(' or ')}`}${where === undefined ? '' : ' that matches'}`
}

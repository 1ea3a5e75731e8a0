import { OptionError, ReflexError } from '../core/errors.ts'
import type { Event } from '../core/event.ts'
import type { Source } from '../core/stream.ts'
import type { DeadLetters } from './dead-letters.ts'

/** The open dead letters of a route, as its bridge knows them. */
export interface OpenLetters {
  count(): number
  /** As many are open as may be, so far as is known: `add` looks again, and then throws. */
  isFull(): boolean
  /**
   * Why an event must not be sent: it is a dead letter itself, or one of its foreignId that stands before it in the log is, and has to
   * be sent first. Undefined if it may be sent.
   */
  holding(event: Event): Holder | undefined
  /** Reads them again: some may have been sent, or given up, since. */
  refresh(): Promise<void>
  /** Records an event. Throws `DEAD_LETTERS_FULL`. */
  add(event: Event, error: unknown): Promise<void>
}

/** A dead letter that keeps an event from being sent. */
export interface Holder {
  /** The event in it. */
  readonly eventId: string
  /** It is the event itself. */
  readonly own: boolean
}

/** Options of `openLetters`. */
export interface OpenLettersOptions {
  readonly route: string
  readonly source: Pick<Source, 'name' | 'compare'>
  readonly deadLetters: DeadLetters
  /** No more may be open at once. */
  readonly most: number
  readonly signal: AbortSignal | undefined
}

/** Letters are read so many at a time: each has its payload with it. */
const PAGE = 100

/** Reads which letters are open. */
export async function openLetters(options: OpenLettersOptions): Promise<OpenLetters> {
  const { route, source, deadLetters, most, signal } = options
  const compare = source.compare?.bind(source)
  if (compare === undefined)
    throw new OptionError(
      `route ${route}: dead letters need a source that can tell which of two events stands before the other, which ${source.name} cannot`,
    )
  let events = new Set<string>()
  /** Of each foreignId, the event that stands before all others of it. */
  let first = new Map<string, string>()

  const keep = (eventId: string, foreignId: string): void => {
    events.add(eventId)
    const known = first.get(foreignId)
    if (known === undefined || compare(eventId, known) < 0) first.set(foreignId, eventId)
  }
  async function refresh(): Promise<void> {
    events = new Set()
    first = new Map()
    for (let after: string | undefined; ; ) {
      const page = await deadLetters.list({ consumer: route, after, limit: PAGE, signal })
      for (const { eventId, event } of page) if (event !== undefined) keep(eventId, event.foreignId)
      if (page.length < PAGE) return
      after = page.at(-1)?.id
    }
  }

  const isFull = (): boolean => events.size >= most

  await refresh()
  return {
    count: () => events.size,
    isFull,
    holding: ({ id, foreignId }) => {
      if (events.has(id)) return { eventId: id, own: true }
      const holder = first.get(foreignId)
      return holder !== undefined && compare(holder, id) < 0 ? { eventId: holder, own: false } : undefined
    },
    refresh,
    add: async (event, error) => {
      if (isFull()) await refresh()
      if (isFull()) {
        throw new ReflexError(
          'DEAD_LETTERS_FULL',
          `route ${route}: ${events.size} dead letters are open, which is as many as may be, so that event ${event.id} is not put there: when so many events fail, something else is wrong than the events; mend that, then see to the letters and drop them`,
          { cause: error, kind: 'quota', retriable: false, eventId: event.id },
        )
      }
      await deadLetters.record(route, error, event, signal === undefined ? {} : { signal })
      keep(event.id, event.foreignId)
    },
  }
}

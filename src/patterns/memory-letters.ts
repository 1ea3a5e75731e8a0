import { type Clock, systemClock } from '../core/clock.ts'
import { messageOf, ReflexError } from '../core/errors.ts'
import type { Event } from '../core/event.ts'
import type { FailingLetter, Letters } from './dead-letter.ts'

/** A letter of `memoryLetters`. */
export interface MemoryLetter extends FailingLetter {
  readonly consumer: string
  readonly event: Event
  /** Of the last error. */
  readonly message: string
  readonly status: 'failing' | 'open' | 'resolved'
}

/** Letters in memory. */
export interface MemoryLetters extends Letters {
  /** A page of the letters of a consumer, in the order in which they came: those after the letter `after`, `limit` (100) at most. */
  list(options: {
    readonly consumer: string
    /** Default: `open`. */
    readonly status?: MemoryLetter['status'] | undefined
    readonly after?: string | undefined
    readonly limit?: number | undefined
    readonly signal?: AbortSignal | undefined
  }): Promise<MemoryLetter[]>
}

/** Keeps dead letters in this process's memory, for tests and for consumers that start over with the process. */
export function memoryLetters({ clock = systemClock }: { readonly clock?: Pick<Clock, 'now'> } = {}): MemoryLetters {
  const letters: MemoryLetter[] = []
  const put = (consumer: string, error: unknown, event: Event, status: 'failing' | 'open'): MemoryLetter => {
    const index = letters.findIndex((each) => each.consumer === consumer && each.eventId === event.id)
    const known = letters[index]
    const anew = known === undefined || (known.status === 'resolved' && status === 'failing')
    // A failing one that is given up was counted when it failed.
    const more = known?.status === 'failing' && status === 'open' ? 0 : 1
    const letter: MemoryLetter = {
      id: known?.id ?? String(letters.length + 1),
      consumer,
      eventId: event.id,
      event,
      message: messageOf(error),
      attempts: anew ? 1 : known.attempts + more,
      createdAt: anew ? clock.now() : known.createdAt,
      status: known?.status === 'open' ? 'open' : status,
    }
    letters.splice(known === undefined ? letters.length : index, 1, letter)
    return letter
  }
  return {
    attempt: async (consumer, error, event, { signal } = {}) => {
      signal?.throwIfAborted()
      return put(consumer, error, event, 'failing')
    },
    record: async (consumer, error, event, { signal } = {}) => {
      signal?.throwIfAborted()
      put(consumer, error, event, 'open')
    },
    list: async ({ consumer, status = 'open', after = '0', limit = 100, signal }) => {
      signal?.throwIfAborted()
      const wanted = (each: MemoryLetter): boolean =>
        each.consumer === consumer && each.status === status && Number(each.id) > Number(after)
      return letters.filter(wanted).slice(0, limit)
    },
    resolve: async (id) => {
      const index = letters.findIndex((each) => each.id === id)
      const letter = letters[index]
      if (letter === undefined) {
        const message = `there is no dead letter ${JSON.stringify(id)}`
        throw new ReflexError('DEAD_LETTER_MISSING', message, { retriable: false })
      }
      letters[index] = { ...letter, status: 'resolved' }
    },
  }
}

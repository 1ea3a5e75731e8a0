import { ReflexError } from '../core/errors.ts'
import type { Event, NewEvent } from '../core/event.ts'
import { formatTimestamp } from '../core/wire.ts'
import { parseTableCursor } from './table-stream.ts'

/** Which dead letters are written to their source anew. */
export interface RewriteOptions {
  /** The consumer, or the route, that they are of. */
  readonly consumer: string
  readonly foreignId: string
  /** How far its cursor is. Read before the call: of what it has passed, all letters are there. */
  readonly passed: string
  /** Ids of events; what is left out waits for one of them. Default: all. */
  readonly chosen?: ReadonlySet<string> | undefined
}

/** An event of a dead letter that stands in its source once more. */
export interface Rewritten {
  readonly eventId: string
  readonly newId: string
}

/**
 * Writes the events of all open letters of a consumer and a foreignId to the source anew, in order, and resolves the letters: all of it
 * in one transaction, or nothing. So a bridge, whenever it looks, finds the letters open, or the events with nothing that holds them back.
 * None if no letter of them is open, so that it is safe to repeat, and to do twice at once.
 *
 * Throws `EVENT_HELD_BACK` if an older letter is open and not chosen, `LETTER_IN_USE` if an event of the foreignId stands in the source
 * that the cursor has not passed: the copies must not be sent behind it.
 */
export type RewriteLetters = (options: RewriteOptions) => Promise<readonly Rewritten[]>

/** Headers of a copy, where the table has a column for them: of what, and when that was. Of a copy of a copy, they are the first one's. */
export const retriedHeaders = { id: 'reflex-retried-id', timestamp: 'reflex-retried-timestamp' } as const

/** A letter, with the id of its event. */
export interface LetterKey {
  readonly id: string
  readonly eventId: string
}

/** The letters of a foreignId that are written anew, in the order of their events. Throws as `RewriteLetters` does. */
export function lettersToRewrite<Letter extends LetterKey>(
  name: string,
  open: readonly Letter[],
  { consumer, foreignId, passed, chosen }: RewriteOptions,
): readonly Letter[] {
  const positionOf = ({ eventId }: Letter): bigint => parseTableCursor(name, eventId)
  const letters = open.toSorted((a, b) => (positionOf(a) < positionOf(b) ? -1 : 1))
  const [first, named] = [letters[0], letters.find(({ eventId }) => chosen?.has(eventId) ?? true)]
  if (first === undefined || named === undefined) return []
  if (first !== named) {
    throw new ReflexError(
      'EVENT_HELD_BACK',
      `route ${consumer}: the letter of event ${named.eventId} is not retried: that of event ${first.eventId} is open, and stands before it with the same foreignId, ${JSON.stringify(foreignId)}: name that one as well, or drop it first`,
      { retriable: false, eventId: named.eventId },
    )
  }
  const last = letters.at(-1) as Letter
  if (passed === '' || positionOf(last) > parseTableCursor(name, passed))
    throw letterInUse({ consumer, foreignId, passed }, last.eventId)
  return letters
}

/** The cursor has not passed `eventId`. */
export function letterInUse({ consumer, foreignId, passed }: RewriteOptions, eventId: string): ReflexError {
  return new ReflexError(
    'LETTER_IN_USE',
    `route ${consumer}: the letters of the foreignId ${JSON.stringify(foreignId)} are not retried, since the checkpoint of the route, ${JSON.stringify(passed)}, has not passed event ${eventId} of it yet, which would be sent before them: run the route, then try again`,
  )
}

/** What is inserted: the event, at the time of the insert. */
export function copyOf({ id, foreignId, type, metadata, headers, timestamp }: Event, hasHeaders: boolean): NewEvent {
  const origin = { [retriedHeaders.id]: id, [retriedHeaders.timestamp]: formatTimestamp(timestamp) }
  return { foreignId, type, metadata, headers: hasHeaders ? { ...origin, ...headers } : headers }
}

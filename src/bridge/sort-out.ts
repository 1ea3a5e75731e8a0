import { codeOf, messageOf, ReflexError } from '../core/errors.ts'
import type { Event } from '../core/event.ts'
import { applyTransform } from './apply-transform.ts'
import type { Skip } from './checkpoint.ts'
import type { Holder, OpenLetters } from './open-letters.ts'
import type { Transform } from './transform.ts'

/** What decides about an event. */
export interface SortOptions {
  readonly transform: Transform | undefined
  /** By event id. */
  readonly skips: ReadonlyMap<string, Skip>
  /** Why the destination refuses an event, by its id. */
  readonly faults: ReadonlyMap<string, unknown>
  readonly letters: OpenLetters | undefined
}

/** What becomes of some events. */
export interface SortedOut {
  /** Those to be appended, as they are to be. */
  readonly send: readonly Event[]
  readonly skipped: readonly Skip[]
  /** The index of the first that cannot be sent as things are; the number of events if all can, or need not, be. */
  readonly until: number
  /** That event, and why: an error, or a dead letter that must be sent before it. */
  readonly aside?: Aside
}

/** An event that cannot be sent as things are. */
export type Aside = { readonly event: Event } & (
  | { readonly error: unknown; readonly holder?: undefined }
  | { readonly holder: Holder; readonly error?: undefined }
)

/** Sorts out what becomes of events from the index `from` on, up to the first that cannot be sent. */
export function sortOut(
  events: readonly Event[],
  from: number,
  { transform, skips, faults, letters }: SortOptions,
): SortedOut {
  const holds = letters !== undefined && letters.count() > 0
  if (transform === undefined && skips.size === 0 && faults.size === 0 && !holds)
    return { send: from === 0 ? events : events.slice(from), skipped: [], until: events.length }
  const send: Event[] = []
  const skipped: Skip[] = []
  for (let until = from; until < events.length; until++) {
    const event = events[until] as Event
    const skip = skips.get(event.id)
    if (skip !== undefined) {
      skipped.push(skip)
      continue
    }
    const holder = holds ? letters.holding(event) : undefined
    if (holder !== undefined) return { send, skipped, until, aside: { event, holder } }
    if (faults.has(event.id)) return { send, skipped, until, aside: { event, error: faults.get(event.id) } }
    let made: Event | undefined
    try {
      made = transform === undefined ? event : applyTransform(transform, event)
    } catch (error) {
      return { send, skipped, until, aside: { event, error: transformFailed(event, error) } }
    }
    if (made !== undefined) send.push(made)
  }
  return { send, skipped, until: events.length }
}

/** What a transform throws is the event's own fault, but for its being no transform at all, or one with wrong options. */
function transformFailed({ id }: Event, cause: unknown): unknown {
  const code = codeOf(cause) ?? 'TRANSFORM_FAILED'
  if (code === 'TRANSFORM_INVALID' || code === 'OPTION_INVALID') return cause
  return new ReflexError(code, `the transform failed at event ${id}: ${messageOf(cause)}`, {
    cause,
    kind: 'poison',
    eventId: id,
  })
}

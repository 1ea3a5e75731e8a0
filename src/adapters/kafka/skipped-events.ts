import type { Event } from '../../core/event.ts'
import type { Between, Place } from './route-checkpoint.ts'

/** An event of the source that stands in a topic, with its offset there. */
export interface FoundEvent {
  readonly id: string
  readonly place: Place
  readonly offset: bigint
}

/** Events that were found in the topics: they will come from the source once more, and are not appended again. */
export interface SkippedEvents {
  /** Those of `events` that are not among them. The others have come by then. */
  without(events: readonly Event[]): readonly Event[]
  /** Between which positions those stand that are still to come; undefined if there are none. */
  left(): Between | undefined
}

/** Takes what was found, in the order of each place, and between which positions it was looked for. */
export function skippedEvents(found: readonly FoundEvent[], between: Between | undefined): SkippedEvents {
  const waiting = new Set(found.map(({ id }) => id))
  const queues = Map.groupBy(found, ({ place }) => place)
  const heads = new Map<Place, number>() // of the queue of a place, the first that may still be to come

  /** The first position at a place that has to be looked at again. */
  function firstLeft(place: Place): bigint | undefined {
    const queue = queues.get(place) ?? []
    let head = heads.get(place) ?? 0
    while (head < queue.length && !waiting.has(queue[head]?.id ?? '')) head++
    heads.set(place, head)
    return queue[head]?.offset
  }
  return {
    without: (events) => (waiting.size === 0 ? events : events.filter(({ id }) => !waiting.delete(id))),
    left: () => {
      if (waiting.size === 0 || between === undefined) return undefined
      const { to } = between
      return { from: new Map(Array.from(to, ([place, end]) => [place, firstLeft(place) ?? end])), to }
    },
  }
}

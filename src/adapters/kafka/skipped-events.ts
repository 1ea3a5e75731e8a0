import type { Event } from '../../core/event.ts'
import type { Between, Place } from './route-checkpoint.ts'

/** An event of the source that stands in a topic, with its offset there. */
export interface FoundEvent {
  readonly id: string
  readonly place: Place
  readonly offset: bigint
  /** The position from which back it can be told that it is committed. */
  readonly end: bigint
}

/** Events that were found in the topics: they will come from the source once more, and are not appended again. */
export interface SkippedEvents {
  /** Those of `events` that are not among them. The others have come by then. */
  without(events: readonly Event[]): readonly Event[]
  /** Between which positions those stand that are still to come; undefined if there are none. */
  left(): Between | undefined
}

/** Takes what was found, and between which positions it was looked for. */
export function skippedEvents(found: readonly FoundEvent[], between: Between | undefined): SkippedEvents {
  const waiting = new Set(found.map(({ id }) => id))
  const queues = new Map(
    Array.from(
      Map.groupBy(found, ({ place }) => place),
      ([place, each]) => [place, inOrder(each)],
    ),
  )
  const heads = new Map<Place, number>() // of the queue of a place, the first that may still be to come

  /** From where on, and up to where, a place has to be looked at again: some never come, as when an operator moves the route. */
  function leftAt(place: Place): { readonly from: bigint; readonly to: bigint } | undefined {
    const queue = queues.get(place) ?? []
    const isWaiting = (event: FoundEvent | undefined): boolean => event !== undefined && waiting.has(event.id)
    let head = heads.get(place) ?? 0
    while (head < queue.length && !isWaiting(queue[head])) head++
    heads.set(place, head)
    while (queue.length > head && !isWaiting(queue.at(-1))) queue.pop()
    const [first, last] = [queue[head], queue.at(-1)]
    return first && last && { from: first.offset, to: last.end }
  }
  return {
    without: (events) => (waiting.size === 0 ? events : events.filter(({ id }) => !waiting.delete(id))),
    left: () => {
      if (waiting.size === 0 || between === undefined) return undefined
      const left = Array.from(between.to, ([place, end]) => [place, leftAt(place) ?? { from: end, to: end }] as const)
      return {
        from: new Map(left.map(([place, { from }]) => [place, from])),
        to: new Map(left.map(([place, { to }]) => [place, to])),
      }
    },
  }
}

/** As they stand; the end of each is that of all up to it. */
function inOrder(found: readonly FoundEvent[]): FoundEvent[] {
  let end = 0n
  return found
    .toSorted((a, b) => Number(a.offset - b.offset))
    .map((event) => {
      if (event.end > end) end = event.end
      return { ...event, end }
    })
}

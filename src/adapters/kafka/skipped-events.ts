import type { Event } from '../../core/event.ts'
import type { Between } from './route-checkpoint.ts'

/** An event of the source that stands in the topic, with its offset there. */
export interface FoundEvent {
  readonly id: string
  readonly partition: number
  readonly offset: bigint
}

/** Events that were found in the topic: they will come from the source once more, and are not appended again. */
export interface SkippedEvents {
  /** Those of `events` that are not among them. The others have come by then. */
  without(events: readonly Event[]): readonly Event[]
  /** Between which positions those stand that are still to come; undefined if there are none. */
  left(): Between | undefined
}

/** Takes what was found, in the order of each partition, and between which positions it was looked for. */
export function skippedEvents(found: readonly FoundEvent[], between: Between | undefined): SkippedEvents {
  const waiting = new Set(found.map(({ id }) => id))
  const queues = Map.groupBy(found, ({ partition }) => partition)
  const heads = new Map<number, number>() // by partition: of its queue, the first that may still be to come

  /** The first position in a partition that has to be looked at again. */
  function firstLeft(partition: number): bigint | undefined {
    const queue = queues.get(partition) ?? []
    let head = heads.get(partition) ?? 0
    while (head < queue.length && !waiting.has(queue[head]?.id ?? '')) head++
    heads.set(partition, head)
    return queue[head]?.offset
  }
  return {
    without: (events) => (waiting.size === 0 ? events : events.filter(({ id }) => !waiting.delete(id))),
    left: () => {
      if (waiting.size === 0 || between === undefined) return undefined
      const { to } = between
      return { from: new Map(Array.from(to, ([partition, end]) => [partition, firstLeft(partition) ?? end])), to }
    },
  }
}

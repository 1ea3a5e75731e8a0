import type { Cursor } from '../core/event.ts'

/** The place of one event in a window. */
export interface Place {
  readonly id: string
  settled: boolean
}

/** Events that were taken on, in the order of the log, from the first that is not settled on. */
export interface EventWindow {
  /** How many there are, those included that are settled behind one that is not. */
  readonly size: number
  /** Takes the next event on. */
  add(id: string): Place
  /** The event is done; once is as good as twice. */
  settle(place: Place): void
  /** The answer of `Consumer.settled`. */
  settled(): Cursor | undefined
  /** Resolves when there are fewer than the most there may be. */
  room(): Promise<void>
}

/** Makes an empty window of at most `maxSize` events. Ids need not be consecutive, nor numbers. */
export function eventWindow(maxSize: number): EventWindow {
  const places: Place[] = []
  let first = 0 // what is before it is settled, and only not yet cut off
  let reached: Cursor = ''
  let waiting: PromiseWithResolvers<void> | undefined

  return {
    get size() {
      return places.length - first
    },
    add: (id) => {
      const place = { id, settled: false }
      places.push(place)
      return place
    },
    settle: (place) => {
      place.settled = true
      for (let next = places[first]; next?.settled; next = places[++first]) reached = next.id
      if (first >= maxSize || first === places.length) {
        places.splice(0, first)
        first = 0
      }
      if (places.length - first < maxSize) waiting?.resolve()
    },
    settled: () => (places.length > first ? reached : undefined),
    room: async () => {
      while (places.length - first >= maxSize) {
        waiting = Promise.withResolvers()
        await waiting.promise
      }
    },
  }
}

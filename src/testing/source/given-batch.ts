import type { Batch, Event, NewEvent } from '../../core/event.ts'
import { difference } from '../event-body.ts'

/** A batch as it was when it was given. */
export interface GivenBatch {
  /** Which of its events is no longer what it was, from 1; undefined if it is as it was given. */
  changed(): number | undefined
}

/** Remembers a batch and what its events were appended as. */
export function givenBatch({ events }: Batch, bodies: readonly NewEvent[]): GivenBatch {
  const given: readonly Event[] = [...events]
  return {
    changed: () => {
      const isOther = (event: Event, i: number): boolean =>
        events[i] !== event || difference(bodies[i] as NewEvent, event) !== undefined
      const index = given.findIndex(isOther)
      if (index >= 0) return index + 1
      return events.length === given.length ? undefined : given.length + 1
    },
  }
}

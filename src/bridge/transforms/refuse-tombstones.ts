import { ReflexError } from '../../core/errors.ts'
import type { Transform } from '../transform.ts'

/**
 * Refuses events with a null payload: each throws `EVENT_TOMBSTONE`. Without it they travel like all others, and delete their key where
 * a Kafka topic is compacted. To leave them out instead: `filter(({ metadata }) => metadata !== null)`.
 */
export function refuseTombstones(): Transform {
  return (event) => {
    if (event.metadata !== null) return event
    throw new ReflexError(
      'EVENT_TOMBSTONE',
      `event ${event.id}: its payload is null, which this route refuses: in a compacted topic that would delete the key ${JSON.stringify(event.foreignId)}`,
      { retriable: false, kind: 'poison', eventId: event.id },
    )
  }
}

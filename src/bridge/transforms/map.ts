import type { Event } from '../../core/event.ts'
import type { Transform } from '../transform.ts'
import { transformInvalid } from '../transform-invalid.ts'

/**
 * Replaces parts of each event by those that `change` returns; the id cannot be among them. Throws `TRANSFORM_INVALID`, on an event, if
 * it returns no object, or a promise.
 *
 * @example map(({ metadata }) => ({ metadata: metadata && gzipSync(metadata) }))
 */
export function map(change: (event: Event) => Partial<Omit<Event, 'id'>>): Transform {
  return (event) => {
    const changed: unknown = change(event)
    const isPlain = typeof changed === 'object' && changed !== null && !('then' in changed)
    if (isPlain && (!('id' in changed) || changed.id === event.id)) return { ...event, ...changed }
    const rule = 'the function of a map must return an object with the parts that change, the id not among them'
    throw transformInvalid(event.id, rule, changed)
  }
}

import type { Event } from '../core/event.ts'
import type { Transform } from './transform.ts'
import { transformInvalid } from './transform-invalid.ts'

/**
 * What `transform` makes of an event; undefined if it leaves it out. What it throws is thrown on. Throws `TRANSFORM_INVALID` if it
 * returns a promise, no event, or one with another id.
 */
export function applyTransform(transform: Transform, event: Event): Event | undefined {
  const { id } = event
  const result = transform(event)
  if (result === undefined || (result as Event | null)?.id === id) return result
  const rule = 'a transform must return an event with the same id, by which the destination tells what it holds'
  throw transformInvalid(id, `${rule}, or undefined to leave it out`, result)
}

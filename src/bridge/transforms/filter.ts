import { OptionError } from '../../core/errors.ts'
import type { Event } from '../../core/event.ts'
import type { Transform } from '../transform.ts'
import { transformInvalid } from '../transform-invalid.ts'

/**
 * Leaves out the events whose type is not among `wanted`, or that the function `wanted` says false of. Throws an `OptionError` on types
 * that are no 32-bit integers, and, on an event, `TRANSFORM_INVALID` if the function says neither true nor false.
 *
 * @example filter(({ foreignId }) => !foreignId.startsWith('test-'))
 */
export function filter(wanted: readonly number[] | ((event: Event) => boolean)): Transform {
  if (typeof wanted !== 'function') {
    const wrong = wanted.find((type) => type !== (type | 0))
    if (wrong !== undefined) throw new OptionError(`filter: a type must be a 32-bit integer, but one is ${wrong}`)
    const types = new Set(wanted)
    return (event) => (types.has(event.type) ? event : undefined)
  }
  return (event) => {
    const kept: unknown = wanted(event)
    if (typeof kept === 'boolean') return kept ? event : undefined
    throw transformInvalid(event.id, 'the function of a filter must return true or false', kept)
  }
}

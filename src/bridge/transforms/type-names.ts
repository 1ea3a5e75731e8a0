import { OptionError } from '../../core/errors.ts'
import { typeNameHeader } from '../../core/event-template.ts'
import type { Transform } from '../transform.ts'

/**
 * Writes the name of an event's type into the header `type-name`, which templates call `{typeName}`. A type without a name gets none:
 * a template that needs it throws. Throws an `OptionError` on types that are no 32-bit integers, and names that are empty.
 *
 * @example typeNames({ 1: 'order.created', 2: 'order.paid' })
 */
export function typeNames(names: Readonly<Record<number, string>>): Transform {
  const byType = new Map<number, string>()
  for (const [type, name] of Object.entries(names)) {
    if (String(Number(type) | 0) !== type)
      throw new OptionError(`typeNames: a type must be a 32-bit integer, but one is ${type}`)
    if (typeof name !== 'string' || name === '')
      throw new OptionError(`typeNames: the name of the type ${type} must be text that is not empty`)
    byType.set(Number(type), name)
  }
  return (event) => {
    const name = byType.get(event.type)
    return name === undefined ? event : { ...event, headers: { ...event.headers, [typeNameHeader]: name } }
  }
}

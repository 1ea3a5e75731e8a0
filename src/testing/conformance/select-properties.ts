import { OptionError } from '../../core/errors.ts'
import type { Suite } from './property.ts'
import { suiteOf } from './suites.ts'

/** The properties of a suite with the ids `only`, or all of them, in the suite's order. Throws an `OptionError` on an id that there is not. */
export function selectProperties(kind: string, only?: readonly string[]): Suite['properties'] {
  const { properties } = suiteOf(kind)
  if (only === undefined) return properties
  if (!Array.isArray(only)) throw new OptionError(`only must be an array of ids, but is ${JSON.stringify(only)}`)
  const known = properties.map(({ id }) => id)
  const unknown = only.find((id) => !known.includes(id))
  if (unknown === undefined) return properties.filter(({ id }) => only.includes(id))
  throw new OptionError(
    `there is no property ${JSON.stringify(unknown)} in the suite "${kind}": expected some of ${known.join(', ')}`,
  )
}

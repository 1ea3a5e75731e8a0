import { OptionError } from '../../core/errors.ts'
import type { Command, Property } from '../../testing/conformance/property.ts'
import type { Kind, suites } from '../../testing/conformance/suites.ts'

/** The properties of a suite with these ids, or all of them. Throws an `OptionError` on an id that there is not. */
export function chooseProperties(
  all: typeof suites,
  of: Kind,
  only: readonly string[] | undefined,
): readonly Property<never, Command>[] {
  const properties = all[of].properties as readonly Property<never, Command>[]
  const ids = properties.map(({ id }) => id)
  const unknown = only?.find((id) => !ids.includes(id))
  if (unknown === undefined) return properties.filter(({ id }) => only === undefined || only.includes(id))
  throw new OptionError(
    `there is no property ${JSON.stringify(unknown)} in the suite "${of}": expected some of ${ids.join(', ')}; --list says what they are`,
  )
}

import { OptionError } from '../../core/errors.ts'
import { checkTableName } from '../../sql/table-stream.ts'

/**
 * The names of a table's columns by their role: those that are `given`, else the defaults. Throws `OptionError` on a role that is
 * none, on a name that is no plain identifier, and on one that two roles have.
 */
export function columnNames<C extends Readonly<Record<keyof C, string>>>(defaults: C, given: Partial<C> = {}): C {
  const columns: C = { ...defaults, ...given }
  const taken = new Map<string, string>()
  for (const [role, name] of Object.entries<string>(columns)) {
    if (!Object.hasOwn(defaults, role)) {
      throw new OptionError(`expected columns to be of ${Object.keys(defaults).join(', ')}, but found ${role}`)
    }
    checkTableName(name, 'a column name')
    const other = taken.get(name.toLowerCase())
    if (other !== undefined)
      throw new OptionError(
        `expected each of columns to have a name of its own, but ${other} and ${role} are both ${name}`,
      )
    taken.set(name.toLowerCase(), role)
  }
  return columns
}

import type { Consumer } from '../core/consumer.ts'
import { OptionError } from '../core/errors.ts'

/** Throws an `OptionError` if the consumer has a member that would not be called: it is refused, never ignored. */
export function refuseMembers(what: string, consumer: object, ...members: readonly (keyof Consumer)[]): void {
  const found = members.find((member) => (consumer as Partial<Consumer>)[member] !== undefined)
  if (found === undefined) return
  const why = found === 'settled' ? 'holds its cursor back itself' : 'decides about errors of single events'
  throw new OptionError(`${what}: it ${why} (${found}), which cannot be honoured here`)
}

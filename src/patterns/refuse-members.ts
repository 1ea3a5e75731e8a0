import type { Consumer } from '../core/consumer.ts'
import { OptionError } from '../core/errors.ts'

/** Throws an `OptionError` if the consumer has a member that would not be called: it is refused, never ignored. */
export function refuseMembers(what: string, consumer: object, ...members: readonly (keyof Consumer)[]): void {
  const found = members.find((member) => (consumer as Partial<Consumer>)[member] !== undefined)
  if (found === undefined) return
  const why = found === 'settled' ? 'holds its cursor back itself' : 'decides about errors of single events'
  throw new OptionError(`${what}: it ${why} (${found}), which cannot be honoured here`)
}

/**
 * Throws an `OptionError` for a consumer with `settled`: when its `handle` has returned, its work has only begun, of which
 * a decorator sees neither how long it takes nor that it fails.
 */
export function refuseBackground(
  decorator: string,
  { name, settled }: Pick<Consumer, 'name' | 'settled'>,
  inside: readonly ('batch' | 'concurrent' | 'ack')[] = ['concurrent'],
): void {
  if (settled === undefined) return
  throw new OptionError(
    `${decorator} of consumer ${JSON.stringify(name)}: expected a consumer that is done with an event when its handle has returned, but found one ` +
      `that goes on in the background (settled), as batch, concurrent and ack do: ${decorator} does not see what becomes of it. ` +
      `Put it inside: ${inside.map((outer) => `${outer}(${decorator}(consumer, …), …)`).join(', ')}`,
  )
}

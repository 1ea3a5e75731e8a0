import type { HeldLease } from '../core/hold-lease.ts'
import type { DeadLetters } from './dead-letters.ts'

/**
 * Dead letters that are recorded only while the lease is held: each `record` looks first, in the same turn, and throws `LEASE_LOST`. So a
 * process that was frozen, and wakes up when another one has taken over, does not open again what has been seen to meanwhile.
 */
export function leasedLetters(letters: DeadLetters, { check }: Pick<HeldLease, 'check'>): DeadLetters {
  return {
    record: async (route, error, event, options) => {
      check()
      return letters.record(route, error, event, options)
    },
    list: (options) => letters.list(options),
    resolve: (id) => letters.resolve(id),
  }
}

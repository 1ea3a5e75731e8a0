import { decorateSink } from '../core/decorate.ts'
import type { HeldLease } from '../core/hold-lease.ts'
import type { Sink } from '../core/sink.ts'

/**
 * A destination that is written to only while the lease is held: each `open` and `append` looks first, in the same turn, and throws
 * `LEASE_LOST`. So a process that was frozen, and wakes up when another one has taken over, neither writes nor fences that one.
 */
export function leasedSink(sink: Sink, { check }: Pick<HeldLease, 'check'>): Sink {
  return decorateSink(sink, {
    open: async (options) => {
      check()
      return sink.open(options)
    },
    append: async (writer, events, cursor) => {
      check()
      return writer.append(events, cursor)
    },
  })
}

import type { Consumer } from '../core/consumer.ts'
import type { CursorStore } from '../core/cursor.ts'
import type { Event } from '../core/event.ts'
import { type HeldLease, type HoldLeaseOptions, holdLease, type LeaseSpec } from '../core/hold-lease.ts'
import { type RunOptions, type RunResult, type RunSpec, run } from '../core/run.ts'
import { forwardConsumer } from './forward-consumer.ts'

/** A consumer that one process of several runs. */
export interface LeasedConsumer extends Omit<Consumer, 'handle'> {
  /** As in `Consumer`. `token` grows with each process that takes over: what is written to can refuse those that are smaller than one that it has seen. */
  handle(event: Event, context: { readonly signal: AbortSignal; readonly token: bigint }): void | Promise<void>
}

/** What is run, by whoever has the lease. */
export interface LeasedRunSpec extends Omit<RunSpec, 'consumer'> {
  readonly consumer: LeasedConsumer
}

/** Options of `withLease`. */
export interface WithLeaseOptions extends RunOptions, Pick<HoldLeaseOptions, 'onWait' | 'share' | 'monotonic'> {}

/**
 * Waits for a lease and runs a consumer while it is held: of the processes that do so, one runs it, and another takes over when it
 * ends, crashes, freezes or loses the store of the leases (see `holdLease`). When the lease is lost the run is aborted at once,
 * neither handles nor saves any more, and this rejects with `LEASE_LOST`, which `supervise` takes as a reason to wait for it again.
 *
 * @example await supervise((o) => withLease({ leases, name: 'mailer', holder }, { stream, cursors, consumer }, o), { signal })
 */
export async function withLease(
  lease: LeaseSpec,
  { stream, cursors, consumer }: LeasedRunSpec,
  { onWait, share, monotonic, ...options }: WithLeaseOptions = {},
): Promise<RunResult> {
  const { signal, clock } = options
  const work = (held: HeldLease): Promise<RunResult> =>
    run(
      { stream, cursors: leasedCursors(cursors, held), consumer: leasedConsumer(consumer, held) },
      { ...options, signal: held.signal },
    )
  try {
    return await holdLease(lease, work, { signal, clock, onWait, share, monotonic })
  } catch (error) {
    if (!signal?.aborted) throw error
    return { reason: 'aborted', cursor: '', ...(error === signal.reason ? {} : { error }) }
  }
}

/** A process that was frozen may find only now that another one has taken over. */
function leasedConsumer(consumer: LeasedConsumer, { token, check }: HeldLease): Consumer {
  return {
    ...forwardConsumer(consumer as unknown as Consumer),
    handle: (event, context) => {
      check()
      return consumer.handle(event, { ...context, token })
    },
    ...(consumer.stop && {
      stop: async (context) => {
        try {
          check() // what was gathered for later is then not begun
        } finally {
          await consumer.stop?.(context)
        }
      },
    }),
  }
}

function leasedCursors(cursors: CursorStore, { check }: HeldLease): CursorStore {
  return {
    get: (...about) => cursors.get(...about),
    set: async (...about) => {
      check()
      await cursors.set(...about)
    },
    reset: (...about) => cursors.reset(...about),
  }
}

import type { Consumer } from '../core/consumer.ts'
import type { CursorStore } from '../core/cursor.ts'
import type { Event } from '../core/event.ts'
import { type HeldLease, type HoldLeaseOptions, holdLease, type LeaseSpec } from '../core/hold-lease.ts'
import { type RunOptions, type RunResult, type RunSpec, run } from '../core/run.ts'
import { forwardConsumer } from './forward-consumer.ts'

/** What a handler is given beside its event, or its events: also one of `batch`, `concurrent` or `ack`. */
export interface LeaseContext {
  readonly signal: AbortSignal
  /** Grows with each process that takes over: what is written to can refuse those that are smaller than one that it has seen. */
  readonly token: bigint
}

/** A consumer that one process of several runs: as `Consumer`, with a token. */
export interface LeasedConsumer extends Omit<Consumer, 'handle' | 'recover' | 'start'> {
  handle(event: Event, context: LeaseContext): void | Promise<void>
  recover?(error: unknown, event: Event, context: LeaseContext): void | Promise<void>
  /** `lease` is for work in the background: its `check` is called just before something begins, its `signal` tells that it is lost, also after an abort. */
  start?(context: {
    fail(error: unknown): void
    readonly signal: AbortSignal
    readonly lease: HeldLease
  }): void | Promise<void>
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
 * The same goes for what is still to be done after an abort: `LEASE_LOST` is then the `error` of the result.
 *
 * @example await supervise((o) => withLease({ leases, name: 'mailer', holder }, { stream, cursors, consumer }, o), { signal })
 */
export async function withLease(
  lease: LeaseSpec,
  { stream, cursors, consumer }: LeasedRunSpec,
  { onWait, share, monotonic, ...options }: WithLeaseOptions = {},
): Promise<RunResult> {
  const { signal, clock } = options
  const waiting = new AbortController()
  const onAbort = (): void => waiting.abort(signal?.reason)
  const detach = (): void => signal?.removeEventListener('abort', onAbort)
  signal?.addEventListener('abort', onAbort, { once: true })
  if (signal?.aborted) onAbort()
  let cursor = ''
  const work = async (lease: HeldLease): Promise<RunResult> => {
    detach() // from now on the signal of the lease tells of its loss alone, also while the run ends after an abort
    const either = signal === undefined ? lease.signal : AbortSignal.any([signal, lease.signal])
    const spec = { stream, cursors: leasedCursors(cursors, lease), consumer: leasedConsumer(consumer, lease) }
    const result = await run(spec, { ...options, signal: either })
    cursor = result.cursor
    return result
  }
  try {
    return await holdLease(lease, work, { signal: waiting.signal, clock, onWait, share, monotonic })
  } catch (error) {
    if (!signal?.aborted) throw error
    return { reason: 'aborted', cursor, ...(error === signal.reason ? {} : { error }) }
  } finally {
    detach()
  }
}

/** A process that was frozen may find only now that another one has taken over. */
function leasedConsumer(consumer: LeasedConsumer, lease: HeldLease): Consumer {
  const { token, check } = lease
  return {
    ...forwardConsumer(consumer as unknown as Consumer),
    ...(consumer.start && { start: (context) => consumer.start?.({ ...context, lease }) }),
    handle: (event, context) => {
      check()
      return consumer.handle(event, { ...context, token })
    },
    ...(consumer.recover && {
      recover: (error, event, context) => consumer.recover?.(error, event, { ...context, token }),
    }),
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

import { untilAborted } from './abort.ts'
import { type Clock, systemClock } from './clock.ts'
import { messageOf, OptionError, ReflexError } from './errors.ts'
import type { Grant, LeaseHolder, Leases } from './lease.ts'
import { type LeaseShare, leaseShare } from './lease-share.ts'

/** Which lease is held, and by whom. */
export interface LeaseSpec {
  readonly leases: Leases
  /** Names the lease: the route. */
  readonly name: string
  /** Names this process among all, for example by host, process id and something random. */
  readonly holder: string
  /** How long the lease outlives its holder, in ms, at least 100. Default: 10,000. */
  readonly ttlMs?: number | undefined
}

/** A lease while it is held. */
export interface HeldLease {
  /** Grows with each grant of this lease, whoever had it. */
  readonly token: bigint
  /** Aborts when the lease is lost, and when the signal of `holdLease` does. */
  readonly signal: AbortSignal
  /** Throws `LEASE_LOST` from when the lease has to be taken for lost. Called just before each write, in the same turn. */
  check(): void
}

/** Options of `holdLease`. */
export interface HoldLeaseOptions {
  /** Ends the waiting, and is handed on to the work. */
  readonly signal?: AbortSignal | undefined
  /** Resolve with undefined if another one has it, instead of waiting. Default: false. */
  readonly once?: boolean | undefined
  /** Is told who has the lease while it is waited for; undefined when it is free. Must not throw. */
  readonly onWait?: ((holder: string | undefined) => void) | undefined
  /** Leases that this process has, shared by all that it asks for. Default: this one alone. */
  readonly share?: LeaseShare | undefined
  /** Default: the machine's clock. Nothing but its `sleep` is used. */
  readonly clock?: Pick<Clock, 'sleep'> | undefined
  /** A clock that nobody sets, in ms. Default: `performance.now`. */
  readonly monotonic?: (() => number) | undefined
}

/** So much of the time to live is kept for what is under way when the lease is lost. */
const RESERVE = 0.2
/** A lease that another one has is looked at this often. */
const POLL_MS = 1000
/** Rule 6 leaves a second. */
const RELEASE_WITHIN_MS = 800

/**
 * Waits for a lease, does `work` while it is held, and frees it when the work has settled. It is renewed after each third of its
 * time to live. A renewal that fails or is refused is its loss, and so are four fifths of the time to live, by a clock that nobody
 * sets, since the last one that was granted was sent: `signal` aborts, and `check` throws. Resolves and rejects as `work` does;
 * where the lease was lost before the work had settled, and `signal` has not aborted, with `LEASE_LOST`, whatever became of the work.
 *
 * Whoever waits takes it within a poll of a clean end (a second, or a quarter of the time to live if that is shorter), and within
 * the time to live of a crash, a freeze or a loss of the network; later by what `share` leaves to others, as long as they do not
 * take it. A store that cannot be asked is an error.
 *
 * @example await holdLease({ leases, name: 'orders', holder }, ({ signal, check }) => work(signal), { signal })
 */
export function holdLease<T>(
  spec: LeaseSpec,
  work: (lease: HeldLease) => Promise<T>,
  options?: HoldLeaseOptions & { readonly once?: false | undefined },
): Promise<T>
/** With `once`, resolves with undefined where another one has the lease. */
export function holdLease<T>(
  spec: LeaseSpec,
  work: (lease: HeldLease) => Promise<T>,
  options: HoldLeaseOptions,
): Promise<T | undefined>
export async function holdLease<T>(
  { leases, name, holder, ttlMs = 10_000 }: LeaseSpec,
  work: (lease: HeldLease) => Promise<T>,
  options: HoldLeaseOptions = {},
): Promise<T | undefined> {
  const { signal, once = false, onWait, share = leaseShare(), clock = systemClock } = options
  const { monotonic = () => performance.now() } = options
  if (!Number.isSafeInteger(ttlMs) || ttlMs < 100)
    throw new OptionError(`the time to live of a lease must be an integer of at least 100 ms, but is ${ttlMs}`)
  const pollMs = Math.min(POLL_MS, ttlMs / 4)
  let sentAt = 0
  const deadline = (): number => sentAt + ttlMs * (1 - RESERVE)

  async function acquire(): Promise<Grant | undefined> {
    sentAt = monotonic()
    const grant = await untilAborted(leases.acquire(name, { holder, ttlMs, signal }), signal)
    return monotonic() < deadline() ? grant : undefined // one that comes so late is of no use
  }
  const find = async (): Promise<LeaseHolder | undefined> => {
    const found = await untilAborted(leases.get(name, { signal }), signal)
    return found?.holder === holder ? undefined : found
  }

  let freeSince: number | undefined
  for (;;) {
    signal?.throwIfAborted()
    const found = await find()
    onWait?.(found?.holder)
    const now = monotonic()
    freeSince = found === undefined ? (freeSince ?? now) : undefined
    const patienceMs = once ? 0 : Math.min(share.patienceMs(), ttlMs)
    if (freeSince !== undefined && now - freeSince >= patienceMs) {
      using _held = share.hold()
      const grant = await acquire()
      if (grant !== undefined) return await whileHeld(grant)
      freeSince = undefined
    }
    if (once) return undefined
    const waitMs = found === undefined ? patienceMs - (now - (freeSince ?? now)) : found.expiresInMs
    await clock.sleep(Math.min(pollMs, Math.max(10, waitMs)), signal)
  }

  /** A store that does not answer does not hold up the end: the lease expires then. */
  async function release(token: bigint): Promise<void> {
    const [late, done] = [new AbortController(), new AbortController()]
    clock.sleep(RELEASE_WITHIN_MS, done.signal).then(
      () => late.abort('late'),
      () => {},
    )
    await untilAborted(leases.release(name, { token, signal: late.signal }), late.signal).catch(() => {})
    done.abort('done')
  }

  async function whileHeld({ token }: Grant): Promise<T> {
    const ended = new AbortController()
    const lost = new AbortController()
    const lose = (why: string, cause?: unknown): void => {
      if (lost.signal.aborted) return
      const message = `the lease on ${JSON.stringify(name)} in ${leases.name} is lost, ${why}: another process may have the route by now; this one waits for it again`
      lost.abort(new ReflexError('LEASE_LOST', message, { cause }))
    }
    const check = (): void => {
      if (monotonic() >= deadline()) lose('since it could not be renewed in time')
      lost.signal.throwIfAborted()
    }
    async function renew(): Promise<void> {
      while (!lost.signal.aborted) {
        await clock.sleep(Math.max(0, sentAt + ttlMs / 3 - monotonic()), ended.signal)
        const sending = monotonic()
        const renewed = await leases.renew(name, { token, ttlMs, signal: ended.signal })
        if (!renewed) return lose('since another process has taken it')
        if (monotonic() >= deadline()) return lose('since it could not be renewed in time')
        sentAt = sending
      }
    }
    async function watch(): Promise<void> {
      while (!lost.signal.aborted) {
        await clock.sleep(Math.max(0, deadline() - monotonic()), ended.signal)
        if (monotonic() >= deadline()) lose('since it could not be renewed in time')
      }
    }

    renew().catch((error: unknown) => {
      if (!ended.signal.aborted) lose(`since it could not be renewed (${messageOf(error)})`, error)
    })
    watch().catch(() => {}) // ends with the work
    try {
      const either = signal === undefined ? lost.signal : AbortSignal.any([signal, lost.signal])
      const result = await work({ token, signal: either, check })
      if (!signal?.aborted) check()
      return result
    } catch (error) {
      if (!signal?.aborted) lost.signal.throwIfAborted() // what the work met then follows from it
      throw error
    } finally {
      ended.abort('ended') // a reason without a stack: nobody sees it
      // One that is lost expires, or is this holder's to take again; its store may be out of reach.
      if (!lost.signal.aborted) await release(token)
    }
  }
}

import { untilAborted } from '../core/abort.ts'
import { OptionError, ReflexError } from '../core/errors.ts'
import { type HeldLease, holdLease } from '../core/hold-lease.ts'
import type { LeaseShare } from '../core/lease-share.ts'
import type { Ended } from '../core/run.ts'
import type { RouteConfig } from './config/parse-config.ts'
import type { OpenContext } from './config/scheme.ts'
import type { ControlRecord } from './control/control-record.ts'
import { processName } from './control/process-name.ts'
import { type WatchedControl, wantedOf } from './control/watch-control.ts'

/**
 * Where a route is. `waiting` is between a failure and the next attempt, `standby` is while another process has the route, `paused`
 * and `stopped` are what an operator wanted.
 */
export type RouteState = 'starting' | 'running' | 'waiting' | 'standby' | 'paused' | 'stopped' | 'ended'

/** How a route is shared with other processes. */
export interface StandbyOptions {
  /** A process that dies keeps its routes from others for so long, in ms. */
  readonly leaseMs: number
  /** Counts the routes that this process has. */
  readonly share: LeaseShare
}

/** Options of `serveRoute`. */
export interface ServeRouteOptions {
  readonly control: WatchedControl
  readonly context: OpenContext
  /** Undefined: no other process has the route. */
  readonly standby: StandbyOptions | undefined
  /** Do not wait for an operator, or for another process: reject. */
  readonly once: boolean
  readonly signal: AbortSignal
  /** Is told of each turn; `text` is for a log, and without `about` the owner is the same. */
  tell(state: RouteState, about?: { readonly owner: string | undefined; readonly text?: string }): void
}

/** Forwards until `signal` aborts, or the source ends. */
export type Pump = (options: { readonly signal: AbortSignal; readonly lease: HeldLease | undefined }) => Promise<Ended>

/**
 * Makes the attempts of a route: each forwards while operators want it to run and, with standby, while this process holds the
 * route's lease. A route that is paused keeps its lease, one that is stopped gives it back. An attempt ends as `pump` does.
 */
export function serveRoute(route: RouteConfig, options: ServeRouteOptions): (pump: Pump) => Promise<Ended> {
  const { control, context, standby, once, signal, tell } = options
  const { name } = route
  /** Whether this process was the one that had the route, and so the one that has obeyed. */
  let mine = standby === undefined

  const insist = (): void => {
    if (once && wantedOf(control.record) !== 'running') throw notRunning(name, control.record)
  }
  /** Rejects with the reason of `until`. */
  const stay = async (state: 'paused' | 'stopped', until: AbortSignal): Promise<void> => {
    const owner = state === 'paused' && standby !== undefined ? processName : undefined
    const { by, at } = control.record ?? {}
    tell(state, { owner, text: `${state}, as ${by} wanted at ${at}: it goes on when it is resumed` })
    if (mine) control.obeys(state)
    using other = control.when((wanted) => wanted !== state)
    await untilAborted(new Promise<never>(() => {}), AbortSignal.any([until, other.signal])).catch(() => {})
    until.throwIfAborted()
  }
  /** Resolves with undefined when the route is to be stopped. */
  const forward = async (pump: Pump, until: AbortSignal, lease?: HeldLease): Promise<Ended | undefined> => {
    for (;;) {
      insist()
      const wanted = wantedOf(control.record)
      if (wanted === 'stopped') return undefined
      if (wanted === 'paused') {
        await stay('paused', until)
        continue
      }
      tell('starting')
      control.obeys('running')
      using other = control.when((wanted) => wanted !== 'running')
      const either = AbortSignal.any([until, other.signal])
      const ended = await pump({ signal: either, lease }).catch((error: unknown): Ended => {
        if (!either.aborted || error !== either.reason) throw error
        return { reason: 'aborted' }
      })
      if (ended.reason !== 'aborted' || signal.aborted) return ended
      if (!other.signal.aborted) until.throwIfAborted() // the lease is lost
    }
  }
  const forwardWithLease = async (
    pump: Pump,
    until: AbortSignal,
    { leaseMs, share }: StandbyOptions,
  ): Promise<Ended | undefined> => {
    await using place = await control.borrow()
    const { leases, leaseName } = place.store
    if (leases === undefined) throw new OptionError(`${name}: there are no leases where its checkpoints are kept`)
    if (context.createTables) await untilAborted(Promise.resolve(leases.createTable()), until)
    const work = async (lease: HeldLease): Promise<Ended | undefined> => {
      mine = true
      tell('starting', { owner: processName, text: `has the lease of the route, token ${lease.token}` })
      return forward(pump, lease.signal, lease)
    }
    let owner: string | undefined
    const onWait = (found: string | undefined): void => {
      mine = false
      control.obeys(undefined)
      owner = found
      tell('standby', { owner, ...(owner === undefined ? {} : { text: `standby, while ${owner} has the route` }) })
    }
    const spec = { leases, name: leaseName, holder: processName, ttlMs: leaseMs }
    const ended = await holdLease(spec, work, { signal: until, once, share, onWait })
    if (ended === undefined && once && !until.aborted) throw held(name, owner)
    return ended
  }

  return async (pump) => {
    for (;;) {
      tell('starting')
      await untilAborted(control.read(), signal)
      insist()
      if (wantedOf(control.record) === 'stopped') {
        await stay('stopped', signal)
        continue
      }
      using stopped = control.when((wanted) => wanted === 'stopped')
      const until = AbortSignal.any([signal, stopped.signal])
      try {
        const ended = standby === undefined ? await forward(pump, until) : await forwardWithLease(pump, until, standby)
        if (ended !== undefined) return ended
      } catch (error) {
        if (!stopped.signal.aborted || error !== stopped.signal.reason) throw error
      }
    }
  }
}

function notRunning(name: string, record: ControlRecord | undefined): ReflexError {
  return new ReflexError(
    'ROUTE_NOT_WANTED',
    `the route ${name} is ${record?.wanted}, as ${record?.by} wanted at ${record?.at}: resume it first`,
    { retriable: false },
  )
}

function held(name: string, owner = 'which has ended since'): ReflexError {
  return new ReflexError('ROUTE_HELD', `another process, ${owner}, has the route ${name}: stop that one, or wait`, {
    retriable: false,
  })
}

import { bridge } from '../bridge/bridge.ts'
import { leasedLetters } from '../bridge/leased-letters.ts'
import { leasedSink } from '../bridge/leased-sink.ts'
import { untilAborted } from '../core/abort.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import { isRetriable, ReflexError, RunError } from '../core/errors.ts'
import { combineObservers, type Observer, type Status, statusObserver } from '../core/observer.ts'
import type { Ended } from '../core/run.ts'
import type { Sink } from '../core/sink.ts'
import type { Source } from '../core/stream.ts'
import { type AttemptOptions, supervise } from '../core/supervise.ts'
import { unreadAfter } from '../observers/unread-after.ts'
import type { RouteConfig } from './config/parse-config.ts'
import { wantedOf, watchControl } from './control/watch-control.ts'
import { type OpenRoute, openRoute } from './open-route.ts'
import { type RouteState, type StandbyOptions, serveRoute } from './serve-route.ts'

/** Options of `startRoute`. */
export interface StartRouteOptions {
  /** Ends the route: what is being appended is confirmed and its checkpoint saved. */
  readonly signal: AbortSignal
  /** End at what is the source's head at the start; the first failure then ends the route. Default: false, never end. */
  readonly once?: boolean | undefined
  /** Tables that are missing are created. Default: false. */
  readonly createTables?: boolean | undefined
  /** Other processes may bridge the route as well: it is forwarded only while this one holds its lease. Default: alone. */
  readonly standby?: StandbyOptions | undefined
  /** After `signal`, what is not confirmed within this is abandoned, in ms. Default: 10,000. */
  readonly drainMs?: number | undefined
  readonly observer?: Observer | undefined
  /** Wraps the destination, as with tracing. */
  readonly wrapSink?: ((sink: Sink) => Sink) | undefined
  /** Is told when the route is paused, stopped, on standby or this process's turn. */
  readonly onTurn?: ((text: string) => void) | undefined
  /** Is told what an operator should know while all is well otherwise, for example which transaction holds the source up. */
  readonly onNote?: ((text: string) => void) | undefined
}

/** How a route ended. `failed`: for good, since trying again cannot help. */
export type RouteEnd = Ended | { readonly reason: 'failed'; readonly error: unknown }

/** A route at work. */
export interface RunningRoute {
  readonly name: string
  /** Its state now. Never rejects: a backlog that cannot be had is undefined, and so is the time of its oldest event. */
  status(): Promise<RouteStatus>
  /** Resolves when the route has ended; never rejects. */
  readonly ended: Promise<RouteEnd>
}

/** A snapshot of a route. */
export interface RouteStatus extends Status {
  readonly state: RouteState
  /** With standby, the process that has the route, this one or another; undefined where nobody has it, or without standby. */
  readonly owner?: string | undefined
}

/**
 * Starts a route: its bridge under `supervise`, with fresh connections for every attempt, so that nothing dead is used again.
 * Routes are independent: what ends one does not touch the others.
 */
export function startRoute(
  route: RouteConfig,
  {
    signal,
    once = false,
    createTables = false,
    standby,
    drainMs = 10_000,
    observer,
    wrapSink = (sink) => sink,
    onNote,
    onTurn,
  }: StartRouteOptions,
): RunningRoute {
  const { name, fromHead, transform } = route
  const status = statusObserver()
  let state: RouteState = 'starting'
  let owner: string | undefined
  let source: Source | undefined
  const told = new Set<string>()
  /** What attempts that come to nothing have to say is said once. */
  const note = (text: string): void => {
    if (!told.has(text)) onNote?.(text)
    told.add(text)
  }
  const states: Observer = {
    opened: () => {
      state = 'running'
    },
    saved: () => told.clear(),
    restarting: () => {
      state = 'waiting'
      owner = undefined // the lease is given back meanwhile
    },
  }
  const observers = combineObservers(states, status, observer)
  const context = { createTables, readOnly: false, note }

  const prepare = async (signal: AbortSignal): Promise<OpenRoute> => {
    const open = await openRoute(route, context)
    try {
      if (createTables) await untilAborted(open.createTables(), signal)
      return open
    } catch (error) {
      await close(open)
      throw error
    }
  }
  const close = async (open: AsyncDisposable): Promise<void> => {
    try {
      await open[Symbol.asyncDispose]()
    } catch (error) {
      observers.failed(error) // told, but it takes nothing back of what the attempt has done
    }
  }

  const control = watchControl(route, context)
  const serve = serveRoute(route, {
    ...{ control, context, standby, once, signal },
    tell: (now, about = { owner }) => {
      if (about.text !== undefined && (now !== state || about.owner !== owner)) onTurn?.(about.text)
      state = now
      owner = about.owner
    },
  })
  const attempt = async (options: AttemptOptions): Promise<Ended> => {
    try {
      return await serve(async ({ signal, lease }) => {
        const open = await prepare(signal)
        try {
          source = open.source
          const sink = wrapSink(lease === undefined ? open.sink : leasedSink(open.sink, lease))
          const letters = open.deadLetters
          const deadLetters = letters && lease ? leasedLetters(letters, lease) : letters
          return await bridge(
            { name, ...open, sink, deadLetters, transform },
            { ...options, signal, clock: systemClock, toHead: once, fromHead },
          )
        } finally {
          source = undefined
          await close(open)
        }
      })
    } catch (error) {
      if (!signal.aborted && !(error instanceof RunError)) options.observer.failed?.(error) // a bridge tells its own
      throw error
    }
  }

  /** The pause before the next attempt ends early when operators want something else than when it began. */
  const sleep: Clock['sleep'] = async (ms, until) => {
    const before = wantedOf(control.record)
    using other = control.when((wanted) => state === 'waiting' && wanted !== before)
    const either = until === undefined ? other.signal : AbortSignal.any([until, other.signal])
    await systemClock.sleep(ms, either).catch(() => until?.throwIfAborted())
  }

  const run = async (): Promise<RouteEnd> => {
    try {
      if (!once) {
        const clock = { ...systemClock, sleep }
        // What is abandoned is abandoned below.
        return await supervise(attempt, { signal, graceMs: drainMs + 1000, clock, observer: observers })
      }
      return await attempt({ signal, clock: systemClock, observer: observers })
    } catch (error) {
      if (!signal.aborted || !isRetriable(error)) return { reason: 'failed', error }
      return { reason: 'aborted', error }
    } finally {
      await close(control)
    }
  }
  const ended = async (): Promise<RouteEnd> => {
    const { reason, error } = await drained(run(), { name, signal, drainMs })
    state = 'ended'
    return reason !== 'failed' && error === signal.reason ? { reason } : { reason, error }
  }
  const unread = unreadAfter()

  return {
    name,
    ended: ended(),
    status: async () => {
      const now = { ...(await status.status()), blocked: source?.blocked?.() }
      const following = now.position === undefined ? {} : await unread(source, now.position)
      return { ...now, state, owner, ...following }
    },
  }
}

/** How a route ends; once the signal has aborted, no later than after the time that it has to drain. */
async function drained(
  ending: Promise<RouteEnd>,
  { name, signal, drainMs }: { readonly name: string; readonly signal: AbortSignal; readonly drainMs: number },
): Promise<RouteEnd> {
  const settled = new AbortController()
  const late = async (): Promise<RouteEnd> => {
    await untilAborted(ending, signal).catch(() => {})
    await systemClock.sleep(drainMs, settled.signal)
    const error = new ReflexError(
      'DRAIN_EXCEEDED',
      `what the route ${name} had under way was not confirmed within ${drainMs} ms and was abandoned: what of it has arrived is found out when the route is started again`,
    )
    return { reason: 'aborted', error }
  }
  try {
    return await Promise.race([ending, late()])
  } finally {
    settled.abort()
  }
}

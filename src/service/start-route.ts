import { bridge } from '../bridge/bridge.ts'
import { untilAborted } from '../core/abort.ts'
import { systemClock } from '../core/clock.ts'
import { isRetriable } from '../core/errors.ts'
import type { Cursor } from '../core/event.ts'
import { combineObservers, type Observer, type Status, statusObserver } from '../core/observer.ts'
import { oldestUnread } from '../core/oldest-unread.ts'
import type { Ended } from '../core/run.ts'
import type { Source } from '../core/stream.ts'
import { type AttemptOptions, supervise } from '../core/supervise.ts'
import { type OpenRoute, openRoute } from './open-route.ts'
import type { RouteConfig } from './parse-config.ts'

/** Options of `startRoute`. */
export interface StartRouteOptions {
  /** Ends the route: what is being appended is confirmed and its checkpoint saved. */
  readonly signal: AbortSignal
  /** End at what is the source's head at the start; the first failure then ends the route. Default: false, never end. */
  readonly once?: boolean | undefined
  /** Tables that are missing are created. Default: false. */
  readonly createTables?: boolean | undefined
  readonly observer?: Observer | undefined
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
  /** `waiting` is between a failure and the next attempt. */
  readonly state: 'starting' | 'running' | 'waiting' | 'ended'
}

/** A status does not wait longer for the backlog. */
const UNREAD_WITHIN_MS = 2000
/** Counting a backlog may be work for the server: the source is asked for no more than one part of the time in so many. */
const UNREAD_SHARE = 20

/**
 * Starts a route: its bridge under `supervise`, with fresh connections for every attempt, so that nothing dead is used again.
 * Routes are independent: what ends one does not touch the others.
 */
export function startRoute(
  route: RouteConfig,
  { signal, once = false, createTables = false, observer, onNote }: StartRouteOptions,
): RunningRoute {
  const { name, fromHead } = route
  const status = statusObserver()
  let state: RouteStatus['state'] = 'starting'
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
    },
  }
  const observers = combineObservers(states, status, observer)

  const prepare = async (): Promise<OpenRoute> => {
    const open = await openRoute(route, { createTables, readOnly: false, note })
    try {
      if (createTables) await untilAborted(open.createTables(), signal)
      return open
    } catch (error) {
      await close(open)
      throw error
    }
  }
  const close = async (open: OpenRoute): Promise<void> => {
    try {
      await open[Symbol.asyncDispose]()
    } catch (error) {
      observers.failed(error) // told, but it takes nothing back of what the attempt has done
    }
  }

  const attempt = async (options: AttemptOptions): Promise<Ended> => {
    state = 'starting'
    let open: OpenRoute
    try {
      open = await prepare()
    } catch (error) {
      if (!signal.aborted) options.observer.failed?.(error)
      throw error
    }
    try {
      source = open.source
      return await bridge({ name, ...open }, { ...options, toHead: once, fromHead })
    } finally {
      source = undefined
      await close(open)
    }
  }

  const run = async (): Promise<RouteEnd> => {
    try {
      if (!once) return await supervise(attempt, { signal, observer: observers })
      return await attempt({ signal, clock: systemClock, observer: observers })
    } catch (error) {
      if (!signal.aborted || !isRetriable(error)) return { reason: 'failed', error }
      return { reason: 'aborted', error }
    } finally {
      state = 'ended'
    }
  }
  const ended = async (): Promise<RouteEnd> => {
    const { reason, error } = await run()
    return reason !== 'failed' && error === signal.reason ? { reason } : { reason, error }
  }

  type Unread = Pick<Status, 'backlog' | 'oldestUnreadAt'>
  let known: Unread | undefined
  let askAgainAt = 0
  const unreadAfter = async (position: Cursor): Promise<Unread | undefined> => {
    const askedAt = performance.now()
    if (source === undefined) known = undefined // nobody can tell
    if (source === undefined || askedAt < askAgainAt) return known
    askAgainAt = askedAt + UNREAD_WITHIN_MS
    const limit = { signal: AbortSignal.timeout(UNREAD_WITHIN_MS) }
    // The bridge meets the same failure, and tells it.
    const backlog = await source.backlog?.(position, limit).catch(() => undefined)
    const oldest =
      backlog?.count === 0n ? undefined : await oldestUnread(source, position, limit).catch(() => undefined)
    known = { backlog, oldestUnreadAt: oldest?.timestamp }
    const now = performance.now()
    askAgainAt = now + (now - askedAt) * UNREAD_SHARE
    return known
  }

  return {
    name,
    ended: ended(),
    status: async () => {
      const now = { ...(await status.status()), blocked: source?.blocked?.() }
      return { ...now, state, ...(now.position === undefined ? {} : await unreadAfter(now.position)) }
    },
  }
}

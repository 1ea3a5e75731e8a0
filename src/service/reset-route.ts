import { leasedSink } from '../bridge/leased-sink.ts'
import { type MovedCheckpoint, moveCheckpoint } from '../bridge/move-checkpoint.ts'
import type { Backlog, Source } from '../core/stream.ts'
import type { RouteConfig } from './config/parse-config.ts'
import { type WhileStoppedOptions, whileStopped } from './control/while-stopped.ts'
import { openRoute } from './open-route.ts'
import { positionOf } from './position-of.ts'

/** What a reset has done. */
export interface ResetRoute extends MovedCheckpoint {
  /** When, epoch in ms. */
  readonly at: number
  /** How much lies in between, and is never forwarded; undefined where the source cannot tell. */
  readonly passed: Backlog | undefined
}

/** Options of `resetRoute`. */
export interface ResetRouteOptions extends WhileStoppedOptions {
  /** Who moves it, for the log of the route. */
  readonly by: string
}

/**
 * Moves a route forward to `to`: a cursor, `head` or a time, and notes that in its log. Throws `ROUTE_AT_WORK` if a process may run the route, and as
 * `moveCheckpoint` does.
 */
export async function resetRoute(
  route: RouteConfig,
  to: string,
  { by, ...options }: ResetRouteOptions,
): Promise<ResetRoute> {
  const { name } = route
  const { createTables } = options
  return await whileStopped(route, options, async ({ signal, check }) => {
    await using open = await openRoute(route, { createTables, readOnly: false })
    if (createTables) await open.createTables()
    const spec = { ...open, name, sink: leasedSink(open.sink, { check }) }
    const position = await positionOf(open.source, to, signal)
    const at = Date.now()
    const moved = await moveCheckpoint(spec, position, { said: { by, at }, signal })
    return { ...moved, at, passed: await between(open.source, moved, signal) }
  })
}

async function between(
  source: Source,
  { from, to }: MovedCheckpoint,
  signal: AbortSignal,
): Promise<Backlog | undefined> {
  try {
    const [all, left] = [await source.backlog?.(from, { signal }), await source.backlog?.(to, { signal })]
    if (all === undefined || left === undefined) return undefined
    return { count: all.count > left.count ? all.count - left.count : 0n, unit: all.unit }
  } catch {
    return undefined // the route is moved: what is told of it is no reason to fail
  }
}

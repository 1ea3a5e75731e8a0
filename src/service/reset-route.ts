import { leasedSink } from '../bridge/leased-sink.ts'
import { type MovedCheckpoint, moveCheckpoint } from '../bridge/move-checkpoint.ts'
import type { Backlog, Source } from '../core/stream.ts'
import type { RouteConfig } from './config/parse-config.ts'
import { type WhileStoppedOptions, whileStopped } from './control/while-stopped.ts'
import { openRoute } from './open-route.ts'
import { positionOf } from './position-of.ts'

/** What a reset has done. */
export interface ResetRoute extends MovedCheckpoint {
  /** How much lies in between, and is never forwarded; undefined where the source cannot tell. */
  readonly passed: Backlog | undefined
}

/**
 * Moves a route forward to `to`: a cursor, `head` or a time. Throws `ROUTE_AT_WORK` if a process may run the route, and as
 * `moveCheckpoint` does.
 */
export async function resetRoute(route: RouteConfig, to: string, options: WhileStoppedOptions): Promise<ResetRoute> {
  const { name } = route
  const { createTables } = options
  return await whileStopped(route, options, async ({ signal, check }) => {
    await using open = await openRoute(route, { createTables, readOnly: false })
    if (createTables) await open.createTables()
    const spec = { ...open, name, sink: leasedSink(open.sink, { check }) }
    const position = await positionOf(open.source, to, signal)
    const moved = await moveCheckpoint(spec, position, { signal })
    return { ...moved, passed: await between(open.source, moved, signal) }
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

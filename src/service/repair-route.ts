import { bridge } from '../bridge/bridge.ts'
import { leasedLetters } from '../bridge/leased-letters.ts'
import { leasedSink } from '../bridge/leased-sink.ts'
import type { RouteConfig } from './config/parse-config.ts'
import { type WhileStoppedOptions, whileStopped } from './control/while-stopped.ts'
import { openRoute } from './open-route.ts'

/**
 * Has a destination that lost its tail refilled, as the route does when it opens it, and forwards what is there. Resolves with what was
 * found and mended, in words; empty if the destination lost nothing by its own counts: what is missing in its middle cannot be
 * put back in order. Throws `ROUTE_AT_WORK` if a process may run the route.
 */
export async function repairRoute(route: RouteConfig, options: WhileStoppedOptions): Promise<string[]> {
  const { name, fromHead, transform } = route
  return await whileStopped(route, options, async ({ signal, check }) => {
    await using open = await openRoute(route, { createTables: false, readOnly: false })
    const repairs: string[] = []
    const deadLetters = open.deadLetters && leasedLetters(open.deadLetters, { check })
    const spec = { name, transform, ...open, sink: leasedSink(open.sink, { check }), deadLetters }
    const { reason, error } = await bridge(spec, {
      signal,
      toHead: true,
      fromHead,
      observer: { repaired: (text) => repairs.push(text) },
    })
    signal.throwIfAborted() // stopped, or the lease is lost
    if (reason === 'aborted') throw error
    return repairs
  })
}

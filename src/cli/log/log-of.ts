import { parseCheckpoint, type RouteCheckpoint } from '../../bridge/checkpoint.ts'
import { type LogEntry, readLog } from '../../bridge/route-log.ts'
import { isMissing } from '../../service/check-route.ts'
import { loadConfig } from '../../service/config/load-config.ts'
import type { RouteConfig } from '../../service/config/parse-config.ts'
import { namedRoutes } from '../../service/control/route-actions.ts'
import { printable } from '../printable.ts'
import { stopSignals } from '../stop-signals.ts'

/** Options of `logOf`. */
export interface LogOfOptions {
  /** The names of the routes; all for none. */
  readonly routes: readonly string[]
  /** One object an entry instead of text. */
  readonly json: boolean
}

/**
 * Prints what operators have done to routes of a configuration file: nothing where the store of checkpoints is still to be created. Throws
 * what such a store throws, and the signal's reason.
 */
export async function logOf(path: string, { routes: names, json }: LogOfOptions): Promise<void> {
  const { routes, createTables } = await loadConfig(path, process.env)
  using stopping = stopSignals()
  process.stdout.on('error', stopping.stop) // who read it has gone
  for (const route of namedRoutes(routes, names)) {
    const entries = await entriesOf(route, stopping.signal).catch((error: unknown) => {
      if (createTables && isMissing(error)) return []
      throw error
    })
    for (const entry of entries) console.log(json ? asJson(route.name, entry) : printable(asText(route.name, entry)))
    if (entries.length === 0 && !json) console.log(`${route.name}: no event was skipped, and nothing was reset`)
  }
}

async function entriesOf({ name, checkpoints }: RouteConfig, signal: AbortSignal): Promise<readonly LogEntry[]> {
  await using opened = await checkpoints.open({ createTables: false, readOnly: true })
  const checkpoint = parseCheckpoint(name, await opened.part.get(name, { signal })) ?? {}
  const { skips = [] }: Partial<RouteCheckpoint> = checkpoint
  const all = await readLog({ name, checkpoints: opened.part, checkpoint }, { signal })
  // The newest skip is still in the checkpoint; one that was being moved into the log when a process died stands in both.
  const newer = skips.map((skip): LogEntry => ({ skip }))
  const once = new Map([...all, ...newer].map((entry) => [JSON.stringify(entry), entry]))
  return [...once.values()].sort((a, b) => (a.skip ?? a.move).at - (b.skip ?? b.move).at)
}

function asJson(route: string, { skip, move }: LogEntry): string {
  const at = (ms: number): string => new Date(ms).toISOString()
  if (skip !== undefined)
    return JSON.stringify({ route, at: at(skip.at), by: skip.by, did: 'skip', eventId: skip.eventId, why: skip.why })
  return JSON.stringify({ route, at: at(move.at), by: move.by, did: 'reset', from: move.from, to: move.to })
}

function asText(route: string, { skip, move }: LogEntry): string {
  const { at, by } = skip ?? move
  const what =
    skip === undefined
      ? `reset it from ${move.from === '' ? 'the start' : move.from} to ${move.to}`
      : `skipped event ${skip.eventId}: ${skip.why}`
  return `${route}: ${new Date(at).toISOString()} ${by} ${what}`
}

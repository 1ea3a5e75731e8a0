import { OptionError } from '../../core/errors.ts'
import { loadConfig } from '../../service/config/load-config.ts'
import type { RouteConfig } from '../../service/config/parse-config.ts'
import { namedRoutes } from '../../service/control/route-actions.ts'
import { purgeHoldersOf } from '../../service/purge-holders-of.ts'
import type { PurgeProgress } from '../../sql/purge-table.ts'
import { stopSignals } from '../stop-signals.ts'

/** Options of `purgeRoute`. */
export interface PurgeRouteOptions {
  /** Rows that are younger stay, in ms. */
  readonly keep: number
  readonly except?: readonly string[]
  readonly dryRun?: true
  readonly json?: true
}

/** A line about the progress is printed this often. */
const PROGRESS_EVERY_MS = 1000

/**
 * Purges the source of a route of a configuration file, and prints what was deleted. Resolves with the exit code, 130 if it was stopped.
 * Throws with nothing deleted where that is refused.
 */
export async function purgeRoute(path: string, name: string, options: PurgeRouteOptions): Promise<0 | 130> {
  const { keep: keepMs, except = [], dryRun = false, json = false } = options
  const { routes } = await loadConfig(path, process.env)
  const [route] = namedRoutes(routes, [name]) as [RouteConfig]
  using stopping = stopSignals()
  await using source = await route.source.open({ createTables: false, readOnly: true })
  if (source.purge === undefined) {
    throw new OptionError(
      `the source of the route ${name}, ${route.source.name}, is no table: what is kept there is set at its server`,
    )
  }
  await using holders = await purgeHoldersOf(route, routes, { except })
  await holders.refuseUnread()
  const say = progressOf(dryRun)
  const { cursors, consumers, except: exempt } = holders
  let progress: PurgeProgress & { readonly heldBy?: string } = { removed: 0, to: '0' }
  try {
    progress = await source.purge({
      ...{ cursors, consumers, except: exempt, keepMs, dryRun, signal: stopping.signal },
      onProgress: (at) => {
        progress = at
        say(at)
      },
    })
  } catch (error) {
    if (!stopping.signal.aborted) throw error
  }
  const { removed, to, heldBy } = progress
  if (json) console.log(JSON.stringify({ route: name, removed, to, heldBy, dryRun, done: heldBy !== undefined }))
  else {
    const what = `${removed.toLocaleString('en')} rows ${dryRun ? 'would be deleted' : 'deleted'}`
    const end = heldBy === undefined ? 'stopped: the same command goes on' : `${heldBy} has read least`
    console.log(`${name}: ${what}${removed === 0 ? '' : `, up to ${to}`}; ${end}`)
  }
  return heldBy === undefined ? 130 : 0
}

/** Says on stderr how far it is, now and then. */
function progressOf(dryRun: boolean): (at: PurgeProgress) => void {
  let saidAt = performance.now()
  return ({ removed, to }) => {
    if (performance.now() - saidAt < PROGRESS_EVERY_MS) return
    saidAt = performance.now()
    const what = dryRun ? 'rows would be deleted' : 'rows deleted'
    process.stderr.write(`${removed.toLocaleString('en')} ${what} so far, up to ${to}\n`)
  }
}

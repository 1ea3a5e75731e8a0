import { systemClock } from '../../core/clock.ts'
import { loadConfig } from '../../service/config/load-config.ts'
import type { RouteConfig } from '../../service/config/parse-config.ts'
import type { ControlRecord, Wanted } from '../../service/control/control-record.ts'
import { openControl } from '../../service/control/open-control.ts'
import { namedRoutes, type RouteActions } from '../../service/control/route-actions.ts'
import { printable } from '../printable.ts'
import { stopSignals } from '../stop-signals.ts'
import { operatorName } from './operator-name.ts'

/** Options of `steerRoutes`. */
export interface SteerRoutesOptions {
  /** Routes; all for none. */
  readonly names: readonly string[]
  /** How long the process that has a route is waited for, in ms. */
  readonly wait: number
  readonly json?: boolean
}

const wants: Readonly<Record<keyof RouteActions, Wanted>> = { pause: 'paused', resume: 'running', stop: 'stopped' }
/** What the process has written is looked for this often. */
const LOOK_EVERY_MS = 100

/** Stores what is wanted of routes of a configuration file, waits until it is obeyed, and prints a line for each. Throws for the first that fails. */
export async function steerRoutes(
  action: keyof RouteActions,
  path: string,
  { names, wait, json = false }: SteerRoutesOptions,
): Promise<void> {
  const config = await loadConfig(path, process.env)
  const routes = namedRoutes(config.routes, names)
  using stopping = stopSignals()
  const wanted = wants[action]
  const outcomes = await Promise.allSettled(
    routes.map(async (route) => {
      const record = await steer(route, wanted, { wait, signal: stopping.signal })
      const { name } = route
      console.log(json ? jsonLine(name, wanted, record) : printable(`${name}: ${inWords(wanted, record, wait)}`))
    }),
  )
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
}

async function steer(
  route: RouteConfig,
  wanted: Wanted,
  { wait, signal }: { readonly wait: number; readonly signal: AbortSignal },
): Promise<ControlRecord | undefined> {
  await using control = await openControl(route, { createTables: false, readOnly: false })
  let record = await control.want(wanted, { by: operatorName() })
  const until = performance.now() + wait
  while (record?.wanted === wanted && record.obeyed === undefined && performance.now() < until && !signal.aborted) {
    await systemClock.sleep(LOOK_EVERY_MS, signal).catch(() => {}) // what was found so far is printed
    record = await control.read()
  }
  return record
}

function inWords(wanted: Wanted, record: ControlRecord | undefined, wait: number): string {
  if (record === undefined) return 'running: nobody has paused or stopped it'
  if (record.wanted !== wanted) return `${record.wanted} by now, as ${record.by} wanted at ${record.at}`
  const stored = `${wanted}, as ${record.by} wanted at ${record.at}`
  if (record.obeyed !== undefined) return `${stored}; ${record.obeyed.by} has obeyed`
  return `${stored}; no process has said within ${wait} ms that it obeys: one that runs the route, now or later, will`
}

function jsonLine(route: string, wanted: Wanted, record: ControlRecord | undefined): string {
  const { by = null, at = null, obeyed = null } = record ?? {}
  return JSON.stringify({ route, wanted: record?.wanted ?? wanted, by, at, obeyed })
}

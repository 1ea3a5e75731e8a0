import { loadConfig } from '../../service/config/load-config.ts'
import type { RouteConfig } from '../../service/config/parse-config.ts'
import { namedRoutes } from '../../service/control/route-actions.ts'
import { resetRoute } from '../../service/reset-route.ts'
import { printable } from '../printable.ts'
import { operatorName } from '../steer/operator-name.ts'
import { stopSignals } from '../stop-signals.ts'

/** Options of `resetOf`. */
export interface ResetOfOptions {
  readonly route: string
  /** A cursor, `head` or a time. */
  readonly to: string
  readonly json?: boolean
}

/** Moves a route of a configuration file, and prints that. Throws as `resetRoute` does. */
export async function resetOf(path: string, { route: name, to, json = false }: ResetOfOptions): Promise<void> {
  const { routes, standby, createTables } = await loadConfig(path, process.env)
  const [route] = namedRoutes(routes, [name]) as [RouteConfig]
  using stopping = stopSignals()
  const by = operatorName()
  const onWait = (text: string): void => void process.stderr.write(`${printable(text)}\n`)
  const moved = await resetRoute(route, to, { by, signal: stopping.signal, standby, createTables, onWait })
  const { from, to: position, lostAfter, passed } = moved
  const at = new Date(moved.at).toISOString()
  if (json) {
    const count = passed === undefined ? null : { count: String(passed.count), unit: passed.unit }
    console.log(JSON.stringify({ route: name, from, to: position, lostAfter, passed: count, by, at }))
    return
  }
  if (from === position && lostAfter === undefined) {
    console.log(printable(`${name}: stands at ${position} already: nothing is moved`))
    return
  }
  const left = passed === undefined ? '' : `; ${passed.count.toLocaleString('en')} ${passed.unit} are passed over`
  const lost =
    lostAfter === undefined
      ? ''
      : `; what the destination has lost after ${lostAfter || 'the start'} is given up, up to there, since the source no longer has all of it`
  console.log(printable(`${name}: moved from ${from || 'the start'} to ${position} by ${by} at ${at}${left}${lost}`))
}

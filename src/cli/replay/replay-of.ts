import { loadConfig } from '../../service/config/load-config.ts'
import type { RouteConfig } from '../../service/config/parse-config.ts'
import { namedRoutes } from '../../service/control/route-actions.ts'
import { replayRoute } from '../../service/replay-route.ts'
import { printable } from '../printable.ts'
import { stopSignals } from '../stop-signals.ts'

/** Options of `replayOf`. */
export interface ReplayOfOptions {
  readonly route: string
  readonly into: string
  readonly from?: string
  readonly to: string
  readonly json?: boolean
}

const ERASE_LINE = '\r\x1b[2K'
const DRAW_EVERY_MS = 200
/** Elsewhere than on a terminal. */
const LINE_EVERY_MS = 5000

/** Replays a route of a configuration file. Resolves with the exit code, 130 if it was stopped. Throws as `replayRoute` does. */
export async function replayOf(path: string, options: ReplayOfOptions): Promise<0 | 130> {
  const { route: name, into, from, to, json = false } = options
  const { routes } = await loadConfig(path, process.env)
  const [route] = namedRoutes(routes, [name]) as [RouteConfig]
  const terminal = process.stderr.isTTY && process.env['TERM'] !== 'dumb'
  let forwarded = 0
  let shownAt = performance.now()
  const show = (cursor: string): void => {
    const now = performance.now()
    if (now - shownAt < (terminal ? DRAW_EVERY_MS : LINE_EVERY_MS)) return
    shownAt = now
    const line = printable(`${name}: ${forwarded.toLocaleString('en')} events forwarded, at ${cursor}`)
    process.stderr.write(terminal ? `${ERASE_LINE}${line.slice(0, (process.stderr.columns || 80) - 1)}` : `${line}\n`)
  }
  using stopping = stopSignals()
  const replayed = await replayRoute(route, {
    ...{ into, from, to, routes, signal: stopping.signal },
    observer: {
      progress: ({ handled, cursor }) => {
        forwarded += handled
        show(cursor)
      },
    },
  }).finally(() => {
    if (terminal) process.stderr.write(ERASE_LINE)
  })
  const { done, cursor } = replayed
  if (json) console.log(JSON.stringify({ route: name, ...replayed, forwarded }))
  else {
    const end = done ? 'done' : 'stopped: the same command goes on'
    console.log(
      printable(
        `${name}: ${forwarded.toLocaleString('en')} events forwarded into ${replayed.into}, up to ${cursor || 'the start'}; ${end}`,
      ),
    )
  }
  return done ? 0 : 130
}

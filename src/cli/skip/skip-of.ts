import { skipEvent } from '../../bridge/skip-event.ts'
import { loadConfig } from '../../service/config/load-config.ts'
import type { RouteConfig } from '../../service/config/parse-config.ts'
import { namedRoutes } from '../../service/control/route-actions.ts'
import { printable } from '../printable.ts'
import { operatorName } from '../steer/operator-name.ts'
import { stopSignals } from '../stop-signals.ts'

/** Options of `skipOf`. */
export interface SkipOfOptions {
  readonly route: string
  /** Of the event, in the source. */
  readonly id: string
  readonly why: string
  readonly json?: boolean
}

/** Skips an event of a route of a configuration file, and prints that. Throws as `skipEvent` does. */
export async function skipOf(path: string, { route: name, id, why, json = false }: SkipOfOptions): Promise<void> {
  const { routes } = await loadConfig(path, process.env)
  const [route] = namedRoutes(routes, [name]) as [RouteConfig]
  using stopping = stopSignals()
  const { signal } = stopping
  await using source = await route.source.open({ createTables: false, readOnly: true })
  await using checkpoints = await route.checkpoints.open({ createTables: false, readOnly: false })
  const { skip, repeated } = await skipEvent(
    { name, source: source.part, checkpoints: checkpoints.part },
    { eventId: id, by: operatorName(), at: Date.now(), why },
    { fromHead: route.fromHead, signal },
  )
  const at = new Date(skip.at).toISOString()
  if (json) console.log(JSON.stringify({ route: name, ...skip, at, repeated }))
  else
    console.log(
      printable(
        `${name}: event ${id} is ${repeated ? 'already ' : ''}skipped, as ${skip.by} said at ${at}: ${skip.why}`,
      ),
    )
}

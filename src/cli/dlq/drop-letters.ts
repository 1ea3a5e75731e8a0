import { loadConfig } from '../../service/config/load-config.ts'
import type { RouteConfig } from '../../service/config/parse-config.ts'
import { namedRoutes } from '../../service/control/route-actions.ts'
import { routeLetters } from '../../service/route-letters.ts'
import { printable } from '../printable.ts'
import { stopSignals } from '../stop-signals.ts'
import { letterJson } from './letter-json.ts'

/** Gives up the dead letters of these events of a route, and prints each. */
export async function dropLetters(
  path: string,
  { route: name, ids, json }: { readonly route: string; readonly ids: readonly string[]; readonly json: boolean },
): Promise<void> {
  const { routes, createTables } = await loadConfig(path, process.env)
  const [route] = namedRoutes(routes, [name]) as [RouteConfig]
  using stopping = stopSignals()
  await using letters = await routeLetters(route, { createTables, readOnly: false })
  const wanted = new Set(ids)
  for await (const letter of letters.list('open', stopping.signal)) {
    const { eventId } = letter
    if (!wanted.delete(eventId)) continue
    await letters.close(letter)
    if (json) console.log(JSON.stringify({ ...letterJson(name, letter), dropped: true }))
    else console.log(printable(`${name}: the letter of event ${eventId} is dropped`))
    if (wanted.size === 0) break
  }
  for (const eventId of wanted) {
    if (json) console.log(JSON.stringify({ route: name, eventId, dropped: false }))
    else console.log(printable(`${name}: there is no open letter of event ${eventId}`))
  }
}

import { loadConfig } from '../../service/config/load-config.ts'
import { namedRoutes } from '../../service/control/route-actions.ts'
import { routeLetters } from '../../service/route-letters.ts'
import { printable } from '../printable.ts'
import { stopSignals } from '../stop-signals.ts'
import { letterJson } from './letter-json.ts'

/** Prints the open dead letters of routes of a configuration file; of all that have some for no names. */
export async function listLetters(
  path: string,
  { routes: names, json }: { readonly routes: readonly string[]; readonly json: boolean },
): Promise<void> {
  const { routes } = await loadConfig(path, process.env)
  using stopping = stopSignals()
  for (const route of namedRoutes(routes, names)) {
    if (names.length === 0 && route.deadLetters === undefined) continue
    await using letters = await routeLetters(route, { readOnly: true })
    for await (const letter of letters.list('open', stopping.signal)) {
      const { eventId, event, message } = letter
      const key = event === undefined ? '' : ` of ${JSON.stringify(event.foreignId)}`
      if (json) console.log(JSON.stringify(letterJson(route.name, letter)))
      else console.log(printable(`${route.name}: event ${eventId}${key}: ${message}`))
    }
  }
}

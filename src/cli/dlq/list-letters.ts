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
  const { routes, createTables } = await loadConfig(path, process.env)
  using stopping = stopSignals()
  const asked = namedRoutes(routes, names).filter(({ deadLetters }) => names.length > 0 || deadLetters !== undefined)
  if (asked.length === 0 && !json) console.log('no route has dead letters')
  for (const route of asked) {
    await using letters = await routeLetters(route, { createTables, readOnly: true })
    let count = 0
    for await (const letter of letters.list('open', stopping.signal)) {
      const { eventId, event, message } = letter
      count++
      const key = event === undefined ? '' : ` of ${JSON.stringify(event.foreignId)}`
      if (json) console.log(JSON.stringify(letterJson(route.name, letter)))
      else console.log(printable(`${route.name}: event ${eventId}${key}: ${message}`))
    }
    if (count === 0 && !json) console.log(`${route.name}: no dead letter is open`)
  }
}

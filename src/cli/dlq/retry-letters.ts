import { codeOf, messageOf } from '../../core/errors.ts'
import { loadConfig } from '../../service/config/load-config.ts'
import type { RouteConfig } from '../../service/config/parse-config.ts'
import { namedRoutes } from '../../service/control/route-actions.ts'
import { type RetriedLetter, routeLetters } from '../../service/route-letters.ts'
import { printable } from '../printable.ts'
import { stopSignals } from '../stop-signals.ts'

/** A line about the progress is printed this often. */
const PROGRESS_EVERY_MS = 1000

/**
 * Writes the events of dead letters of a route to its source anew, those of these events or all, and prints each. Resolves with the exit
 * code: 1 if a letter could not be retried.
 */
export async function retryLetters(
  path: string,
  { route: name, ids, json }: { readonly route: string; readonly ids: readonly string[]; readonly json: boolean },
): Promise<0 | 1> {
  const { routes, createTables } = await loadConfig(path, process.env)
  const [route] = namedRoutes(routes, [name]) as [RouteConfig]
  using stopping = stopSignals()
  await using letters = await routeLetters(route, { createTables, readOnly: false })
  const others = routes.filter((each) => each !== route && each.source.name === route.source.name)
  const missing = new Set(ids)
  const chosen = ids.length === 0 ? undefined : new Set(ids)
  const say = progress()
  let open = 0
  const onOpen = (count: number): void => {
    open = count
    say.of(count)
    if (count > 0 && others.length > 0) {
      const names = others.map((each) => each.name).join(', ')
      process.stderr.write(`routes from the same source get the events too: ${names}\n`)
    }
  }
  let failed = false
  for await (const letter of letters.retry({ ids: chosen, onOpen, signal: stopping.signal })) {
    missing.delete(letter.eventId)
    failed ||= letter.newId === undefined
    console.log(json ? JSON.stringify(retriedJson(name, letter)) : printable(retriedText(name, letter)))
    say.next()
  }
  if (open === 0 && chosen === undefined && !json) console.log(`${name}: no dead letter is open`)
  for (const eventId of missing) {
    if (json) console.log(JSON.stringify({ route: name, eventId, retried: false }))
    else console.log(printable(`${name}: there is no open letter of event ${eventId}`))
  }
  return failed ? 1 : 0
}

function retriedJson(route: string, { eventId, foreignId, newId, error }: RetriedLetter): object {
  const known = { route, eventId, foreignId }
  if (newId !== undefined) return { ...known, retried: true, newId }
  return { ...known, retried: false, code: codeOf(error), error: messageOf(error) }
}

function retriedText(route: string, { eventId, newId, error }: RetriedLetter): string {
  if (newId !== undefined) return `${route}: event ${eventId} is written to the source anew, as event ${newId}`
  return `${route}: event ${eventId} is not retried: ${messageOf(error)}`
}

/** Says on stderr how far it is, now and then. */
function progress(): { of(count: number): void; next(): void } {
  let saidAt = performance.now()
  let [open, seen] = [0, 0]
  return {
    of: (count) => {
      open = count
    },
    next: () => {
      seen++
      if (performance.now() - saidAt < PROGRESS_EVERY_MS) return
      saidAt = performance.now()
      process.stderr.write(
        `${seen.toLocaleString('en')} letters so far, of ${open.toLocaleString('en')} that are open\n`,
      )
    },
  }
}

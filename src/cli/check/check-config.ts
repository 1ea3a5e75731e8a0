import { codeOf } from '../../core/errors.ts'
import { checkRoute, isRight, type PartCheck } from '../../service/check-route.ts'
import { loadConfig } from '../../service/config/load-config.ts'
import type { RouteConfig } from '../../service/config/parse-config.ts'
import { namedRoutes } from '../../service/control/route-actions.ts'
import { describeError } from '../../service/describe-error.ts'
import { adviceFor } from '../run/advice.ts'
import { stopSignals } from '../stop-signals.ts'

/** Options of `checkConfig`. */
export interface CheckConfigOptions {
  /** The names of the routes; all for none. */
  readonly routes: readonly string[]
  /** Tables that are missing will be created. Default: as configured. */
  readonly createTables?: boolean | undefined
  /** One line of JSON per route instead of text. */
  readonly json: boolean
  readonly debug: boolean
}

/** Checks the routes of a configuration at once and prints what was found. Resolves with the exit code: 1 if one cannot be run. */
export async function checkConfig(path: string, options: CheckConfigOptions): Promise<0 | 1> {
  const { json, debug } = options
  const config = await loadConfig(path, process.env)
  const routes = namedRoutes(config.routes, options.routes)
  const createTables = options.createTables ?? config.createTables
  using stopping = stopSignals()
  const { signal } = stopping
  const checked = await Promise.all(
    routes.map(async (route) => {
      const parts = await checkRoute(route, { createTables, signal })
      return { route, parts, ok: parts.every(isRight) }
    }),
  )
  const width = Math.max(...checked.flatMap(({ parts }) => parts.map(({ at }) => at.length)))
  for (const { route, parts, ok } of checked) {
    const { name } = route
    if (json) console.log(JSON.stringify({ route: name, ok, parts: parts.map(plain) }))
    else {
      console.log(`${name}: ${ok ? 'ok' : 'FAILED'}`)
      for (const part of parts) console.log(linesOf(part, route, { width, debug }).join('\n'))
    }
  }
  const wrong = checked.filter(({ ok }) => !ok).length
  const right = checked.length - wrong
  if (json) console.log(JSON.stringify({ right, wrong }))
  else console.log(`${right} ${right === 1 ? 'route' : 'routes'} right, ${wrong} wrong`)
  return wrong === 0 ? 0 : 1
}

function linesOf(
  check: PartCheck,
  route: RouteConfig,
  { width, debug }: { readonly width: number; readonly debug: boolean },
): string[] {
  const { part, at, found = 'ok', findings, error } = check
  const head = `  ${part.padEnd(11)}  ${at.padEnd(width)}  ${isRight(check) ? found : 'FAILED'}`
  const failure = error === undefined ? [] : [describeError(error, { stack: debug }), adviceFor(error, route) ?? '']
  const others = findings.flatMap(({ text, statements }) => [
    text,
    ...statements.map((statement) => `  mend with: ${statement}`),
  ])
  return [head, ...[...failure, ...others].filter(Boolean).map((line) => `      ${line}`)]
}

function plain(check: PartCheck): object {
  const { part, at, found, findings, error } = check
  const failure = error === undefined ? {} : { code: codeOf(error), error: describeError(error) }
  return { part, at, ok: isRight(check), found, findings, ...failure }
}

import { codeOf } from '../../core/errors.ts'
import { checkRoute, type PartCheck } from '../../service/check-route.ts'
import type { RouteConfig } from '../../service/parse-config.ts'
import { describeError } from '../describe-error.ts'
import { stopSignals } from '../stop-signals.ts'
import { adviceFor } from './advice.ts'

/** Options of `checkConfig`. */
export interface CheckConfigOptions {
  /** Tables that are missing will be created. */
  readonly createTables: boolean
  /** One line of JSON per route instead of text. */
  readonly json: boolean
  readonly debug: boolean
}

/** Checks all routes at once and prints what was found. Resolves with the exit code: 1 if one cannot be run. */
export async function checkConfig(
  routes: readonly RouteConfig[],
  { createTables, json, debug }: CheckConfigOptions,
): Promise<0 | 1> {
  using stopping = stopSignals()
  const { signal } = stopping
  const checked = await Promise.all(
    routes.map(async (route) => ({ route, parts: await checkRoute(route, { createTables, signal }) })),
  )
  const width = Math.max(...checked.flatMap(({ parts }) => parts.map(({ at }) => at.length)))
  for (const { route, parts } of checked) {
    const { name } = route
    const ok = parts.every(({ error }) => error === undefined)
    if (json) console.log(JSON.stringify({ route: name, ok, parts: parts.map(plain) }))
    else {
      console.log(`${name}: ${ok ? 'ok' : 'FAILED'}`)
      for (const part of parts) console.log(linesOf(part, route, { width, debug }).join('\n'))
    }
  }
  return checked.every(({ parts }) => parts.every(({ error }) => error === undefined)) ? 0 : 1
}

function linesOf(
  { part, at, found = 'ok', notes, error }: PartCheck,
  route: RouteConfig,
  { width, debug }: { readonly width: number; readonly debug: boolean },
): string[] {
  const head = `  ${part.padEnd(11)}  ${at.padEnd(width)}  ${error === undefined ? found : 'FAILED'}`
  const failure = error === undefined ? [] : [describeError(error, { stack: debug }), adviceFor(error, route) ?? '']
  return [head, ...[...failure, ...notes].filter(Boolean).map((line) => `      ${line}`)]
}

function plain({ part, at, found, notes, error }: PartCheck): object {
  const failure = error === undefined ? {} : { code: codeOf(error), error: describeError(error) }
  return { part, at, ok: error === undefined, found, notes, ...failure }
}

import { setTimeout as sleep } from 'node:timers/promises'
import { pino, stdTimeFunctions } from 'pino'
import { codeOf, errorKind } from '../../core/errors.ts'
import type { LogLevel } from '../../service/config/parse-config.ts'
import { describeError } from '../../service/describe-error.ts'
import { maskPasswords } from '../../service/mask-passwords.ts'
import type { RouteStatus, RunningRoute } from '../../service/start-route.ts'
import type { Reporter } from './reporter.ts'

/** A route whose position has moved gets a line so often. */
const PROGRESS_EVERY_MS = 10_000

/** Log lines in JSON on stdout, one for each thing that happens, and the progress every 10 s, also of a route that is blocked. */
export function jsonReporter({ level }: { readonly level: LogLevel }): Reporter {
  const stack = level === 'debug' || level === 'trace'
  const logger = pino(
    {
      level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    process.stdout,
  )
  const done = new AbortController()
  let watching: Promise<void> | undefined

  const log: Reporter['log'] = (level, message, { error, ...fields } = {}) => {
    const failure =
      error === undefined
        ? {}
        : { code: codeOf(error), kind: errorKind(error), ...(stack ? { stack: describeError(error, { stack }) } : {}) }
    logger[level]({ ...fields, ...failure }, maskPasswords(message))
  }
  async function watch(routes: readonly RunningRoute[]): Promise<void> {
    const shown = new Map<string, number>()
    for (;;) {
      await sleep(PROGRESS_EVERY_MS, undefined, { signal: done.signal })
      for (const route of routes) {
        const status = await route.status()
        const moved = status.handled - (shown.get(route.name) ?? 0)
        shown.set(route.name, status.handled)
        if (moved > 0 || (status.blocked?.blockedMs ?? 0) >= PROGRESS_EVERY_MS)
          log('info', 'progress', {
            route: route.name,
            ...fieldsOf(status),
            perSecond: Math.round((moved * 1000) / PROGRESS_EVERY_MS),
          })
      }
    }
  }
  return {
    log,
    watch: (routes) => {
      watching = watch(routes).catch((error) => {
        if (!done.signal.aborted) throw error
      })
    },
    [Symbol.asyncDispose]: async () => {
      done.abort()
      await watching
    },
  }
}

/** A status as fields of a line. */
function fieldsOf({
  position,
  handled,
  backlog,
  blocked,
  oldestUnreadAt,
  restarts,
}: RouteStatus): Record<string, unknown> {
  return {
    position,
    forwarded: handled,
    ...(backlog === undefined ? {} : { backlog: String(backlog.count), backlogUnit: backlog.unit }),
    ...(oldestUnreadAt === undefined ? {} : { oldestUnreadAt: new Date(oldestUnreadAt).toISOString() }),
    ...(blocked === undefined ? {} : { blocked }),
    restarts,
  }
}

import { setTimeout as sleep } from 'node:timers/promises'
import { codeOf } from '../../core/errors.ts'
import { loadConfig } from '../../service/config/load-config.ts'
import type { RouteConfig } from '../../service/config/parse-config.ts'
import { namedRoutes } from '../../service/control/route-actions.ts'
import { describeError } from '../../service/describe-error.ts'
import { type StoredStatus, statusRoute } from '../../service/status-route.ts'
import { stopSignals } from '../stop-signals.ts'
import { formatStatus } from './format-status.ts'

/** Options of `statusConfig`. */
export interface StatusConfigOptions {
  /** The names of the routes; all for none. */
  readonly routes: readonly string[]
  /** Again and again, until a signal comes. */
  readonly watch: boolean
  /** One object a route instead of text. */
  readonly json: boolean
  readonly debug: boolean
}

const WATCH_EVERY_MS = 2000
/** To the upper left corner; what is below the text is erased after it. */
const HOME = '\x1b[H\x1b[2J'

/**
 * Prints where the routes of a configuration stand. Resolves with the exit code: 1 if something could not be asked. Throws `STOPPED` where
 * it is stopped before anything is printed.
 */
export async function statusConfig(path: string, options: StatusConfigOptions): Promise<0 | 1> {
  const { watch, json, debug } = options
  const config = await loadConfig(path, process.env)
  const routes = namedRoutes(config.routes, options.routes)
  using stopping = stopSignals()
  const { signal } = stopping
  process.stdout.on('error', stopping.stop) // who read it has gone
  const clears = watch && !json && process.stdout.isTTY && process.env['TERM'] !== 'dumb'
  let failed: boolean | undefined
  try {
    for (;;) {
      const statuses = await Promise.all(
        routes.map(async (route) => ({
          route,
          status: await statusRoute(route, { createTables: config.createTables, signal }),
        })),
      )
      failed = statuses.some(({ status }) => status.problems.length > 0)
      const lines = statuses.flatMap(({ route, status }) =>
        json
          ? [JSON.stringify({ at: new Date().toISOString(), ...plain(route, status) })]
          : formatStatus(route, status, { now: Date.now(), debug }),
      )
      process.stdout.write(`${clears ? HOME : ''}${lines.join('\n')}\n`)
      if (!watch) break
      await sleep(WATCH_EVERY_MS, undefined, { signal })
    }
  } catch (error) {
    if (!signal.aborted || failed === undefined) throw error
  }
  return failed ? 1 : 0
}

function plain({ name, source, sink }: RouteConfig, status: StoredStatus): object {
  const { checkpoint, head, backlog, oldestUnreadAt, blocked, wanted, owner, warnings, problems } = status
  return {
    ...{ route: name, source: source.name, sink: sink.name },
    ...{ checkpoint: checkpoint ?? null, head: head ?? null },
    backlog: backlog === undefined ? null : { count: String(backlog.count), unit: backlog.unit },
    oldestUnreadAt: oldestUnreadAt === undefined ? null : new Date(oldestUnreadAt).toISOString(),
    oldestUnreadMs: oldestUnreadAt === undefined ? null : Math.max(0, Math.round(Date.now() - oldestUnreadAt)),
    ...{ blocked: blocked ?? null, wanted: wanted ?? null, owner: owner?.holder ?? null, warnings },
    problems: problems.map(({ part, error }) => ({ part, code: codeOf(error), error: describeError(error) })),
  }
}

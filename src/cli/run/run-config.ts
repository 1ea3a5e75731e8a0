import type { Observer } from '../../core/observer.ts'
import { loadConfig } from '../../service/load-config.ts'
import type { RouteConfig } from '../../service/parse-config.ts'
import { type RouteEnd, startRoute } from '../../service/start-route.ts'
import { describeError } from '../describe-error.ts'
import { stopSignals } from '../stop-signals.ts'
import { adviceFor } from './advice.ts'
import { checkConfig } from './check-config.ts'
import { jsonReporter } from './json-reporter.ts'
import type { Reporter } from './reporter.ts'
import { terminalReporter } from './terminal-reporter.ts'

/** Options of `runConfig`. */
export interface RunConfigOptions {
  /** Check it and the connections, and end. */
  readonly check?: boolean | undefined
  /** End at the heads. */
  readonly once?: boolean | undefined
  readonly createTables?: boolean | undefined
  readonly json?: boolean | undefined
  /** Log at the level `debug`, with stack traces. */
  readonly debug?: boolean | undefined
}

/** Runs all routes of a configuration file until they end, or a signal comes. Resolves with the exit code; throws a `ConfigError`. */
export async function runConfig(path: string, options: RunConfigOptions): Promise<0 | 1> {
  const { check, once = false, json = false, debug = false } = options
  const config = await loadConfig(path, process.env)
  const createTables = options.createTables ?? config.createTables
  const level = debug ? 'debug' : config.logLevel
  if (check) return checkConfig(config.routes, { createTables, json, debug })

  const terminal = process.stdout.isTTY && process.env['TERM'] !== 'dumb' && !json
  await using reporter = terminal ? terminalReporter(process.stdout, { level }) : jsonReporter({ level })
  const { log } = reporter
  using stopping = stopSignals(() =>
    log('info', 'stopping: what is under way is confirmed and saved; Ctrl-C again ends at once'),
  )
  process.stdout.on('error', stopping.stop) // who read it has gone

  const started = config.routes.map((route) => {
    const { name, source, sink, checkpoints } = route
    log('info', `${source.name} -> ${sink.name}`, { route: name, checkpoints: checkpoints.name })
    const running = startRoute(route, {
      signal: stopping.signal,
      once,
      createTables,
      observer: logging(route, log),
      onNote: (text) => log('warn', text, { route: name }),
    })
    return { route, running }
  })
  reporter.watch(started.map(({ running }) => running))
  const ends = await Promise.all(
    started.map(async ({ route, running }) => {
      const end = await running.ended
      const { handled, position } = await running.status()
      tell(route, end, { forwarded: handled, position }, log)
      return end
    }),
  )
  return ends.some(({ reason }) => reason === 'failed') ? 1 : 0
}

/** Tells what happens to a route. */
function logging({ name: route, fromHead }: RouteConfig, log: Reporter['log']): Observer {
  const start = fromHead ? 'from the head' : 'from the earliest event'
  return {
    opened: ({ cursor }) => log('info', `open ${cursor === '' ? start : `after ${cursor}`}`, { route, cursor }),
    saved: (cursor) => log('trace', `saved ${cursor}`, { route, cursor }),
    repaired: (text) => log('warn', `repaired: ${text}`, { route }),
    failed: (error) => log('debug', `failed: ${describeError(error)}`, { route, error }),
    restarting: ({ delayMs, failures, error }) => {
      const pause = delayMs < 1000 ? `${Math.round(delayMs)} ms` : `${(delayMs / 1000).toFixed(1)} s`
      log('warn', `${describeError(error)}; trying again in ${pause}`, { route, error, failures })
    },
  }
}

function tell(
  route: RouteConfig,
  end: RouteEnd,
  done: { readonly forwarded: number; readonly position: string | undefined },
  log: Reporter['log'],
): void {
  const { name } = route
  const { error } = end
  const count = `${done.forwarded.toLocaleString('en')} events forwarded`
  if (end.reason === 'failed') {
    const advice = adviceFor(error, route)
    const message = `ended for good: ${describeError(error)}${advice === undefined ? '' : `; ${advice}`}`
    log('error', message, { route: name, ...done, error })
    return
  }
  if (error !== undefined) log('warn', `while stopping: ${describeError(error)}`, { route: name, error })
  log('info', `${end.reason === 'head' ? 'reached the head' : 'stopped'}: ${count}`, { route: name, ...done })
}

import { leaseShare } from '../../core/lease-share.ts'
import { combineObservers, type Observer } from '../../core/observer.ts'
import { diagnosticsObserver } from '../../observers/diagnostics-observer.ts'
import { type RouteMeters, routeMeters } from '../../service/admin/route-meters.ts'
import { loadConfig } from '../../service/config/load-config.ts'
import type { Config, RouteConfig } from '../../service/config/parse-config.ts'
import { processName } from '../../service/control/process-name.ts'
import { routeActions } from '../../service/control/route-actions.ts'
import { describeError } from '../../service/describe-error.ts'
import { registeredTelemetry } from '../../service/registered-telemetry.ts'
import { type RouteEnd, type RunningRoute, startRoute } from '../../service/start-route.ts'
import { stopSignals } from '../stop-signals.ts'
import { adviceFor } from './advice.ts'
import { jsonReporter } from './json-reporter.ts'
import type { Reporter } from './reporter.ts'
import { terminalReporter } from './terminal-reporter.ts'

/** Options of `runConfig`. */
export interface RunConfigOptions {
  /** End at the heads. */
  readonly once?: boolean | undefined
  readonly createTables?: boolean | undefined
  /** How long what is under way may take when a signal comes, in ms; default: as configured. */
  readonly drain?: number | undefined
  readonly json?: boolean | undefined
  /** Log at the level `debug`, with stack traces. */
  readonly debug?: boolean | undefined
}

/** Runs all routes of a configuration file until they end, or a signal comes. Resolves with the exit code; throws a `ConfigError`. */
export async function runConfig(path: string, options: RunConfigOptions): Promise<0 | 1> {
  const { once = false, json = false, debug = false } = options
  const config = await loadConfig(path, process.env)
  const createTables = options.createTables ?? config.createTables
  const level = debug ? 'debug' : config.logLevel

  const terminal = process.stdout.isTTY && process.env['TERM'] !== 'dumb' && !json
  await using reporter = terminal ? terminalReporter(process.stdout, { level }) : jsonReporter({ level })
  const { log } = reporter
  using stopping = stopSignals(() =>
    log('info', 'stopping: what is under way is confirmed and saved; Ctrl-C again ends at once'),
  )
  process.stdout.on('error', stopping.stop) // who read it has gone

  const { standby, drainMs: configured } = config
  const drainMs = options.drain ?? configured
  const share = leaseShare()
  const meters = routeMeters()
  using telemetry = await registeredTelemetry()
  const startOne = (route: RouteConfig): StartedRoute => {
    const { name, source, sink, checkpoints } = route
    log('info', `${source.name} -> ${sink.name}`, { route: name, checkpoints: checkpoints.name })
    const running: RunningRoute = startRoute(route, {
      signal: stopping.signal,
      once,
      createTables,
      standby: standby === undefined ? undefined : { ...standby, share },
      drainMs,
      observer: combineObservers(
        logging(route, log),
        meters.observer(name),
        diagnosticsObserver(name),
        telemetry?.consumer(name, { status: () => running.status() }),
      ),
      wrapSink: telemetry?.tracedSink,
      onNote: (text) => log('warn', text, { route: name }),
      onTurn: (text) => log('info', text, { route: name }),
    })
    return { route, running }
  }
  // With --once the process that serves it may be another one.
  const { started, server } = await startRoutes(once ? { ...config, admin: undefined } : config, startOne, {
    meters,
    log,
  })
  await using _admin = server
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

interface StartedRoute {
  readonly route: RouteConfig
  readonly running: RunningRoute
}

/**
 * Starts the routes, and the admin server if one is configured. That listens first: a process that is started a second time by
 * mistake ends there, before it takes the routes from the first one.
 */
async function startRoutes(
  { routes, admin }: Pick<Config, 'routes'> & { readonly admin?: Config['admin'] | undefined },
  startOne: (route: RouteConfig) => StartedRoute,
  { meters, log }: { readonly meters: RouteMeters; readonly log: Reporter['log'] },
): Promise<{ readonly started: readonly StartedRoute[]; readonly server?: AsyncDisposable }> {
  if (admin === undefined) return { started: routes.map(startOne) }
  const { readyAfterMs, ...listen } = admin
  const started: StartedRoute[] = []
  const { startAdmin } = await import('../../service/admin/admin-server.ts')
  const server = await startAdmin({
    startRoutes: () => {
      started.push(...routes.map(startOne))
      return started.map(({ route, running }) => ({ ...running, source: route.source.name, sink: route.sink.name }))
    },
    actions: routeActions(routes, { by: `admin server of ${processName}` }),
    ...{ meters, listen, readyAfterMs },
    onNote: (text) => log('info', text),
  })
  log('info', `admin server at ${server.url}`)
  return { started, server }
}

/** Tells what happens to a route. */
function logging(config: RouteConfig, log: Reporter['log']): Observer {
  const { name: route, fromHead } = config
  const start = fromHead ? 'from the head' : 'from the earliest event'
  return {
    opened: ({ cursor }) => log('info', `open ${cursor === '' ? start : `after ${cursor}`}`, { route, cursor }),
    saved: (cursor) => log('trace', `saved ${cursor}`, { route, cursor }),
    repaired: (text) => log('warn', `repaired: ${text}`, { route }),
    passed: ({ eventId, as, reason }) =>
      log('warn', `event ${eventId} is ${as === 'skipped' ? 'skipped' : 'put into the dead letters'}: ${reason}`, {
        route,
        eventId,
      }),
    failed: (error) => log('debug', `failed: ${describeError(error)}`, { route, error }),
    restarting: ({ delayMs, failures, error }) => {
      const pause = delayMs < 1000 ? `${Math.round(delayMs)} ms` : `${(delayMs / 1000).toFixed(1)} s`
      const advice = adviceFor(error, config)
      const said = `${describeError(error)}${advice === undefined ? '' : `; ${advice}`}`
      log('warn', `${said}; trying again in ${pause}`, { route, error, failures })
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

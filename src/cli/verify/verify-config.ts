import type { AuditReport } from '../../bridge/audit.ts'
import { codeOf, OptionError } from '../../core/errors.ts'
import { auditRoute, type RouteAudit } from '../../service/audit-route.ts'
import { loadConfig } from '../../service/config/load-config.ts'
import type { Config, RouteConfig } from '../../service/config/parse-config.ts'
import { namedRoutes } from '../../service/control/route-actions.ts'
import { describeError } from '../../service/describe-error.ts'
import { repairRoute } from '../../service/repair-route.ts'
import { exitCodeOf } from '../exit-code.ts'
import { printable } from '../printable.ts'
import { stopSignals } from '../stop-signals.ts'
import { auditProgress } from './audit-progress.ts'
import { formatAudit, type Verified } from './format-audit.ts'

/** Options of `verifyConfig`. */
export interface VerifyConfigOptions {
  /** The names of the routes; all for none. */
  readonly routes: readonly string[]
  readonly from?: string | undefined
  /** A cursor, or `head`. */
  readonly to?: string | undefined
  readonly repair: boolean
  /** One object a route on stdout instead of text. */
  readonly json: boolean
  readonly debug: boolean
}

/**
 * Holds the destinations of a configuration against their sources, one after the other, and prints what was found. Resolves with the
 * exit code: 0 if all is well, 1 if something is not or could not be looked at, 2 for wrong input, 130 if it was stopped.
 */
export async function verifyConfig(path: string, options: VerifyConfigOptions): Promise<0 | 1 | 2 | 130> {
  const { from, to, json, debug } = options
  const config = await loadConfig(path, process.env)
  const routes = namedRoutes(config.routes, options.routes)
  if (routes.length > 1 && (from !== undefined || (to !== undefined && to !== 'head')))
    throw new OptionError('--from and --to are positions of one source: name the one route that is meant')

  using stopping = stopSignals()
  const { signal } = stopping
  const codes = new Set<number>()
  for (const route of routes) {
    const verified = await verifyRoute(route, config, options, signal)
    if (signal.aborted) return 130
    if (json) console.log(JSON.stringify(plain(verified)))
    else console.log(formatAudit(verified, { debug }).join('\n'))
    const { error, audit } = verified
    codes.add(error !== undefined ? exitCodeOf(error) : audit?.report.ok ? 0 : 1)
  }
  if (codes.has(2)) return 2
  return codes.has(1) ? 1 : 0
}

async function verifyRoute(
  route: RouteConfig,
  { standby, createTables }: Config,
  { from, to, repair, json }: VerifyConfigOptions,
  signal: AbortSignal,
): Promise<Verified> {
  const startedAt = performance.now()
  const look = async (upTo: string | undefined): Promise<RouteAudit> => {
    using progress = auditProgress(process.stderr, route.name)
    return await auditRoute(route, { from, to: upTo, signal, onProgress: progress.show, listed: json ? 1000 : 20 })
  }
  let audit: RouteAudit | undefined
  let repairs: readonly string[] | undefined
  const end = (error?: unknown): Verified => ({
    route,
    ...(audit && { audit }),
    ...(repairs && { repairs }),
    ...(error === undefined ? {} : { error }),
    elapsedMs: performance.now() - startedAt,
  })
  try {
    audit = await look(to)
    if (repair && audit.report.counts.lost > 0) {
      const onWait = (text: string): void => void process.stderr.write(`${printable(text)}\n`)
      repairs = await repairRoute(route, { signal, standby, createTables, onWait })
      audit = await look(audit.report.to)
    }
    return end()
  } catch (error) {
    return end(error)
  }
}

function plain({ route, audit, repairs, error, elapsedMs }: Verified): object {
  const failure = error === undefined ? {} : { code: codeOf(error), error: describeError(error) }
  const { ok = false, ...report }: Partial<AuditReport> = audit?.report ?? {}
  return {
    route: route.name,
    ok: ok && error === undefined,
    ...report,
    ...(repairs && { repairs }),
    ...failure,
    seconds: Number((elapsedMs / 1000).toFixed(3)),
  }
}

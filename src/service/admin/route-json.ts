import { codeOf, type ErrorKind, errorKind } from '../../core/errors.ts'
import { describeError } from '../describe-error.ts'
import { maskPasswords } from '../mask-passwords.ts'
import type { RouteStatus } from '../start-route.ts'
import type { RouteMeters } from './route-meters.ts'
import type { RouteSample } from './route-samples.ts'

/** An error, without its stack and its fields. */
export interface FailureJson {
  readonly code?: string | undefined
  /** What kind it is of, as `auth` or `read-only`: who can mend it. */
  readonly kind: ErrorKind
  readonly message: string
}

/** One route in `/routes` and `/events`. Positions and counts of a log are text, since they may not fit a number. Times are epoch ms. */
export interface RouteJson {
  readonly name: string
  readonly source: string
  readonly sink: string
  /** `unknown` until it has answered once. */
  readonly state: RouteStatus['state'] | 'unknown'
  /** The process that runs it, where routes are leased. */
  readonly owner?: string | undefined
  readonly ready: boolean
  /** Why it is not ready. */
  readonly reason?: string | undefined
  readonly position?: string | undefined
  readonly saved?: string | undefined
  readonly backlog?: { readonly count: string; readonly unit: 'events' | 'positions' } | undefined
  /** For how long events have been waiting, at most. */
  readonly lagSeconds?: number | undefined
  readonly oldestUnreadAt?: number | undefined
  readonly blocked?: { readonly holder: string; readonly blockedMs: number } | undefined
  readonly forwarded: number
  readonly skipped: number
  readonly lastEventAt?: number | undefined
  readonly restarts: number
  readonly repairs: number
  /** What was last repaired. */
  readonly repair?: string | undefined
  /** Events that this process has put into the dead letters. */
  readonly deadLetters: number
  readonly errors: number
  /** The last failure; gone with the next progress. */
  readonly lastError?: FailureJson | undefined
  /** How it ended. */
  readonly ended?: { readonly reason: string; readonly error?: FailureJson | undefined } | undefined
}

/** The state of all routes at one moment. */
export interface RoutesJson {
  /** Epoch ms. */
  readonly at: number
  readonly routes: readonly RouteJson[]
}

/** A sample as it is shown, without any password. */
export function routeJson(sample: RouteSample, meters: RouteMeters): RouteJson {
  const { route, status, end, verdict, lagMs } = sample
  const meter = meters.read(route.name)
  const { backlog, blocked } = status ?? {}
  return {
    name: route.name,
    source: maskPasswords(route.source),
    sink: maskPasswords(route.sink),
    state: end === undefined ? (status?.state ?? 'unknown') : 'ended',
    owner: status?.owner,
    ready: verdict.ready,
    reason: verdict.ready ? undefined : maskPasswords(verdict.reason),
    position: status?.position,
    saved: status?.saved,
    backlog: backlog && { count: String(backlog.count), unit: backlog.unit },
    lagSeconds: lagMs === undefined ? undefined : lagMs / 1000,
    oldestUnreadAt: status?.oldestUnreadAt,
    blocked: blocked && { holder: maskPasswords(blocked.holder), blockedMs: Math.round(blocked.blockedMs) },
    forwarded: status?.handled ?? 0,
    skipped: status?.skipped ?? 0,
    lastEventAt: status?.lastEventAt,
    restarts: status?.restarts ?? 0,
    repairs: meter?.repairs ?? 0,
    repair: status?.repair === undefined ? undefined : maskPasswords(status.repair),
    deadLetters: meter?.deadLetters ?? 0,
    errors: meter?.errors ?? 0,
    lastError: failureJson(status?.lastError),
    ended: end && { reason: end.reason, error: failureJson(end.error) },
  }
}

function failureJson(error: unknown): FailureJson | undefined {
  return error === undefined
    ? undefined
    : { code: codeOf(error), kind: errorKind(error), message: describeError(error) }
}

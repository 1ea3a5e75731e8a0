import { type AuditReport, type AuditRunOptions, audit } from '../bridge/audit.ts'
import { parseCheckpoint } from '../bridge/checkpoint.ts'
import { disposeStack } from '../core/dispose-stack.ts'
import { OptionError } from '../core/errors.ts'
import type { Cursor } from '../core/event.ts'
import type { RouteConfig } from './config/parse-config.ts'
import { setAside } from './set-aside.ts'

/** Options of `auditRoute`. */
export interface AuditRouteOptions {
  /** Default: where the route started. */
  readonly from?: Cursor | undefined
  /** `head`: what has not been forwarded yet is lost as well. Default: the route's checkpoint. */
  readonly to?: Cursor | 'head' | undefined
  readonly signal: AbortSignal
  /** Is told how much has been read, and how much there is to read in the source, where that can be told. Must not throw. */
  readonly onProgress?: (read: { readonly source: number; readonly destination: number; readonly of?: number }) => void
  /** The most ids of each kind that are listed. */
  readonly listed?: number
}

/** What `auditRoute` has found. */
export interface RouteAudit {
  readonly report: AuditReport
  /** Whether the route has a checkpoint: without one nothing has to be there yet. */
  readonly hasCheckpoint: boolean
}

/**
 * Holds the destination of a route against its source, for what the route has forwarded: up to its checkpoint, which is read before
 * the destination. Changes nothing, and may be run while the route is at work.
 */
export async function auditRoute(route: RouteConfig, options: AuditRouteOptions): Promise<RouteAudit> {
  const { name } = route
  const { signal, onProgress, listed } = options
  const context = { createTables: false, readOnly: true }
  await using opened = disposeStack()
  const source = opened.use(await route.source.open(context)).part
  const checkpoints = opened.use(await route.checkpoints.open(context)).part
  const destination = opened.use(await route.sink.open(context))
  if (destination.readBack === undefined)
    throw new OptionError(`${route.sink.name}: this kind of destination cannot be read back, so it cannot be verified`)

  const saved = parseCheckpoint(name, await checkpoints.get(name, { signal }))
  const { from = saved?.start ?? '', to = saved?.cursor ?? '' } = options
  // To count them may take long: it is only for the progress.
  let of: { readonly of?: number } = {}
  const counted = new AbortController()
  const counting = source.backlog?.(from, { signal: AbortSignal.any([signal, counted.signal]) }).then(
    ({ count }) => {
      of = { of: Number(count) }
    },
    () => {}, // the audit meets what keeps it from being counted
  )
  opened.defer(() => {
    counted.abort('ended')
    return counting
  })
  const run: AuditRunOptions = {
    signal,
    ...(listed === undefined ? {} : { listed }),
    ...(onProgress && { onProgress: (read) => onProgress({ ...read, ...of }) }),
  }
  const report = await audit(
    {
      ...{ source, destinations: await destination.readBack({ signal }), transform: route.transform },
      ...{ from, to: to === 'head' ? undefined : to },
      setAside: await setAside(route, { checkpoint: saved, checkpoints, signal }),
    },
    run,
  )
  return { report, hasCheckpoint: saved !== undefined && saved.mark !== '' }
}

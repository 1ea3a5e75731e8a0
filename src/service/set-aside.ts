import type { RouteCheckpoint } from '../bridge/checkpoint.ts'
import { readLog } from '../bridge/route-log.ts'
import type { CursorStore } from '../core/cursor.ts'
import type { RouteConfig } from './config/parse-config.ts'
import { routeLetters } from './route-letters.ts'

/** Options of `setAside`. */
export interface SetAsideOptions {
  /** Of the route; read before the call. */
  readonly checkpoint: RouteCheckpoint | undefined
  readonly checkpoints: CursorStore
  readonly signal: AbortSignal
}

/** The ids of the events that a route has gone past on purpose: what operators skipped, and its dead letters, also those that are given up. */
export async function setAside(
  route: RouteConfig,
  { checkpoint, checkpoints, signal }: SetAsideOptions,
): Promise<ReadonlySet<string>> {
  const logged = await readLog({ name: route.name, checkpoints, checkpoint: checkpoint ?? {} }, { signal })
  const skips = [...(checkpoint?.skips ?? []), ...logged.flatMap(({ skip }) => skip ?? [])]
  const ids = new Set(skips.map(({ eventId }) => eventId))
  if (route.deadLetters === undefined) return ids
  await using letters = await routeLetters(route, { readOnly: true })
  for (const status of ['open', 'resolved'] as const)
    for await (const { eventId } of letters.list(status, signal)) ids.add(eventId)
  return ids
}

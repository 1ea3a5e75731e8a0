import type { RouteCheckpoint } from '../bridge/checkpoint.ts'
import type { RouteConfig } from './config/parse-config.ts'
import { routeLetters } from './route-letters.ts'

/** The ids of the events that a route has gone past on purpose: what operators skipped, and its dead letters, also those that are given up. */
export async function setAside(
  route: RouteConfig,
  checkpoint: RouteCheckpoint | undefined,
  signal: AbortSignal,
): Promise<ReadonlySet<string>> {
  const ids = new Set(checkpoint?.skips?.map(({ eventId }) => eventId))
  if (route.deadLetters === undefined) return ids
  await using letters = await routeLetters(route)
  for (const status of ['open', 'resolved'] as const)
    for await (const { eventId } of letters.list(status, signal)) ids.add(eventId)
  return ids
}

import type { RouteLetter } from '../../bridge/dead-letters.ts'
import { eventAsJson } from '../tail/format-event.ts'

/** A dead letter as `--json` prints it, the event as `tail --json` does; null if whoever recorded it kept no more than its id. */
export function letterJson(route: string, { eventId, event, message, attempts, createdAt }: RouteLetter): object {
  return {
    route,
    eventId,
    reason: message,
    attempts,
    at: new Date(createdAt).toISOString(),
    event: event === undefined ? null : (JSON.parse(eventAsJson(event)) as object),
  }
}

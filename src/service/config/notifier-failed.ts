import { messageOf } from '../../core/errors.ts'

/** What an operator is told when the notifier of a source is lost. */
export function notifierFailed(error: unknown): string {
  return `the notifier of the source has failed, so that new events are looked for every 250 ms until the route starts again: ${messageOf(error)}`
}

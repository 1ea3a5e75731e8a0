import { codeOf, errorKind, eventIdOf } from '../../core/errors.ts'
import type { RouteConfig } from '../../service/config/parse-config.ts'

/** What an operator of the command line can do about a route that has failed; undefined where the error says all. */
export function adviceFor(error: unknown, { name, checkpoints }: RouteConfig): string | undefined {
  const eventId = eventIdOf((error as { readonly cause?: unknown } | null)?.cause) // of a batch, only that which it is about
  if (eventId !== undefined && ['poison', 'oversize'].includes(errorKind(error)))
    return `the route stands at event ${eventId}; if that is never to be sent: reflex-bridge skip CONFIG ${name} ${eventId} --why …`
  switch (codeOf(error)) {
    case 'CURSOR_TRIMMED':
      return `the checkpoint of this route is kept in ${checkpoints.name}, under ${name}; to go on without what is gone: reflex-bridge stop CONFIG ${name}, then reflex-bridge reset CONFIG ${name} --to …, and resume it`
    case 'CURSOR_AHEAD':
    case 'CURSOR_INVALID':
      return `the checkpoint of this route is kept in ${checkpoints.name}, under ${name}`
    default:
      return undefined
  }
}

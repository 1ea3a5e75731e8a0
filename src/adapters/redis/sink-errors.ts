import { codeOf, FencedError, messageOf, ReflexError } from '../../core/errors.ts'

/** The key is to be a route's own, but its newest entry, `last`, is not of the route. */
export function keyIsShared(where: string, last: string): ReflexError {
  return new ReflexError(
    'SINK_KEY_SHARED',
    `${where}: with ids: 'source' no one else may write to the key, but its newest entry, ${last}, is not of this route: use ids: 'auto', or another key`,
    { retriable: false },
  )
}

/** No server has a lower limit for an argument. */
const LEAST_BULK_BYTES = 1024 * 1024

/**
 * Redis refuses an argument above its limit and hangs up, mostly before that reply is read: then the error says that it may be that.
 * It comes to this only where the limit is not the one that was found on opening, or could not be found.
 */
export function oversizeHint(error: unknown, bytes: number): unknown {
  const refused = messageOf(error).includes('invalid bulk length')
  if (!refused && (codeOf(error) !== 'REDIS_CONNECTION' || bytes <= LEAST_BULK_BYTES)) return error
  const hint = `the batch has an event of ${bytes} bytes, and Redis takes none above proto-max-bulk-len: raise it, or shorten the payload`
  const code = refused ? 'EVENT_TOO_LARGE' : 'REDIS_CONNECTION'
  return new ReflexError(code, `${messageOf(error)}; ${hint}`, {
    cause: error,
    kind: refused ? 'oversize' : 'retriable',
  })
}

/** A reply is that of an earlier append: the connection has repeated one, so that every later one is wrong as well. */
export function outOfStep(where: string): ReflexError {
  return new ReflexError(
    'REDIS_CONNECTION',
    `${where}: the reply to an append is not its own, so that the connection is out of step; opening it again finds out what was appended`,
  )
}

/** Why the script that appends has done nothing: its first word, and what it found. */
export function appendRefused(
  where: string,
  outcome: string | null | undefined,
  [last, added]: readonly (string | null)[],
): ReflexError {
  switch (outcome) {
    case 'fenced':
      return new FencedError(`${where}: another writer has taken this route over; nothing was appended`)
    case 'foreign':
      return keyIsShared(where, last ?? '')
    case 'full':
      return new ReflexError(
        'SINK_KEY_FULL',
        `${where}: the newest entry is ${last}, so that Redis has no ids left for more: use another key`,
        { retriable: false },
      )
    default:
      // gone, changed, lost
      return new ReflexError(
        'SINK_TAIL_CHANGED',
        `${where}: its checkpoint or its entries were deleted, evicted or rolled back since the last append (${[outcome, last, added].filter(Boolean).join(' ')}); nothing was appended. Opening it again finds out what is lost.`,
      )
  }
}

import { ReflexError } from '../core/errors.ts'
import type { Source } from '../core/stream.ts'

/** What is known of the beginning of a route, and of its source now. */
export interface Beginning {
  /** The first event that the route came to; undefined if that is not known. */
  readonly first: string | undefined
  /** The first event that the source has. */
  readonly earliest: string
}

/** Whether the source no longer has the first events of a route. */
export function hasHole({ compare }: Pick<Source, 'compare'>, { first, earliest }: Beginning): boolean {
  return first !== undefined && compare !== undefined && compare(earliest, first) > 0
}

/** Throws `REFILL_INCOMPLETE` if a destination that lost everything cannot be refilled from the first event of its route on. */
export function refuseHole(route: string, source: Pick<Source, 'name' | 'compare'>, beginning: Beginning): void {
  if (!hasHole(source, beginning)) return
  const { first, earliest } = beginning
  throw new ReflexError(
    'REFILL_INCOMPLETE',
    `route ${route}: its destination has lost everything, and ${source.name} no longer has what stood there first: the route began with event ${first}, and the earliest that is left is ${earliest}. Restore one of the two from a copy; or, to go on without what is gone, stop the route and move it to the position before what is to be refilled (reflex-bridge reset CONFIG ${route} --to …)`,
    { retriable: false },
  )
}

import { pinHead } from '../bridge/pin-head.ts'
import { OptionError } from '../core/errors.ts'
import type { Cursor } from '../core/event.ts'
import type { Source } from '../core/stream.ts'

/**
 * A position as an operator names it: a cursor as it is, `head`, or a time like `2026-11-26T05:00:00Z`, which stands for the position
 * before its first event. Throws an `OptionError` for a time that is none, or that the source does not know.
 */
export async function positionOf(source: Source, given: string, signal: AbortSignal): Promise<Cursor> {
  if (given === 'head') return pinHead(source, signal)
  if (!/^\d{4}-\d\d-\d\d([T ]|$)/.test(given)) return given
  const time = Date.parse(given)
  if (Number.isNaN(time) || !/(Z|[+-]\d\d:?\d\d)$/.test(given))
    throw new OptionError(`expected a time with its zone, like 2026-11-26T05:00:00Z, found ${given}`)
  if (source.at === undefined) throw new OptionError(`${source.name} cannot be searched by time: give a cursor`)
  return source.at(time, { signal })
}

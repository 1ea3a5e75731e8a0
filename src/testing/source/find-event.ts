import type { Event } from '../../core/event.ts'
import type { Entry } from './log-model.ts'

/** Where an event stands, and in which log. */
export interface Found {
  readonly entries: readonly Entry[]
  readonly index: number
}

/** Looks for an event that was read in the logs it can be of, the likeliest first; it is expected from entry `from` on. */
export function findEvent(event: Event, logs: readonly (readonly Entry[])[], from: number): Found | undefined {
  const isNext = ({ id, body }: Entry): boolean => id === event.id && body?.foreignId === event.foreignId
  for (const entries of logs) {
    const next = entries[from]
    if (next !== undefined && isNext(next)) return { entries, index: from }
    const known = entries.findIndex(isNext)
    if (known >= 0) return { entries, index: known }
    const isIt = ({ id, body }: Entry): boolean => id === undefined && body?.foreignId === event.foreignId
    const ahead = entries.findIndex((entry, i) => i >= from && isIt(entry))
    if (ahead >= 0) return { entries, index: ahead }
  }
  for (const entries of logs) {
    const isLike = ({ id, body }: Entry): boolean =>
      id === event.id || (body?.metadata != null && body.foreignId === event.foreignId)
    const other = entries.findIndex(isLike)
    if (other >= 0) return { entries, index: other }
  }
  return undefined
}

/** How many entries of `lost` are still there. */
export function keptOf(lost: readonly Entry[], entries: readonly Entry[]): number {
  const kept = lost.findIndex((entry, i) => entries[i] !== entry)
  return kept < 0 ? Number.POSITIVE_INFINITY : kept
}

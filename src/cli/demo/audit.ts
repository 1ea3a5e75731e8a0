import type { AuditEntry } from './stage.ts'

/** What became of the committed events in one destination. */
export interface TargetAudit {
  readonly name: string
  /** Committed events that a consumer of the destination has handled. */
  readonly delivered: number
  /** Committed events that are not in the destination, or that no consumer handled. */
  readonly lost: number
  /** Entries of the destination that stand there a second time. */
  readonly duplicated: number
  /** Entries that stand behind a later one about the same order. */
  readonly reordered: number
  /** Entries that were never committed. */
  readonly phantom: number
}

/** Holds one destination against the committed events. `handled` are the source ids that its consumer has handled. */
export async function auditTarget(
  name: string,
  {
    committed,
    entries,
    handled,
  }: { committed: ReadonlySet<string>; entries: AsyncIterable<AuditEntry>; handled: ReadonlySet<string> },
): Promise<TargetAudit> {
  const seen = new Set<string>()
  const newest = new Map<string, bigint>()
  let duplicated = 0
  let reordered = 0
  let phantom = 0
  for await (const { sourceId, orderId } of entries) {
    if (!committed.has(sourceId)) {
      phantom++ // it may have no id at all
      continue
    }
    if (seen.has(sourceId)) duplicated++
    seen.add(sourceId)
    const id = BigInt(sourceId)
    if (id < (newest.get(orderId) ?? 0n)) reordered++
    else newest.set(orderId, id)
  }
  let lost = 0
  let delivered = 0
  for (const id of committed) {
    if (handled.has(id)) delivered++
    if (!seen.has(id) || !handled.has(id)) lost++
  }
  return { name, delivered, lost, duplicated, reordered, phantom }
}

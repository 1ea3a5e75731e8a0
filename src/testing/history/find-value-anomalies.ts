import type { FoundAnomaly } from './collect-anomalies.ts'
import { fateOf, type PartitionFacts, rankOf, readsOf, type SendFacts, type ValueFacts } from './index-history.ts'

/** What a partition holds, by rank. */
export interface PartitionLog {
  /** A value that stands at the rank. */
  readonly at: readonly (ValueFacts | undefined)[]
  /** How many values that every reader must meet stand below the rank; one entry more than there are ranks. */
  readonly below: Uint32Array
}

/** How many entries of a list one piece of evidence holds. */
const shown = 8

/**
 * Judges each value of the partition by itself (aborted reads, duplicates, acknowledgements of another offset) and each of
 * its offsets, and returns the log that the sends and reads together prove.
 */
export function findValueAnomalies(partition: PartitionFacts, found: FoundAnomaly): PartitionLog {
  const at: (ValueFacts | undefined)[] = new Array(partition.offsets.length).fill(undefined)
  const exists = new Uint8Array(partition.offsets.length)
  const shared = new Map<number, Set<ValueFacts>>()

  for (const facts of partition.values.values()) {
    const possible = facts.sends.filter((send) => fateOf(send) !== 'failed')
    const landed = possible.filter((send) => fateOf(send) === 'landed')
    const reads = readsOf(facts)
    const aborted = facts.seen && facts.sends.length > 0 && possible.length === 0
    const claimed = new Set(landed.flatMap(({ offset }) => offset ?? []))
    const all = new Set([...reads.map(([offset]) => offset), ...claimed])
    // Only where there is a single send is its acknowledgement about the value that was read.
    const misplaced =
      possible.length === 1 && reads.length > 0 && claimed.size > 0 && reads.every(([offset]) => !claimed.has(offset))

    facts.place = placeOf(partition, { possible, landed, all })

    if (aborted) found('aborted-read', () => evidenceOf(partition, facts, 'was read, but no send of it took effect'))
    if (reads.length > 1 || (possible.length > 1 && all.size > 1))
      found('duplicate', () => evidenceOf(partition, facts, 'stands at more than one offset', all))
    if (misplaced)
      found('inconsistent-offsets', () =>
        evidenceOf(partition, facts, 'was read at another offset than its send was told', all),
      )

    for (const offset of misplaced ? reads.map(([read]) => read) : all) {
      const rank = rankOf(partition, offset)
      const other = at[rank]
      at[rank] ??= facts
      if (other !== undefined && other !== facts) shared.set(rank, (shared.get(rank) ?? new Set([other])).add(facts))
    }
    // An aborted value is one that readers are right to pass.
    if (!aborted)
      for (const offset of reads.length > 0 ? reads.map(([read]) => read) : claimed)
        exists[rankOf(partition, offset)] = 1
  }

  for (const [rank, values] of shared) {
    found('inconsistent-offsets', () => {
      const first = [...values].slice(0, shown)
      const offset = partition.offsets[rank] as string
      return {
        partition: partition.name,
        operations: first.map((facts) => operationAt(facts, offset)),
        offsets: [offset],
        values: first.map(({ value }) => value),
        detail: `${partition.name} holds ${first.map(({ value }) => JSON.stringify(value)).join(' and ')} at ${offset}`,
      }
    })
  }

  const below = new Uint32Array(exists.length + 1)
  for (const [rank, one] of exists.entries()) below[rank + 1] = (below[rank] as number) + one
  return { at, below }
}

/** A log that drops repeated values answers with the first one's offset: which of several sends put it there cannot be told. */
function placeOf(
  partition: PartitionFacts,
  { possible, landed, all }: { possible: readonly SendFacts[]; landed: readonly SendFacts[]; all: ReadonlySet<string> },
): number | 'unknown' | undefined {
  const [offset, ...others] = all // what was read stands before what was acknowledged
  if (possible.length === 0 || (offset === undefined && landed.length === 0)) return undefined
  return possible.length > 1 || offset === undefined || others.length > 0 ? 'unknown' : rankOf(partition, offset)
}

/** The operation that says that the value stands at this offset. */
function operationAt(facts: ValueFacts, offset: string): number {
  const read = facts.firstRead?.[0] === offset ? facts.firstRead[1] : facts.otherReads?.get(offset)
  return read ?? (facts.sends.find((send) => send.offset === offset) as SendFacts).operation
}

function evidenceOf(partition: PartitionFacts, facts: ValueFacts, what: string, offsets?: Set<string>) {
  const reads = readsOf(facts).slice(0, shown)
  const where = offsets === undefined ? reads.map(([offset]) => offset) : [...offsets].slice(0, shown)
  return {
    partition: partition.name,
    operations: [...facts.sends.slice(0, shown).map(({ operation }) => operation), ...reads.map(([, read]) => read)],
    offsets: where,
    values: [facts.value],
    detail: `${JSON.stringify(facts.value)} of ${partition.name} ${what}${where.length === 0 ? '' : `: ${where.join(', ')}`}`,
  }
}

import type { FoundAnomaly } from './collect-anomalies.ts'
import type { PollCoverage } from './find-poll-anomalies.ts'
import { fateOf, type PartitionFacts, rankOf, type SendFacts, type ValueFacts } from './index-history.ts'

/**
 * Judges what was sent but never read: lost where a reader came by in order, unseen where nobody came so far. Returns how
 * many values could not be judged: those that all readers went around, and those that may never have been appended.
 */
export function findMissingValues(
  partition: PartitionFacts,
  { passed }: PollCoverage,
  found: FoundAnomaly,
): { around: number; unknown: number } {
  let around = 0
  let unknown = 0
  for (const facts of partition.values.values()) {
    if (facts.seen) continue
    const landed = facts.sends.filter((send) => fateOf(send) === 'landed')
    if (landed.length === 0) {
      if (facts.sends.some((send) => fateOf(send) === 'unknown')) unknown++
      continue
    }
    const placed = landed.filter(({ offset }) => offset !== undefined)
    const lost = placed.find(({ offset }) => passed(partition, rankOf(partition, offset as string)))
    if (lost !== undefined) {
      found('lost-write', () =>
        evidenceOf(partition, facts, lost, `nobody read it, though readers came to ${highest(partition)}`),
      )
    } else if (placed.some(({ offset }) => rankOf(partition, offset as string) <= partition.highestRead)) {
      around++
    } else {
      // That a transaction was committed because somebody read from it is no acknowledgement.
      const acknowledged = landed.find(({ transaction }) => transaction?.fate !== 'proven')
      if (acknowledged !== undefined)
        found('unseen', () =>
          evidenceOf(
            partition,
            facts,
            acknowledged,
            `nobody read it: the highest offset read is ${highest(partition)}`,
          ),
        )
    }
  }
  return { around, unknown }
}

function highest({ offsets, highestRead }: PartitionFacts): string {
  return offsets[highestRead] ?? 'none'
}

function evidenceOf(partition: PartitionFacts, { value }: ValueFacts, { operation, offset }: SendFacts, what: string) {
  return {
    partition: partition.name,
    operations: [operation],
    offsets: offset === undefined ? [] : [offset],
    values: [value],
    detail: `${JSON.stringify(value)} was acknowledged in ${partition.name}${offset === undefined ? '' : ` at ${offset}`}, but ${what}`,
  }
}

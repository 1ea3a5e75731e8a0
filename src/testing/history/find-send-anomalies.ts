import type { FoundAnomaly } from './collect-anomalies.ts'
import type { PartitionLog } from './find-value-anomalies.ts'
import type { HistoryValue } from './history-operation.ts'
import type { HistoryIndex, PartitionFacts } from './index-history.ts'

interface Sent {
  readonly rank: number
  readonly value: HistoryValue
  readonly operation: number
  readonly transaction: string | undefined
  /** Whether the process sent more since, which may stand anywhere. */
  followed: boolean
}

/**
 * Follows each process through what it sent to each partition: steps back, and with `contiguous` values of others within a
 * send or transaction. Returns how many sends that took effect have no place that could be compared.
 */
export function findSendAnomalies(
  { history, partitions, transactions }: HistoryIndex,
  logs: ReadonlyMap<string, PartitionLog>,
  found: FoundAnomaly,
  { contiguous }: { contiguous: boolean },
): number {
  const producers = new Map<string, Map<string, Sent>>()
  let unplaced = 0
  for (const [i, operation] of history.entries()) {
    if (operation.kind !== 'send' || operation.outcome === 'failed') continue
    const { process, outcome, transaction } = operation
    const fate = transaction === undefined ? undefined : transactions.get(transaction)?.fate
    let last = producers.get(process)
    if (last === undefined) {
      last = new Map()
      producers.set(process, last)
    }
    for (const { partition: name, value, offset } of operation.records) {
      const partition = partitions.get(name) as PartitionFacts
      const rank = partition.values.get(value)?.place
      const before = last.get(name)
      if (rank === undefined) continue
      if (rank === 'unknown') {
        unplaced++
        if (before !== undefined) before.followed = true
        continue
      }
      if (before !== undefined) {
        const within =
          before.operation === i || (transaction !== undefined && transaction === before.transaction) ? 'int-' : ''
        const evidence = (what: string) => ({
          partition: name,
          operations: before.operation === i ? [i] : [before.operation, i],
          offsets: [before.rank, rank].map((known) => partition.offsets[known] as string),
          values: [before.value, value],
          detail: `${process} sent ${JSON.stringify(before.value)} and then ${JSON.stringify(value)} to ${name}, where they stand at ${partition.offsets[before.rank]} and ${partition.offsets[rank]}${what}`,
        })
        const { below } = logs.get(name) as PartitionLog
        if (rank <= before.rank) {
          found(`${within}nonmonotonic-send`, () => evidence(''))
        } else if (contiguous && within !== '' && !before.followed) {
          const between = (below[rank] as number) - (below[before.rank + 1] as number)
          if (between > 0) found('int-send-skip', () => evidence(`, with ${between} of others between`))
        }
      }
      // What was given up, send or commit, may land after what follows it.
      const settled = outcome === 'ok' && (offset !== undefined || fate !== 'proven')
      if (settled) last.set(name, { rank, value, operation: i, transaction, followed: false })
      else if (before !== undefined) before.followed = true
    }
  }
  return unplaced
}

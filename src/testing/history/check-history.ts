import type { Anomaly, AnomalyKind } from './anomaly.ts'
import { checkOperation } from './check-operation.ts'
import { collectAnomalies } from './collect-anomalies.ts'
import { findMissingValues } from './find-missing-values.ts'
import { findPollAnomalies } from './find-poll-anomalies.ts'
import { findSendAnomalies } from './find-send-anomalies.ts'
import { findValueAnomalies } from './find-value-anomalies.ts'
import type { HistoryOperation } from './history-operation.ts'
import { indexHistory } from './index-history.ts'

/** Options of `checkHistory`. */
export interface CheckHistoryOptions {
  /**
   * Kinds that are reported, but do not make the history invalid: `duplicate` for writers that may repeat themselves,
   * `poll-skip` and `nonmonotonic-poll` where a group rebalances without telling. Default: none.
   */
  readonly allowed?: readonly AnomalyKind[]
  /** Whether the log promises that what one send or transaction appends stands side by side (Kafka does not). Default: false. */
  readonly contiguous?: boolean
  /** How much evidence is kept of each kind. Default: 8. */
  readonly evidenceLimit?: number
}

/** Something that the history does not tell. */
export interface NotChecked {
  /** What would have been found there. */
  readonly kinds: readonly AnomalyKind[]
  /** How many values or reads it is about. */
  readonly count: number
  readonly reason: string
}

/** What `checkHistory` found. */
export interface HistoryReport {
  /** True if there is no anomaly but allowed ones. */
  readonly valid: boolean
  /** One line. */
  readonly summary: string
  /** What was found, one entry a kind, the worst first. */
  readonly anomalies: readonly Anomaly[]
  readonly notChecked: readonly NotChecked[]
}

/**
 * Checks what clients saw of a log for the anomalies of Jepsen's kafka workload (see `AnomalyKind`), of one partition at a
 * time; the order of different partitions is not judged, and no cycles between transactions are looked for. Outcomes that are
 * unknown are taken to be what makes the history right, if anything does. "Read" is what a poll returned: a value that only an
 * unknown poll may have returned counts as unseen, since nobody got it.
 *
 * End a test with a reader that reads everything from the beginning: what nobody read is `unseen`. A log that trims or
 * compacts what was not yet read is reported too, unless readers were told (an `assign` past the gap).
 *
 * Takes O(n log n) time, and memory of the history's order. Throws a `HistoryError` if the history is not one.
 *
 * @example
 * const { valid, summary, anomalies } = checkHistory(parseHistory(text), { allowed: ['duplicate'] })
 * if (!valid) console.error(summary, anomalies[0].message, anomalies[0].evidence[0].detail)
 */
export function checkHistory(history: readonly HistoryOperation[], options: CheckHistoryOptions = {}): HistoryReport {
  const { allowed = [], contiguous = false, evidenceLimit = 8 } = options
  for (const [i, operation] of history.entries()) checkOperation(operation, 'operation', i)

  const { found, list } = collectAnomalies(evidenceLimit)
  const index = indexHistory(history, found)
  const partitions = [...index.partitions.values()]
  const logs = new Map(partitions.map((partition) => [partition.name, findValueAnomalies(partition, found)]))
  const coverage = findPollAnomalies(index, logs, found)
  const unplaced = findSendAnomalies(index, logs, found, { contiguous })
  let around = 0
  let unknown = 0
  let unsent = 0
  for (const partition of partitions) {
    const missing = findMissingValues(partition, coverage, found)
    around += missing.around
    unknown += missing.unknown
    for (const { sends } of partition.values.values()) if (sends.length === 0) unsent++
  }

  const anomalies = list(allowed)
  const valid = anomalies.every((anomaly) => anomaly.allowed)
  const notChecked: NotChecked[] = [
    {
      kinds: ['lost-write', 'unseen'] as const,
      count: unknown,
      reason: 'values whose send is of unknown outcome and that nobody read: they may never have been appended',
    },
    {
      kinds: ['lost-write'] as const,
      count: around,
      reason:
        'acknowledged values that nobody read, below others that were: every reader started after them, or may have got them from a poll of unknown outcome',
    },
    {
      kinds: ['poll-skip', 'int-poll-skip'] as const,
      count: coverage.unchecked,
      reason:
        'reads before which the position was not known: a first one without an assign, or one after a poll, an assign or a transaction of unknown or failed outcome',
    },
    {
      kinds: ['nonmonotonic-send', 'int-nonmonotonic-send'] as const,
      count: unplaced,
      reason: 'sends whose offset is not known, or whose value was sent more than once',
    },
    {
      kinds: ['aborted-read', 'precommitted-read'] as const,
      count: unsent,
      reason: 'values that were read, but that no send of this history wrote',
    },
  ].filter(({ count }) => count > 0)
  return { valid, summary: summarize(history.length, anomalies, valid), anomalies, notChecked }
}

function summarize(operations: number, anomalies: readonly Anomaly[], valid: boolean): string {
  const kinds = anomalies.map(({ kind, count, allowed }) => `${count} ${kind}${allowed ? ' (allowed)' : ''}`)
  return `${valid ? 'valid' : 'invalid'}: ${kinds.length === 0 ? 'no anomaly' : kinds.join(', ')} in ${operations} operations`
}

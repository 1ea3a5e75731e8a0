import type { FoundAnomaly } from './collect-anomalies.ts'
import type { PartitionLog } from './find-value-anomalies.ts'
import type { AssignOperation, HistoryValue, PolledRecord, PollOperation } from './history-operation.ts'
import { type HistoryIndex, type PartitionFacts, rankOf } from './index-history.ts'

/**
 * Where a process reads next in a partition: after `rank`.
 *
 * `exact`: the next read must be what follows. `least`: it may have moved on unseen, but not back. `group`: it resumes where
 * its group left off, which has read all before.
 */
interface Position {
  readonly rank: number
  readonly certainty: 'exact' | 'least' | 'group'
  /** How many unknown polls the process had made by then: one more makes every `exact` a `least`. */
  readonly unknownPolls: number
  /** The operation that moved it here, and the value it read there. */
  readonly operation: number
  readonly transaction: string | undefined
  readonly value: HistoryValue | undefined
}

interface Reader {
  unknownPolls: number
  readonly positions: Map<string, Position>
  /** Per open transaction: the positions before its first poll. */
  readonly before: Map<string, Map<string, Position>>
}

/** What reading proves beyond what was read. */
export interface PollCoverage {
  /** Whether some reader was bound to meet what stands at the rank, since it read there, or passed it in order. */
  passed(partition: PartitionFacts, rank: number): boolean
  /** Reads whose predecessor is not known, so that a skip before them could not be told. */
  readonly unchecked: number
}

const start: Position = {
  rank: -1,
  certainty: 'group',
  unknownPolls: 0,
  operation: -1,
  transaction: undefined,
  value: undefined,
}

/** Follows each process through each partition: skips and steps back. */
export function findPollAnomalies(
  { history, partitions }: HistoryIndex,
  logs: ReadonlyMap<string, PartitionLog>,
  found: FoundAnomaly,
): PollCoverage {
  const readers = new Map<string, Reader>()
  const steps = new Map([...partitions].map(([name, { offsets }]) => [name, new Int32Array(offsets.length + 1)]))
  let unchecked = 0

  const read = (reader: Reader, operation: PollOperation, i: number, record: PolledRecord): void => {
    const { process, transaction } = operation
    const name = record.partition
    const partition = partitions.get(name) as PartitionFacts
    const { at, below } = logs.get(name) as PartitionLog
    const rank = rankOf(partition, record.offset)
    const position = reader.positions.get(name) ?? start
    const certainty = position.unknownPolls === reader.unknownPolls ? position.certainty : 'least'
    if (transaction !== undefined) keepBefore(reader, transaction, name, position)

    const within =
      position.operation === i || (transaction !== undefined && transaction === position.transaction) ? 'int-' : ''
    const evidence = (what: string, skipped: readonly number[]) => ({
      partition: name,
      operations: position.operation < 0 || position.operation === i ? [i] : [position.operation, i],
      offsets: [...[position.rank, ...skipped].flatMap((known) => partition.offsets[known] ?? []), record.offset],
      values: [position.value ?? [], ...skipped.map((known) => at[known]?.value ?? []), record.value].flat(),
      detail: `${process} read ${name} at ${record.offset} after ${partition.offsets[position.rank] ?? 'its beginning'}${what}`,
    })
    if (certainty !== 'group' && rank <= position.rank) {
      found(`${within}nonmonotonic-poll`, () => evidence('', []))
    } else if (certainty === 'exact') {
      const skipped = (below[rank] as number) - (below[position.rank + 1] as number)
      if (skipped > 0)
        found(`${within}poll-skip`, () =>
          evidence(`, past ${skipped} that exist`, existing(below, position.rank + 1, rank)),
        )
    }
    if (certainty !== 'exact') unchecked++
    const step = steps.get(name) as Int32Array
    step[certainty === 'least' || rank <= position.rank ? rank : position.rank + 1]! += 1
    step[rank + 1]! -= 1
    reader.positions.set(name, {
      rank,
      certainty: 'exact',
      unknownPolls: reader.unknownPolls,
      operation: i,
      transaction,
      value: record.value,
    })
  }

  for (const [i, operation] of history.entries()) {
    if (operation.kind === 'send') continue
    let reader = readers.get(operation.process)
    if (reader === undefined) {
      reader = { unknownPolls: 0, positions: new Map(), before: new Map() }
      readers.set(operation.process, reader)
    }
    if (operation.kind === 'poll') {
      if (operation.outcome === 'unknown') reader.unknownPolls++
      for (const record of operation.records) read(reader, operation, i, record)
    } else if (operation.kind === 'assign') {
      if (operation.outcome !== 'failed') assign(reader, operation, i, partitions.get(operation.partition))
    } else {
      const before = reader.before.get(operation.transaction)
      reader.before.delete(operation.transaction)
      if (operation.kind === 'commit' && operation.outcome === 'ok') continue
      // Whether the reader goes back to where the transaction began is the client's own affair.
      for (const [name, { rank, operation: operationBefore, value }] of before ?? [])
        reader.positions.set(name, {
          rank,
          certainty: 'least',
          unknownPolls: reader.unknownPolls,
          operation: operationBefore,
          transaction: undefined,
          value,
        })
    }
  }

  for (const step of steps.values()) for (let rank = 1; rank < step.length; rank++) step[rank]! += step[rank - 1]!
  return { passed: ({ name }, rank) => (steps.get(name)?.[rank] ?? 0) > 0, unchecked }
}

function keepBefore(reader: Reader, transaction: string, partition: string, position: Position): void {
  let before = reader.before.get(transaction)
  if (before === undefined) {
    before = new Map()
    reader.before.set(transaction, before)
  }
  if (!before.has(partition)) before.set(partition, position)
}

function assign(
  reader: Reader,
  { partition: name, outcome, after }: AssignOperation,
  operation: number,
  partition: PartitionFacts | undefined,
): void {
  const { unknownPolls } = reader
  for (const before of reader.before.values()) before.delete(name)
  const known = outcome === 'ok' && after !== undefined && partition !== undefined
  reader.positions.set(name, {
    rank: known ? rankOf(partition, after) : -1,
    certainty: outcome === 'unknown' ? 'least' : after === undefined ? 'group' : 'exact',
    unknownPolls,
    operation,
    transaction: undefined,
    value: undefined,
  })
}

/** The ranks from `from` up to `to` at which a value exists: the first few. */
function existing(below: Uint32Array, from: number, to: number): number[] {
  const ranks: number[] = []
  for (let rank = from; rank < to && ranks.length < 8; rank++) {
    if ((below[rank + 1] as number) > (below[rank] as number)) ranks.push(rank)
  }
  return ranks
}

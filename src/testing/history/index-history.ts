import type { FoundAnomaly } from './collect-anomalies.ts'
import { compareOffsets } from './compare-offsets.ts'
import { HistoryError } from './history-error.ts'
import type { HistoryOperation, HistoryOutcome, HistoryValue, TransactionEnd } from './history-operation.ts'

/** A transaction, as far as the history tells. */
export interface TransactionFacts {
  readonly process: string
  /** `proven`: its commit is unknown, but somebody read one of its values, so that it must have been committed. */
  fate: 'open' | 'unknown' | 'proven' | 'committed' | 'aborted'
  /** Index of the operation that first asked for its end. */
  end: number
}

/** One send of one value. */
export interface SendFacts {
  readonly operation: number
  readonly process: string
  readonly outcome: HistoryOutcome
  readonly transaction: TransactionFacts | undefined
  readonly offset: string | undefined
}

/** One value of a partition: who sent it, and where it was read. */
export interface ValueFacts {
  readonly value: HistoryValue
  readonly sends: SendFacts[]
  /** Whether any poll returned it. */
  seen: boolean
  /** Where it was first read (but for a transaction's own early reads), and by which operation. See `readsOf`. */
  firstRead: readonly [offset: string, operation: number] | undefined
  /** The other offsets at which it was read: none in a log that is sound. */
  otherReads: Map<string, number> | undefined
  /** The rank at which its one send put it; undefined where none is known to have had an effect. */
  place: number | 'unknown' | undefined
}

/** One partition. Ranks number its offsets from 0 in the log's order; -1 is its beginning. */
export interface PartitionFacts {
  readonly name: string
  readonly values: Map<HistoryValue, ValueFacts>
  readonly ranks: Map<string, number>
  offsets: readonly string[]
  /** The highest rank at which anything was read. */
  highestRead: number
}

/** What the history says, value by value. */
export interface HistoryIndex {
  readonly history: readonly HistoryOperation[]
  readonly partitions: ReadonlyMap<string, PartitionFacts>
  readonly transactions: ReadonlyMap<string, TransactionFacts>
}

/** Gathers the facts, and reports what only the order of a process's own operations shows: precommitted reads. */
export function indexHistory(history: readonly HistoryOperation[], found: FoundAnomaly): HistoryIndex {
  const partitions = new Map<string, PartitionFacts>()
  const transactions = new Map<string, TransactionFacts>()

  const partitionOf = (name: string): PartitionFacts => {
    let partition = partitions.get(name)
    if (partition === undefined) {
      partition = { name, values: new Map(), ranks: new Map(), offsets: [], highestRead: -1 }
      partitions.set(name, partition)
    }
    return partition
  }
  const factsOf = ({ values }: PartitionFacts, value: HistoryValue): ValueFacts => {
    let facts = values.get(value)
    if (facts === undefined) {
      facts = { value, sends: [], seen: false, firstRead: undefined, otherReads: undefined, place: undefined }
      values.set(value, facts)
    }
    return facts
  }
  const transactionOf = (id: string | undefined, process: string, operation: number): TransactionFacts | undefined => {
    if (id === undefined) return undefined
    let transaction = transactions.get(id)
    if (transaction === undefined) {
      transaction = { process, fate: 'open', end: Number.POSITIVE_INFINITY }
      transactions.set(id, transaction)
    }
    if (transaction.process !== process) {
      const expected = `transaction ${JSON.stringify(id)} to be that of process ${JSON.stringify(transaction.process)} alone`
      throw new HistoryError('operation', operation, { expected, found: process })
    }
    return transaction
  }

  for (const [i, operation] of history.entries()) {
    if (operation.kind === 'assign') {
      if (operation.after) partitionOf(operation.partition).ranks.set(operation.after, -1)
      continue
    }
    const { process, outcome } = operation
    const transaction = transactionOf(operation.transaction, process, i)
    if (operation.kind === 'send') {
      for (const { partition: name, value, offset } of operation.records) {
        const partition = partitionOf(name)
        if (offset !== undefined) partition.ranks.set(offset, -1)
        factsOf(partition, value).sends.push({ operation: i, process, outcome, transaction, offset })
      }
    } else if (operation.kind !== 'poll') {
      end(transaction as TransactionFacts, operation, i)
    }
  }

  for (const [i, operation] of history.entries()) {
    if (operation.kind !== 'poll') continue
    for (const { partition: name, value, offset } of operation.records) {
      const partition = partitionOf(name)
      const facts = factsOf(partition, value)
      partition.ranks.set(offset, -1)
      facts.seen = true
      const transaction = onlyTransactionOf(facts)
      if (transaction !== undefined && transaction.process === operation.process && i < transaction.end) {
        found('precommitted-read', () => ({
          partition: name,
          operations: [...facts.sends.map((send) => send.operation).slice(0, 1), i],
          offsets: [offset],
          values: [value],
          detail: `${operation.process} polled ${JSON.stringify(value)} from ${name} at ${offset}, which its own transaction had sent but not yet committed`,
        }))
        continue
      }
      if (transaction?.fate === 'open' || transaction?.fate === 'unknown') transaction.fate = 'proven'
      facts.firstRead ??= [offset, i]
      if (offset === facts.firstRead[0]) continue
      facts.otherReads ??= new Map()
      if (!facts.otherReads.has(offset)) facts.otherReads.set(offset, i)
    }
  }

  for (const partition of partitions.values()) rankOffsets(partition)
  return { history, partitions, transactions }
}

/** The one transaction in which the value was sent; undefined if it was sent in none, or more than once. */
function onlyTransactionOf({ sends }: ValueFacts): TransactionFacts | undefined {
  return sends.length === 1 && sends[0]?.outcome !== 'failed' ? sends[0]?.transaction : undefined
}

/** No commit that may have succeeded: aborted, whatever became of the abort. One that may have: only a reader can tell. */
function end(transaction: TransactionFacts, { kind, outcome }: TransactionEnd, operation: number): void {
  if (kind === 'commit' && outcome === 'ok') transaction.fate = 'committed'
  else if (kind === 'commit' && outcome === 'unknown' && transaction.fate !== 'committed') transaction.fate = 'unknown'
  else if ((kind === 'commit' || outcome !== 'failed') && transaction.fate === 'open') transaction.fate = 'aborted'
  if (outcome !== 'failed') transaction.end = Math.min(transaction.end, operation)
}

function rankOffsets(partition: PartitionFacts): void {
  partition.offsets = [...partition.ranks.keys()].sort(compareOffsets)
  for (const [rank, offset] of partition.offsets.entries()) partition.ranks.set(offset, rank)
  for (const facts of partition.values.values()) {
    for (const [offset] of readsOf(facts))
      partition.highestRead = Math.max(partition.highestRead, rankOf(partition, offset))
  }
}

/** Each offset at which the value was read, with the first operation that did. */
export function readsOf({ firstRead, otherReads }: ValueFacts): (readonly [offset: string, operation: number])[] {
  return firstRead === undefined ? [] : [firstRead, ...(otherReads ?? [])]
}

/** Where the offset stands among those of its partition; -1 for `""`. */
export function rankOf({ ranks }: PartitionFacts, offset: string): number {
  return ranks.get(offset) ?? -1
}

/** Whether the send took effect, as far as the history tells. */
export function fateOf({ outcome, transaction }: SendFacts): 'landed' | 'failed' | 'unknown' {
  if (outcome === 'failed' || transaction?.fate === 'aborted') return 'failed'
  if (outcome === 'unknown' || transaction?.fate === 'open' || transaction?.fate === 'unknown') return 'unknown'
  return 'landed'
}

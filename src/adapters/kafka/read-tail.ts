import { codeOf } from '../../core/errors.ts'
import { wireNames } from '../../core/wire.ts'
import { replyError } from './kafka-error.ts'
import type { PartitionBounds, PartitionLog } from './partition-log.ts'
import type { KafkaRecord, RecordBatch } from './protocol/record-batch.ts'
import type { Place } from './route-checkpoint.ts'
import type { FoundEvent } from './skipped-events.ts'

/** What a tail is read of: a partition with the isolation `all`, since an open transaction of another writer would hide what is behind it. */
export type TailLog = Pick<PartitionLog, 'fetch'>

const FIRST_STEP = 100n
const MAX_STEP = 20_000n
const FETCH_BYTES = 1024 * 1024
/** Mostly the marker of a transaction follows at once. */
const OUTCOME_BYTES = 16 * 1024

/** The batches that have a part between two positions, in the order of the log. */
async function* batchesBetween(
  log: string,
  tail: TailLog,
  { from, to, maxBytes = FETCH_BYTES }: { readonly from: bigint; readonly to: bigint; readonly maxBytes?: number },
): AsyncGenerator<RecordBatch> {
  let emptyAt: bigint | undefined
  for (let position = from; position < to; ) {
    const { errorCode, throttleMs, batches } = await tail.fetch({ offset: position, lastEpoch: -1, maxBytes })
    if (errorCode !== 0) throw replyError(log, errorCode)
    if (batches.length === 0) {
      if (throttleMs > 0) continue // a quota: it says nothing about what is there
      if (emptyAt === position) return // asked twice: the rest has been compacted away
      emptyAt = position
      continue
    }
    for (const batch of batches) {
      if (batch.lastOffset < position || batch.baseOffset >= to) continue
      yield batch
    }
    position = (batches.at(-1) as RecordBatch).lastOffset + 1n
  }
}

/** A record, and what is known of its batch. */
export interface TailRecord {
  readonly record: KafkaRecord
  /** Of the leader that appended it. */
  readonly leaderEpoch: number
  /** Whether it is not part of a transaction that is aborted, or still open. */
  readonly committed: boolean
  /** By which producer. */
  readonly producerId: bigint
}

/** The records of a partition from its end backwards. */
export async function* recordsBackwards(
  log: string,
  tail: TailLog,
  { low, high }: PartitionBounds,
): AsyncGenerator<TailRecord> {
  const outcomes = new Map<bigint, RecordBatch['control']>() // by producer: of the transaction whose records come next
  let step = FIRST_STEP
  for (let to = high; to > low; step = step * 4n < MAX_STEP ? step * 4n : MAX_STEP) {
    const from = to - step > low ? to - step : low
    const batches: RecordBatch[] = []
    for await (const batch of batchesBetween(log, tail, { from, to })) batches.push(batch)
    for (const batch of batches.reverse()) {
      const { control, producerId, transactional, leaderEpoch } = batch
      if (control !== undefined) {
        outcomes.set(producerId, control)
        continue
      }
      const committed = !transactional || outcomes.get(producerId) === 'commit'
      for (const record of [...batch.records()].reverse()) yield { record, leaderEpoch, committed, producerId }
    }
    to = from
  }
}

/** Whether a transaction of a producer ends between two positions. */
export async function hasEnd(
  log: string,
  tail: TailLog,
  { from, to, producerId }: { readonly from: bigint; readonly to: bigint; readonly producerId: bigint },
): Promise<boolean> {
  for await (const batch of batchesBetween(log, tail, { from, to, maxBytes: OUTCOME_BYTES }))
    if (batch.control !== undefined && batch.producerId === producerId) return true
  return false
}

/** Where to look. */
export interface TailRange {
  readonly place: Place
  readonly from: bigint
  readonly to: bigint
  /** The name of the source whose events are looked for. */
  readonly source: string
  /** By which of Kafka's producer ids they were appended. Default: by any. */
  readonly producers?: ReadonlySet<bigint> | undefined
}

/** The events of `source` between two positions. Those of transactions that are aborted, or still open, are not among them. */
export async function eventsBetween(
  log: string,
  tail: TailLog,
  { place, from, to, source, producers }: TailRange,
): Promise<FoundEvent[]> {
  const found: FoundEvent[] = []
  const open = new Map<bigint, Omit<FoundEvent, 'end'>[]>()
  for await (const batch of batchesBetween(log, tail, { from, to })) {
    const { producerId, control } = batch
    if (control !== undefined) {
      const end = batch.lastOffset + 1n
      if (control === 'commit') for (const event of open.get(producerId) ?? []) found.push({ ...event, end })
      open.delete(producerId)
      continue
    }
    if (producers?.has(producerId) === false) continue
    const here: Omit<FoundEvent, 'end'>[] = []
    for (const { offset, headers } of batch.records()) {
      const id = sourceIdIn(headers, source)
      if (id !== undefined && BigInt(offset) >= from && BigInt(offset) < to)
        here.push({ id, place, offset: BigInt(offset) })
    }
    if (!batch.transactional) for (const event of here) found.push({ ...event, end: event.offset + 1n })
    else open.set(producerId, [...(open.get(producerId) ?? []), ...here])
  }
  return found
}

/**
 * Whether what stands at an offset is the event `id` of `source`, and committed; also if compaction may have taken it away. `to` is
 * the end of the partition.
 */
export async function mayStandAt(
  log: string,
  tail: TailLog,
  {
    offset,
    to,
    id,
    source,
  }: { readonly offset: bigint; readonly to: bigint; readonly id: string; readonly source: string },
): Promise<boolean> {
  let producerId: bigint | undefined
  for await (const batch of batchesBetween(log, tail, { from: offset, to, maxBytes: OUTCOME_BYTES })) {
    if (producerId === undefined) {
      if (batch.baseOffset > offset) return true
      // It was the last of its batch, and batches are never split.
      if (batch.control !== undefined || batch.lastOffset !== offset) return false
      const last = lastRecord(batch)
      if (last !== undefined && BigInt(last.offset) === offset && sourceIdIn(last.headers, source) !== id) return false
      if (!batch.transactional) return true
      producerId = batch.producerId
    } else if (batch.control !== undefined && batch.producerId === producerId) {
      return batch.control === 'commit' // the same event may have been appended there before, and given up
    }
  }
  return producerId === undefined
}

/** Undefined if compaction has taken it, or if it cannot be unpacked: the topic's `compression.type` may be one that is not known. */
function lastRecord(batch: RecordBatch): KafkaRecord | undefined {
  try {
    return [...batch.records()].at(-1)
  } catch (error) {
    if (codeOf(error) === 'KAFKA_COMPRESSION') return undefined
    throw error
  }
}

function sourceIdIn(headers: KafkaRecord['headers'], source: string): string | undefined {
  const value = (wanted: string): string | undefined => headers.find(([name]) => name === wanted)?.[1]?.toString()
  return value(wireNames.source) === source ? value(wireNames.sourceId) : undefined
}

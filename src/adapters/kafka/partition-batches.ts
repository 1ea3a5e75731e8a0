import { CursorAheadError, DecodeError } from '../../core/errors.ts'
import type { Batch, Event } from '../../core/event.ts'
import { type PartitionLog, proveOffset } from './partition-log.ts'
import type { Fetched } from './protocol/fetch.ts'
import type { KafkaRecord, RecordBatch } from './protocol/record-batch.ts'

/** What is read of a partition. */
export interface PartitionReading {
  /** Names the log in errors. */
  readonly log: string
  /** The position to begin at. */
  readonly from: bigint
  /** True unless the position is the earliest there is, wherever that is when the first record is read. */
  readonly proven: boolean
  /** The position to end at; undefined: never. */
  readonly end: bigint | undefined
  readonly batchSize: number
  readonly batchBytes: number
  readonly types: readonly number[] | undefined
  toEvent(record: KafkaRecord): Event
}

/**
 * The events of a partition from a position on, in the order of the log: those of aborted transactions are left out, control
 * records and compacted ones passed over. A position that has been trimmed, or that the leader's log does not have any more, is
 * an error at every fetch. The position is that after a *batch* of the log, which may be beyond its last record: compaction
 * leaves batches without any.
 */
export async function* partitionBatches(
  partition: Pick<PartitionLog, 'bounds' | 'fetch'>,
  { log, from, proven, end, batchSize, batchBytes, types, toEvent }: PartitionReading,
): AsyncGenerator<Batch> {
  let position = from
  let yielded = from
  let lastEpoch = -1
  let emptyAt: bigint | undefined
  const atEnd = (): boolean => end !== undefined && position >= end

  while (!atEnd()) {
    const fetched = await partition.fetch({ offset: position, lastEpoch, maxBytes: batchBytes })
    if (fetched.errorCode !== 0) {
      const bounds = await partition.bounds()
      if (!proven && position === from)
        position = bounds.low // "" is never trimmed
      else proveOffset(log, position, bounds) // if it is not out of range any more, the next fetch tells
      continue
    }
    if (fetched.divergingEnd !== undefined) {
      const found = String(fetched.divergingEnd - 1n)
      throw new CursorAheadError(log, { cursor: String(position - 1n), reason: 'beyond', found })
    }

    let events: Event[] = []
    let bytes = 0
    for (const { batch, counts } of committed(fetched)) {
      const { baseOffset, lastOffset } = batch
      if (lastOffset < position || atEnd()) continue
      const starts = baseOffset < position // the batch may begin before
      const ends = end !== undefined && lastOffset >= end
      for (const record of counts ? batch.records() : []) {
        if (starts && BigInt(record.offset) < position) continue
        if (ends && BigInt(record.offset) >= end) break
        let event: Event
        try {
          event = toEvent(record)
        } catch (cause) {
          const offset = BigInt(record.offset)
          if (offset > yielded) yield { events, cursor: String(offset - 1n) }
          throw new DecodeError(log, { position: record.offset, cause })
        }
        if (types !== undefined && !types.includes(event.type)) continue
        events.push(event)
        bytes += sizeOf(record)
        if (events.length < batchSize && bytes < batchBytes) continue
        yield { events, cursor: record.offset }
        yielded = BigInt(record.offset) + 1n
        events = []
        bytes = 0
      }
      lastEpoch = batch.leaderEpoch
      position = ends ? end : lastOffset + 1n
    }
    if (fetched.batches.length === 0 && fetched.throttleMs === 0 && fetched.lastStableOffset > position) {
      // Compaction has taken all that followed. Asked twice: what is passed over here is never asked for again.
      if (emptyAt === position) position = endOr(fetched.lastStableOffset)
      else emptyAt = position
    }
    if (position > yielded) {
      yield { events, cursor: String(position - 1n) }
      yielded = position
    }
  }

  function endOr(at: bigint): bigint {
    return end !== undefined && end < at ? end : at
  }
}

/** The batches, each with whether its records count: control records and those of aborted transactions do not. */
function* committed({
  batches,
  aborted,
}: Fetched): Generator<{ readonly batch: RecordBatch; readonly counts: boolean }> {
  const waiting = aborted.toSorted((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1))
  const open = new Set<bigint>() // producers whose records, from here to their abort marker, do not count
  for (const batch of batches) {
    for (; waiting[0] !== undefined && waiting[0].firstOffset <= batch.lastOffset; waiting.shift())
      open.add(waiting[0].producerId)
    yield { batch, counts: batch.control === undefined && !(batch.transactional && open.has(batch.producerId)) }
    if (batch.control === 'abort') open.delete(batch.producerId)
  }
}

function sizeOf({ key, value }: KafkaRecord): number {
  return (key?.length ?? 0) + (value?.length ?? 0)
}

import { CursorAheadError, DecodeError, ReflexError } from '../../core/errors.ts'
import type { Batch, Event } from '../../core/event.ts'
import { type PartitionBounds, type PartitionLog, proveOffset } from './partition-log.ts'
import type { Fetched } from './protocol/fetch.ts'
import type { KafkaRecord, RecordBatch, TextRecord } from './protocol/record-batch.ts'

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
  /** Takes the place of `toEvent` where it is given, with records whose headers are text already: quicker. */
  readonly toEventOfText?: ((record: TextRecord) => Event) | undefined
}

/**
 * The events of a partition from a position on, in the order of the log: those of aborted transactions are left out, control
 * records and compacted ones passed over. A position that has been trimmed, or that the leader's log does not have any more, is
 * an error at every fetch. The position is that after a *batch* of the log, which may be beyond its last record: compaction
 * leaves batches without any.
 */
export async function* partitionBatches(
  partition: Pick<PartitionLog, 'bounds' | 'fetch'>,
  { log, from, proven, end, batchSize, batchBytes, types, toEvent, toEventOfText }: PartitionReading,
): AsyncGenerator<Batch> {
  let start = from
  let position = from
  let yielded = from
  let readTo = from // where the last batch that came has ended
  let lastEpoch = -1
  let emptyAt: bigint | undefined
  const atEnd = (): boolean => end !== undefined && position >= end
  const fetch = (offset: bigint, lastEpoch: number): Promise<Fetched> => {
    const fetching = partition.fetch({ offset, lastEpoch, maxBytes: batchBytes })
    fetching.catch(() => {}) // seen when it is awaited; not at all if the reply before it cannot be read
    return fetching
  }

  let ahead: Promise<Fetched> | undefined // what follows this reply is on its way while it is read
  while (!atEnd()) {
    const fetched = await (ahead ?? fetch(position, lastEpoch))
    const { lastStableOffset, divergingEnd } = fetched
    ahead = undefined
    if (fetched.errorCode !== 0) {
      const bounds = await partition.bounds()
      if (proven || yielded > start) throw outOfRange(log, position, bounds)
      start = position = yielded = readTo = bounds.low // "" is never trimmed
      continue
    }
    if (divergingEnd !== undefined) {
      if (divergingEnd < readTo)
        throw new CursorAheadError(log, {
          cursor: String(position - 1n),
          reason: 'beyond',
          found: String(divergingEnd - 1n),
        })
      lastEpoch = -1 // of later leaders, nothing was left to be read
      continue
    }
    const newest = fetched.batches.at(-1)
    if (newest !== undefined && newest.lastOffset >= position && (end === undefined || newest.lastOffset + 1n < end))
      ahead = fetch(newest.lastOffset + 1n, newest.leaderEpoch)

    let events: Event[] = []
    let bytes = 0
    let last: string | undefined
    try {
      for (const { batch, counts } of committed(fetched)) {
        const { baseOffset, lastOffset } = batch
        if (lastOffset < position || atEnd()) continue
        const starts = baseOffset < position // the batch may begin before
        const ends = end !== undefined && lastOffset >= end
        for (const record of counts ? recordsOf(batch) : []) {
          if (starts && BigInt(record.offset) < position) continue
          if (ends && BigInt(record.offset) >= end) break
          const event = decoded(record)
          last = record.offset
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
        readTo = lastOffset + 1n
        position = ends ? end : readTo
      }
    } catch (error) {
      const cursor = last ?? String(position - 1n)
      if (BigInt(cursor) >= yielded) yield { events, cursor } // what comes before can be handled
      throw error
    }
    if (fetched.batches.length === 0 && fetched.throttleMs === 0) {
      if (end !== undefined && lastStableOffset < end)
        throw new ReflexError(
          'KAFKA_HEAD_LOST',
          `${log}: expected the log to reach to ${end - 1n}, its head when it was opened, but it ends at ${lastStableOffset - 1n}; start again`,
        )
      // Compaction has taken all that followed. Asked twice: what is passed over here is never asked for again.
      if (lastStableOffset > position) {
        if (emptyAt === position) position = endOr(lastStableOffset)
        else emptyAt = position
      }
    }
    if (position > yielded) {
      yield { events, cursor: String(position - 1n) }
      yielded = position
    }
  }

  function endOr(at: bigint): bigint {
    return end !== undefined && end < at ? end : at
  }
  function recordsOf(batch: RecordBatch): Iterable<TextRecord> {
    return toEventOfText === undefined ? batch.records() : batch.records('text')
  }
  function decoded(record: TextRecord): Event {
    try {
      return toEventOfText === undefined ? toEvent(record as KafkaRecord) : toEventOfText(record)
    } catch (cause) {
      throw new DecodeError(log, { position: record.offset, cause })
    }
  }
}

/** Also where the log reaches to the position again: it did not a moment ago, and so what is there now is not what followed. */
function outOfRange(log: string, position: bigint, bounds: PartitionBounds): Error {
  proveOffset(log, position, bounds)
  const found = 'not known: it was lost before, and has grown again'
  return new CursorAheadError(log, { cursor: String(position - 1n), reason: 'beyond', found })
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

function sizeOf({ key, value, headers }: TextRecord): number {
  let bytes = (key?.length ?? 0) + (value?.length ?? 0)
  for (const [name, each] of headers) bytes += name.length + (each?.length ?? 0)
  return bytes
}

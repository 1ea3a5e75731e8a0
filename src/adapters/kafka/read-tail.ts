import { wireNames } from '../../core/wire.ts'
import { replyError } from './kafka-error.ts'
import type { PartitionBounds, PartitionLog } from './partition-log.ts'
import type { KafkaRecord, RecordBatch } from './protocol/record-batch.ts'

/** What a tail is read of: a partition with the isolation `all`, since an open transaction of another writer would hide what is behind it. */
export type TailLog = Pick<PartitionLog, 'fetch'>

const FIRST_STEP = 100n
const MAX_STEP = 20_000n
const FETCH_BYTES = 1024 * 1024

/** The batches that have a part between two positions, in the order of the log. */
async function* batchesBetween(log: string, tail: TailLog, from: bigint, to: bigint): AsyncGenerator<RecordBatch> {
  for (let position = from; position < to; ) {
    const { errorCode, batches } = await tail.fetch({ offset: position, lastEpoch: -1, maxBytes: FETCH_BYTES })
    if (errorCode !== 0) throw replyError(log, errorCode)
    if (batches.length === 0) return // the rest has been compacted away
    for (const batch of batches) {
      if (batch.lastOffset < position || batch.baseOffset >= to) continue
      yield batch
    }
    position = (batches.at(-1) as RecordBatch).lastOffset + 1n
  }
}

/**
 * The records of a partition from its end backwards, without those of aborted transactions. The transactions of the caller must
 * have ended: an open one counts as committed.
 */
export async function* recordsBackwards(
  log: string,
  tail: TailLog,
  { low, high }: PartitionBounds,
): AsyncGenerator<KafkaRecord> {
  const outcomes = new Map<bigint, RecordBatch['control']>() // by producer: of the transaction whose records come next
  let step = FIRST_STEP
  for (let to = high; to > low; step = step * 4n < MAX_STEP ? step * 4n : MAX_STEP) {
    const from = to - step > low ? to - step : low
    const batches: RecordBatch[] = []
    for await (const batch of batchesBetween(log, tail, from, to)) batches.push(batch)
    for (const batch of batches.reverse()) {
      if (batch.control !== undefined) outcomes.set(batch.producerId, batch.control)
      else if (!batch.transactional || outcomes.get(batch.producerId) !== 'abort') yield* [...batch.records()].reverse()
    }
    to = from
  }
}

/** The ids of the events of `source` between two positions. Those of transactions that are aborted, or still open, are not among them. */
export async function sourceIdsBetween(
  log: string,
  tail: TailLog,
  { from, to, source }: { readonly from: bigint; readonly to: bigint; readonly source: string },
): Promise<string[]> {
  const ids: string[] = []
  const open = new Map<bigint, string[]>()
  for await (const batch of batchesBetween(log, tail, from, to)) {
    const { producerId, control } = batch
    if (control !== undefined) {
      if (control === 'commit') ids.push(...(open.get(producerId) ?? []))
      open.delete(producerId)
      continue
    }
    const found = [...batch.records()].flatMap(({ headers }) => sourceIdIn(headers, source) ?? [])
    if (!batch.transactional) ids.push(...found)
    else open.set(producerId, [...(open.get(producerId) ?? []), ...found])
  }
  return ids
}

function sourceIdIn(headers: KafkaRecord['headers'], source: string): string | undefined {
  const value = (wanted: string): string | undefined => headers.find(([name]) => name === wanted)?.[1]?.toString()
  return value(wireNames.source) === source ? value(wireNames.sourceId) : undefined
}

import type { PartitionBounds, PartitionLog } from '../../src/adapters/kafka/partition-log.ts'
import type { Fetched } from '../../src/adapters/kafka/protocol/fetch.ts'
import type { KafkaRecord, RecordBatch } from '../../src/adapters/kafka/protocol/record-batch.ts'
import { ReflexError } from '../../src/core/errors.ts'

/** What happens to a partition. Positions are per mille of the log as it is then. */
export type Step =
  | { readonly op: 'append'; readonly producer: number; readonly types: readonly number[] }
  | { readonly op: 'end'; readonly producer: number; readonly outcome: 'commit' | 'abort' }
  | { readonly op: 'compact'; readonly upTo: number; readonly seed: number; readonly keepsEmpty: boolean }
  | { readonly op: 'trim'; readonly to: number }
  | { readonly op: 'elect' }
  /** A tail is lost in an unclean election, and so many batches are written by the next time that someone asks. */
  | { readonly op: 'lose'; readonly to: number; readonly regrown: number }
  /** The leader moves: the next fetch meets a broker that does not lead the partition any more. */
  | { readonly op: 'move' }
  /** The next answer is empty, for the sake of a quota; with `bare` it says nothing of the log either. */
  | { readonly op: 'throttle'; readonly bare: boolean }
  /** The next answer is empty. */
  | { readonly op: 'hiccup' }
  | { readonly op: 'nothing' }

/** The code of what a fetch throws once another broker leads. */
export const NOT_LEADER = 'KAFKA_NOT_LEADER_OR_FOLLOWER'

/** The producers below this number write in transactions; the next is idempotent, those after it are neither. */
export const TRANSACTIONAL = 3

/** A record that was appended, whatever became of it. */
export interface WrittenRecord {
  /** Its number in the order of writing: what was lost has another one than what stands there now. */
  readonly serial: number
  readonly offset: bigint
  readonly type: number
  transaction: 'none' | 'open' | 'committed' | 'aborted'
  gone: 'compacted' | 'trimmed' | 'lost' | undefined
}

/** A log as Kafka keeps it, in memory: changes between two questions that it is asked. */
export interface SimulatedPartition extends Pick<PartitionLog, 'bounds' | 'fetch'> {
  /** Does a step now. */
  apply(step: Step): void
  readonly written: readonly WrittenRecord[]
  /** The earliest position. */
  readonly low: bigint
  /** The last stable offset. */
  readonly high: bigint
  /** The position after the last record, stable or not. */
  readonly end: bigint
  /** The lowest position from which something was lost since the last call, and how many records had been written by then. */
  lostSince(): { readonly from: bigint; readonly serial: number } | undefined
}

interface SimulatedBatch {
  readonly baseOffset: bigint
  readonly lastOffset: bigint
  readonly leaderEpoch: number
  readonly producer: number
  readonly control: 'commit' | 'abort' | undefined
  records: readonly WrittenRecord[]
}

interface Ended {
  readonly producer: number
  readonly firstOffset: bigint
  readonly marker: bigint
}

const BATCH_BYTES = 61
const RECORD_BYTES = 21

/** The event type and the serial number in a record of the simulated log. */
export function contentOf({ offset, key, value }: KafkaRecord): { type: number; serial: number } {
  if (key?.[0] === 0) throw new Error(`${offset} is a control record`)
  return { type: Number(key), serial: Number(value) }
}

/** Nothing is going to happen any more to a reader that has everything. */
export class NothingMoreComes extends Error {}

/**
 * A partition of its own, which does one of `steps` before each answer. Its answers are those of `Partition.readRecords` and
 * `LogCleaner` of Kafka 4.3. Throws `NothingMoreComes` at a fetch at the end when all steps are done.
 */
export function simulatedPartition(steps: Step[] = []): SimulatedPartition {
  let batches: SimulatedBatch[] = []
  let low = 0n
  let end = 0n
  let epochs = [{ epoch: 0, start: 0n }]
  let open = new Map<number, bigint>() // first offset of the transaction, by producer
  let ended: Ended[] = []
  let aborted: Ended[] = [] // the index of aborted transactions, in the order of their markers
  let lost: { from: bigint; serial: number } | undefined
  let once: 'throttle' | 'bare throttle' | 'hiccup' | undefined
  let moved = false
  let hiccupAt: bigint | undefined
  let idle = 0
  const written: WrittenRecord[] = []

  const high = (): bigint => {
    const [unstable = end] = [...open.values()].toSorted((a, b) => (a < b ? -1 : 1))
    return unstable < low ? low : unstable
  }
  const epoch = (): number => epochs.at(-1)?.epoch ?? 0
  const at = (perMille: number, to: bigint): bigint => low + ((to - low) * BigInt(perMille)) / 1000n
  const put = (batch: Omit<SimulatedBatch, 'baseOffset' | 'leaderEpoch'>): void => {
    batches.push({ ...batch, baseOffset: end, leaderEpoch: epoch() })
    end = batch.lastOffset + 1n
  }
  const within = (record: WrittenRecord, first: bigint, producer: number, last: bigint): boolean =>
    record.offset >= first && record.offset < last && producerOf(record) === producer
  const producers = new Map<WrittenRecord, number>()
  const producerOf = (record: WrittenRecord): number => producers.get(record) ?? -1

  const does: { readonly [Op in Step['op']]: (step: Extract<Step, { op: Op }>) => void } = {
    append: ({ producer, types }) => {
      const transactional = producer < TRANSACTIONAL
      const records = types.map((type, i): WrittenRecord => {
        const offset = end + BigInt(i)
        const transaction = transactional ? 'open' : 'none'
        return { serial: written.length + i, offset, type, transaction, gone: undefined }
      })
      if (transactional && !open.has(producer)) open.set(producer, end)
      for (const record of records) producers.set(record, producer)
      written.push(...records)
      put({ lastOffset: end + BigInt(types.length) - 1n, producer, control: undefined, records })
    },
    end: ({ producer, outcome }) => {
      const firstOffset = open.get(producer)
      if (firstOffset === undefined) return
      const transaction = { producer, firstOffset, marker: end }
      for (const record of written)
        if (record.transaction === 'open' && within(record, firstOffset, producer, end))
          record.transaction = outcome === 'commit' ? 'committed' : 'aborted'
      ended.push(transaction)
      if (outcome === 'abort') aborted.push(transaction)
      open.delete(producer)
      put({ lastOffset: end, producer, control: outcome, records: [] })
    },
    compact: ({ upTo, seed, keepsEmpty }) => {
      const clean = at(upTo, high())
      const lastOf = new Map(batches.map((batch) => [batch.producer, batch]))
      batches = batches.filter((batch) => {
        if (batch.lastOffset >= clean) return true
        if (batch.control !== undefined) return keepsMarker(batch, seed)
        for (const record of batch.records) {
          if (record.transaction !== 'aborted' && (record.serial * 7919 + seed) % 3 > 0 && seed % 4 > 0) continue
          record.gone ??= 'compacted'
        }
        batch.records = batch.records.filter(({ gone }) => gone === undefined)
        return batch.records.length > 0 || (keepsEmpty && lastOf.get(batch.producer) === batch)
      })
    },
    trim: ({ to }) => {
      low = at(to, end)
      for (const record of written) if (record.offset < low) record.gone ??= 'trimmed'
      batches = batches.filter(({ lastOffset }) => lastOffset >= low)
      aborted = aborted.filter(({ marker }) => marker >= low)
      for (const [producer, first] of open) if (first < low) open.set(producer, low)
      const current = epochs.filter(({ start }) => start <= low).at(-1)
      epochs = [...(current ? [{ ...current, start: low }] : []), ...epochs.filter(({ start }) => start > low)]
    },
    elect: () => {
      epochs = [...epochs.filter(({ start }) => start < end), { epoch: epoch() + 1, start: end }]
    },
    lose: ({ to, regrown }) => {
      const position = at(to, end)
      const first = batches.find(({ lastOffset }) => lastOffset >= position)?.baseOffset ?? end
      const cut = first < low ? low : first
      if (cut < end) lost = { from: lost === undefined || cut < lost.from ? cut : lost.from, serial: written.length }
      for (const record of written) if (record.offset >= cut) record.gone = 'lost'
      batches = batches.filter(({ lastOffset }) => lastOffset < cut)
      for (const { producer, firstOffset } of ended.filter(({ marker }) => marker >= cut)) {
        if (firstOffset >= cut) continue
        open.set(producer, firstOffset) // its end was lost
        for (const record of written)
          if (record.gone === undefined && within(record, firstOffset, producer, cut)) record.transaction = 'open'
      }
      open = new Map([...open].filter(([, first]) => first < cut))
      ended = ended.filter(({ marker }) => marker < cut)
      aborted = aborted.filter(({ marker }) => marker < cut)
      end = cut
      epochs = [...epochs.filter(({ start }) => start < cut), { epoch: epoch() + 1, start: cut }]
      for (let i = 0; i < regrown; i++) does.append({ op: 'append', producer: TRANSACTIONAL + 1, types: [1, 1] })
    },
    move: () => {
      does.elect({ op: 'elect' })
      moved = true
    },
    throttle: ({ bare }) => {
      once = bare ? 'bare throttle' : 'throttle'
    },
    hiccup: () => {
      once = 'hiccup'
    },
    nothing: () => {},
  }

  /** The cleaner keeps the marker of an aborted transaction until none of its batches is left. */
  function keepsMarker(batch: SimulatedBatch, seed: number): boolean {
    const of = aborted.find(({ marker }) => marker === batch.baseOffset)
    if (of === undefined) return seed % 2 === 0
    const left = batches.some(
      (each) => each.producer === of.producer && each.baseOffset >= of.firstOffset && each.baseOffset < of.marker,
    )
    if (left || seed % 2 === 0) return true
    aborted = aborted.filter((each) => each !== of)
    return false
  }
  function apply(step: Step): void {
    ;(does[step.op] as (step: Step) => void)(step)
  }
  function next(): void {
    const step = steps.shift()
    if (step !== undefined) apply(step)
  }
  const reply = (o: Partial<Fetched>): Fetched => ({
    errorCode: 0,
    throttleMs: 0,
    lastStableOffset: high(),
    logStartOffset: low,
    aborted: [],
    divergingEnd: undefined,
    batches: [],
    ...o,
  })

  return {
    apply,
    written,
    get low() {
      return low
    },
    get high() {
      return high()
    },
    get end() {
      return end
    },
    lostSince: () => {
      const since = lost
      lost = undefined
      return since
    },
    bounds: async (): Promise<PartitionBounds> => {
      next()
      const from = low
      next()
      return { low: from, high: high() }
    },
    fetch: async ({ offset, lastEpoch, maxBytes }) => {
      next()
      if (moved) {
        moved = false
        throw new ReflexError(NOT_LEADER, 'another broker leads the partition')
      }
      const was = once === 'hiccup' && hiccupAt === offset ? undefined : once // never twice in a row
      once = undefined
      if (was === 'hiccup') hiccupAt = offset
      if (was === 'throttle') return reply({ throttleMs: 5 })
      if (was === 'bare throttle') return reply({ throttleMs: 5, lastStableOffset: -1n, logStartOffset: -1n })
      if (lastEpoch >= 0) {
        const known = endOf(lastEpoch)
        if (known === undefined || offset < low) return reply({ errorCode: 1 })
        if (known.epoch < lastEpoch || known.end < offset) return reply({ divergingEnd: known.end })
      }
      if (offset < low || offset > end) return reply({ errorCode: 1 })
      if (was === 'hiccup') return reply({})

      const there = batches.filter(({ lastOffset }) => lastOffset >= offset && lastOffset < high())
      if (there.length === 0) {
        if (steps.length === 0 && idle++ > 4) throw new NothingMoreComes()
        return reply({})
      }
      idle = 0
      let bytes = 0
      const taken = there.filter((batch, i) => {
        bytes += BATCH_BYTES + RECORD_BYTES * batch.records.length
        return i === 0 || bytes <= maxBytes
      })
      const before = bytes % 2 === 0 ? [] : batches.filter(({ lastOffset }) => lastOffset < offset).slice(-2)
      const upper = (taken.at(-1) as SimulatedBatch).lastOffset
      return reply({
        aborted: aborted
          .filter(({ firstOffset, marker }) => firstOffset <= upper && marker >= offset)
          .map(({ producer, firstOffset }) => ({ producerId: BigInt(producer), firstOffset })),
        batches: [...before, ...taken].map(recordBatch),
      })
    },
  }

  /** `LeaderEpochFileCache.endOffsetFor`. */
  function endOf(wanted: number): { epoch: number; end: bigint } | undefined {
    if (wanted === epoch()) return { epoch: wanted, end }
    const higher = epochs.find((each) => each.epoch > wanted)
    const floor = epochs.filter((each) => each.epoch <= wanted).at(-1)
    return higher && { epoch: floor?.epoch ?? wanted, end: higher.start }
  }
}

function recordBatch({ baseOffset, lastOffset, leaderEpoch, producer, control, records }: SimulatedBatch): RecordBatch {
  return {
    baseOffset,
    lastOffset,
    leaderEpoch,
    producerId: producer <= TRANSACTIONAL ? BigInt(producer) : -1n,
    transactional: producer < TRANSACTIONAL,
    control,
    records: () => (control === undefined ? records.map(recordOf) : [markerAt(baseOffset)]),
  }
}

function recordOf({ offset, type, serial }: WrittenRecord): KafkaRecord {
  const [key, value] = [Buffer.from(String(type)), Buffer.from(String(serial))]
  return { offset: String(offset), timestamp: 0, key, value, headers: [] }
}

/** What ends a transaction is a record as well. */
function markerAt(offset: bigint): KafkaRecord {
  return { offset: String(offset), timestamp: 0, key: Buffer.alloc(4), value: Buffer.alloc(6), headers: [] }
}

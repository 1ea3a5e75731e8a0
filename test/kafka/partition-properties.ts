import fc from 'fast-check'
import { expect } from 'vitest'
import { parseOffset } from '../../src/adapters/kafka/offset-cursor.ts'
import { type PartitionReading, partitionBatches } from '../../src/adapters/kafka/partition-batches.ts'
import { type PartitionBounds, proveOffset } from '../../src/adapters/kafka/partition-log.ts'
import type { KafkaRecord } from '../../src/adapters/kafka/protocol/record-batch.ts'
import { codeOf } from '../../src/core/errors.ts'
import type { Batch, Cursor, Event } from '../../src/core/event.ts'
import {
  contentOf,
  NOT_LEADER,
  NothingMoreComes,
  type SimulatedPartition,
  type Step,
  simulatedPartition,
  type WrittenRecord,
} from './simulated-partition.ts'

/** How a partition is read: from where, until when. */
export interface Reading extends Pick<PartitionReading, 'batchSize' | 'batchBytes' | 'types'> {
  readonly after: Cursor
  readonly toHead: boolean
  /** Stops once so many events have come. */
  readonly upTo: number
}

/** What a reading came to, with what is needed to judge it. */
export interface Outcome {
  readonly events: readonly Event[]
  readonly cursors: readonly Cursor[]
  /** What `run` would have saved after the last event that was taken. */
  readonly cursor: Cursor
  readonly end: 'ended' | 'stopped' | 'waiting' | 'moved' | 'trimmed' | 'ahead'
  /** The head when it was opened; undefined if it could not be. */
  readonly opened: PartitionBounds | undefined
  /** Where the reading was when it ended. */
  readonly asked: bigint
  /** Where `""` came to lie. */
  readonly began: bigint
  /** Something was lost that the reader had, and it could know: from this serial number on nothing may come. */
  readonly lostBefore: number | undefined
  /** Something was lost in a way that a reader cannot know. */
  readonly lostUnseen: boolean
}

/** The event of a simulated record. */
export const toEvent = (record: KafkaRecord): Event => {
  const { type, serial } = contentOf(record)
  return { id: record.offset, type, foreignId: String(serial), timestamp: 0, metadata: null, headers: {} }
}
/** More answers than this without an event, a new position or an end are a loop. */
const MANY = 500

/** Opens at a cursor as `kafkaPartition` does, and reads. Checks every batch as it comes. */
export async function readPartition(
  partition: SimulatedPartition,
  reading: Reading,
  batchesOf: typeof partitionBatches = partitionBatches,
): Promise<Outcome> {
  const { after, toHead, upTo, ...options } = reading
  const events: Event[] = []
  const cursors: Cursor[] = []
  let cursor = after
  let asked = 0n
  let began = 0n
  let readTo: bigint | undefined
  let knowsEpoch = false // what was read last tells of which leader it is
  let opened: PartitionBounds | undefined
  let lostBefore: number | undefined
  let lostUnseen = false
  let seen = 0n // up to there, the log had a say in what was read
  let answers = 0
  let tooFar: Error | undefined // thrown where it is seen: nobody may await that fetch
  const committed = new Set<number>() // by their serials, what was so when it was read
  const outcome = (end: Outcome['end']): Outcome => ({
    ...{ events, cursors, cursor, end, opened, asked, began, lostBefore, lostUnseen },
  })

  const observed: Pick<SimulatedPartition, 'bounds' | 'fetch'> = {
    bounds: () => partition.bounds(),
    fetch: async (o) => {
      if (asked > (cursors.length === 0 ? began : BigInt(cursors.at(-1) as Cursor) + 1n))
        tooFar ??= new Error(`it asks for ${o.offset}, but what came before ${asked} is not handled yet`)
      asked = o.offset
      if (readTo === undefined) began = asked
      if (answers++ > MANY) throw new Error('it asks again and again')
      const reply = await partition.fetch(o)
      const lost = partition.lostSince()
      if (lost !== undefined && lost.from < seen) {
        const { from, serial } = lost
        const known = reply.errorCode !== 0 ? after !== '' || readTo !== undefined : knowsEpoch && from < (readTo ?? 0n)
        if (known) lostBefore ??= serial
        else lostUnseen = true
      }
      seen = partition.end
      const last = reply.batches.at(-1)
      if (last !== undefined) readTo = last.lastOffset + 1n
      for (const { serial, transaction } of partition.written)
        if (transaction === 'none' || transaction === 'committed') committed.add(serial)
      if (last !== undefined || reply.divergingEnd !== undefined) knowsEpoch = last !== undefined
      return reply
    },
  }

  try {
    const position = parseOffset('log', after, '')
    opened = await partition.bounds()
    partition.lostSince()
    asked = position === undefined ? opened.low : position + 1n
    began = asked
    seen = partition.end
    if (position !== undefined) proveOffset('log', position + 1n, opened)
    const batches = batchesOf(observed, {
      ...options,
      ...{ log: 'log', from: asked, proven: position !== undefined, end: toHead ? opened.high : undefined, toEvent },
    })
    for await (const batch of batches) {
      answers = 0
      if (tooFar !== undefined) throw tooFar
      checkBatch(partition, batch, { after: cursors.at(-1) ?? after, reading, committed })
      const taken = batch.events.slice(0, upTo - events.length)
      events.push(...taken)
      cursors.push(batch.cursor)
      cursor = taken.length < batch.events.length ? (taken.at(-1)?.id ?? cursor) : batch.cursor
      if (events.length >= upTo) return outcome('stopped')
    }
    return outcome('ended')
  } catch (error) {
    if (error instanceof NothingMoreComes) return outcome('waiting')
    if (codeOf(error) === NOT_LEADER) return outcome('moved')
    if (codeOf(error) === 'KAFKA_HEAD_LOST' && opened !== undefined && partition.high < opened.high)
      return outcome('ahead')
    if (codeOf(error) === 'CURSOR_TRIMMED') return outcome('trimmed')
    if (codeOf(error) === 'CURSOR_AHEAD') return outcome('ahead')
    throw error
  }
}

function checkBatch(
  { written }: SimulatedPartition,
  { events, cursor }: Batch,
  {
    after,
    reading: { batchSize, types },
    committed,
  }: { after: Cursor; reading: Reading; committed: ReadonlySet<number> },
): void {
  expect(events.length).toBeLessThanOrEqual(batchSize)
  let before = after === '' ? -1n : BigInt(after)
  const first = before
  for (const { id, type, foreignId } of events) {
    const record = written[Number(foreignId)] as WrittenRecord
    expect(BigInt(id)).toBe(record.offset)
    if (record.offset <= before) throw new Error(`${id} came after ${before}`)
    if (!committed.has(record.serial)) throw new Error(`${id} came, but its transaction is ${record.transaction}`)
    expect(types?.includes(type)).not.toBe(false)
    before = record.offset
  }
  if (BigInt(cursor) < before || (first >= 0n && BigInt(cursor) <= first))
    throw new Error(`the cursor ${cursor} came after ${before}`)
}

/** Throws unless what was read is right, given what has become of the log since. */
function checkOutcome(partition: SimulatedPartition, { after, types, toHead }: Reading, read: Outcome): void {
  const { end, events, cursor, asked, opened, began } = read
  const start = after === '' ? began : BigInt(after) + 1n
  if (end === 'trimmed') {
    if (partition.low <= asked)
      throw new Error(`refused as trimmed at ${asked}, but the log begins at ${partition.low}`)
    if (after === '' && read.cursors.length === 0) throw new Error('"" was refused as trimmed')
  }
  if (end === 'ahead' && opened !== undefined && asked <= opened.high)
    if (read.lostBefore === undefined && !read.lostUnseen && partition.high >= opened.high)
      throw new Error(`refused as ahead at ${asked}, but nothing was lost`)
  if (read.lostBefore !== undefined) {
    for (const { foreignId, id } of events)
      if (Number(foreignId) >= read.lostBefore) throw new Error(`${id} is of another log than what came before`)
    if (end === 'waiting' || end === 'ended') throw new Error('what was lost went unnoticed')
  }
  if (end === 'waiting' && toHead) throw new Error('it waits on the way to the head')
  if (read.lostUnseen || read.lostBefore !== undefined) return

  const came = new Set(events.map(({ foreignId }) => foreignId))
  for (const { serial, offset, type, transaction, gone } of partition.written) {
    if (offset < start || cursor === '' || offset > BigInt(cursor) || came.has(String(serial))) continue
    if (transaction === 'aborted' || types?.includes(type) === false) continue
    if (gone === 'compacted' || gone === 'lost') continue
    throw new Error(`${offset} never came (${transaction}, ${gone}), but the cursor is ${cursor}`)
  }
  const last = cursor === '' ? undefined : BigInt(cursor) + 1n
  if (end === 'ended') {
    if (!toHead || opened === undefined) throw new Error('it ended')
    if (last !== undefined && last !== opened.high) throw new Error(`it ended at ${last}, not at ${opened.high}`)
    if (last === undefined && start < opened.high && partition.low < opened.high) throw new Error('it ended too early')
  }
  if (end === 'waiting') expect(last ?? began).toBe(partition.high)
}

const perMille = fc.integer({ min: 0, max: 1000 })
/** What happens to a log that loses nothing. */
export const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      op: fc.constant('append' as const),
      producer: fc.nat({ max: 4 }),
      types: fc.array(fc.nat({ max: 2 }), { minLength: 1, maxLength: 4 }),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constant('end' as const),
      producer: fc.nat({ max: 2 }),
      outcome: fc.constantFrom('commit' as const, 'abort' as const),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('compact' as const),
      upTo: fc.oneof(perMille, fc.constant(1000)),
      seed: fc.nat({ max: 1000 }),
      keepsEmpty: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('trim' as const), to: perMille }) },
  {
    weight: 5,
    arbitrary: fc.constantFrom<Step>(
      ...[{ op: 'elect' as const }, { op: 'move' as const }, { op: 'hiccup' as const }, { op: 'nothing' as const }],
      ...[true, false].map((bare) => ({ op: 'throttle' as const, bare })),
    ),
  },
)
const lossy = fc.oneof(
  { weight: 15, arbitrary: step },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('lose' as const), to: perMille, regrown: fc.nat({ max: 4 }) }) },
)
/** How a reading may be cut into batches, and filtered. */
export const options: {
  readonly batchSize: fc.Arbitrary<number>
  readonly batchBytes: fc.Arbitrary<number>
  readonly types: fc.Arbitrary<number[] | undefined>
} = {
  batchSize: fc.integer({ min: 1, max: 6 }),
  batchBytes: fc.oneof(fc.integer({ min: 1, max: 400 }), fc.constant(100_000)),
  types: fc.oneof(
    { weight: 3, arbitrary: fc.constant(undefined) },
    fc.uniqueArray(fc.nat({ max: 3 }), { maxLength: 3 }),
  ),
}
/** What a log is before it is read, and what happens to it meanwhile. */
const history = (each: fc.Arbitrary<Step>) => ({
  before: fc.array(each, { maxLength: 30, size: 'max' }),
  during: fc.array(each, { maxLength: 20, size: 'max' }),
})
/** Where a reading begins: per mille of the log, or `""`. */
export const begin: fc.Arbitrary<number | ''> = fc.option(perMille, { nil: '' as const })

/** A partition to which some has happened, and more happens while it is read. */
export function partitionAfter({
  before,
  during,
}: {
  before: readonly Step[]
  during: readonly Step[]
}): SimulatedPartition {
  const steps: Step[] = []
  const partition = simulatedPartition(steps)
  for (const each of before) partition.apply(each)
  steps.push(...during)
  partition.lostSince()
  return partition
}

const cursorAt = ({ high }: SimulatedPartition, at: number | ''): Cursor =>
  at === '' ? '' : String((high * BigInt(at)) / 1000n - 1n)

/** How often each kind of end was met. */
export type Ends = Readonly<Record<string, number>>

/** A property of a reading, over any history of a log: throws where it does not hold. */
export type PartitionProperty = (
  batchesOf: typeof partitionBatches,
  parameters?: fc.Parameters<unknown>,
) => Promise<Ends>

/** What a reading of a partition has to hold to. Each throws with a counterexample, or returns what it has met. */
export const partitionProperties: Readonly<Record<'splits' | 'toHead' | 'lossy', PartitionProperty>> = {
  splits: async (batchesOf, parameters) => {
    const { ends, count } = counter()
    const arbitrary = fc.record({
      ...{ ...history(step), ...options, begin },
      splits: fc.array(fc.nat({ max: 8 }), { maxLength: 5 }),
    })
    await fc.assert(
      fc.asyncProperty(arbitrary, async ({ before, during, ...o }) => {
        await readInParts(partitionAfter({ before, during }), o, { batchesOf, count })
      }),
      { numRuns: 8000, ...parameters },
    )
    return ends
  },

  toHead: async (batchesOf, parameters) => {
    const { ends, count } = counter()
    await fc.assert(
      fc.asyncProperty(fc.record({ ...history(step), ...options, begin }), async ({ before, during, begin, ...o }) => {
        const partition = partitionAfter({ before, during })
        const upTo = Number.POSITIVE_INFINITY
        const reading: Reading = { ...o, after: cursorAt(partition, begin), toHead: true, upTo }
        const outcome = await readPartition(partition, reading, batchesOf)
        checkOutcome(partition, reading, outcome)
        count(outcome.end)
      }),
      { numRuns: 6000, ...parameters },
    )
    return ends
  },

  lossy: async (batchesOf, parameters) => {
    const { ends, count } = counter()
    await fc.assert(
      fc.asyncProperty(
        fc.record({ ...history(lossy), ...options, begin, toHead: fc.boolean() }),
        async ({ before, during, begin, ...o }) => {
          const partition = partitionAfter({ before, during })
          const reading: Reading = { ...o, after: cursorAt(partition, begin), upTo: Number.POSITIVE_INFINITY }
          const outcome = await readPartition(partition, reading, batchesOf)
          checkOutcome(partition, reading, outcome)
          count(outcome.end + (outcome.lostBefore === undefined ? '' : ', lost'))
        },
      ),
      { numRuns: 15_000, ...parameters },
    )
    return ends
  },
}

/** A reading in several parts, each from the cursor of the one before, until it is at the end or the cursor is refused. */
export async function readInParts(
  partition: SimulatedPartition,
  { begin, splits, ...o }: ReadingInParts,
  { batchesOf, count }: { batchesOf: typeof partitionBatches; count: (end: string) => void },
): Promise<void> {
  let after = cursorAt(partition, begin)
  const parts = [...splits, Number.POSITIVE_INFINITY]
  for (let part = 0; ; ) {
    const reading: Reading = { ...o, after, toHead: false, upTo: parts[part] as number }
    const outcome = await readPartition(partition, reading, batchesOf)
    checkOutcome(partition, reading, outcome)
    count(outcome.end)
    after = outcome.cursor
    if (outcome.end === 'stopped') part++
    else if (outcome.end !== 'moved') return // after an election the same part goes on
  }
}

export interface ReadingInParts extends Pick<Reading, 'batchSize' | 'batchBytes' | 'types'> {
  readonly begin: number | ''
  readonly splits: readonly number[]
}

function counter(): { ends: Record<string, number>; count: (end: string) => void } {
  const ends: Record<string, number> = {}
  const count = (end: string): void => {
    ends[end] = (ends[end] ?? 0) + 1
  }
  return { ends, count }
}

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseOffset } from '../../src/adapters/kafka/offset-cursor.ts'
import { type PartitionReading, partitionBatches } from '../../src/adapters/kafka/partition-batches.ts'
import { type PartitionBounds, proveOffset } from '../../src/adapters/kafka/partition-log.ts'
import type { KafkaRecord } from '../../src/adapters/kafka/protocol/record-batch.ts'
import { codeOf } from '../../src/core/errors.ts'
import type { Batch, Cursor, Event } from '../../src/core/event.ts'
import { errorOf } from '../tools/reader.ts'
import {
  contentOf,
  NothingMoreComes,
  type SimulatedPartition,
  type Step,
  simulatedPartition,
  type WrittenRecord,
} from './simulated-partition.ts'

/** How a partition is read: from where, until when. */
interface Reading extends Pick<PartitionReading, 'batchSize' | 'batchBytes' | 'types'> {
  readonly after: Cursor
  readonly toHead: boolean
  /** Stops once so many events have come. */
  readonly upTo: number
}

/** What a reading came to, with what is needed to judge it. */
interface Outcome {
  readonly events: readonly Event[]
  readonly cursors: readonly Cursor[]
  /** What `run` would have saved after the last event that was taken. */
  readonly cursor: Cursor
  readonly end: 'ended' | 'stopped' | 'waiting' | 'trimmed' | 'ahead'
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

const toEvent = (record: KafkaRecord): Event => {
  const { type, serial } = contentOf(record)
  return { id: record.offset, type, foreignId: String(serial), timestamp: 0, metadata: null, headers: {} }
}
/** More answers than this without an event, a new position or an end are a loop. */
const MANY = 500

/** Opens at a cursor as `kafkaPartition` does, and reads. Checks every batch as it comes. */
async function read(partition: SimulatedPartition, reading: Reading): Promise<Outcome> {
  const { after, toHead, upTo, ...options } = reading
  const events: Event[] = []
  const cursors: Cursor[] = []
  let cursor = after
  let asked = 0n
  let began = 0n
  let readTo: bigint | undefined
  let opened: PartitionBounds | undefined
  let lostBefore: number | undefined
  let lostUnseen = false
  let seen = 0n // up to there, the log had a say in what was read
  let answers = 0
  const outcome = (end: Outcome['end']): Outcome => ({
    ...{ events, cursors, cursor, end, opened, asked, began, lostBefore, lostUnseen },
  })

  const observed: Pick<SimulatedPartition, 'bounds' | 'fetch'> = {
    bounds: () => partition.bounds(),
    fetch: async (o) => {
      asked = o.offset
      if (cursors.length === 0) began = asked
      if (answers++ > MANY) throw new Error('it asks again and again')
      const reply = await partition.fetch(o)
      const from = partition.lostSince()
      if (from !== undefined && from < seen) {
        const known =
          reply.errorCode !== 0 ? after !== '' || cursors.length > 0 : o.lastEpoch >= 0 && from < (readTo ?? 0n)
        if (known) lostBefore ??= partition.written.length
        else lostUnseen = true
      }
      seen = partition.end
      const last = reply.batches.at(-1)
      if (last !== undefined) readTo = last.lastOffset + 1n
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
    const batches = partitionBatches(observed, {
      ...options,
      ...{ log: 'log', from: asked, proven: position !== undefined, end: toHead ? opened.high : undefined, toEvent },
    })
    for await (const batch of batches) {
      answers = 0
      checkBatch(partition, batch, { after: cursors.at(-1) ?? after, reading })
      const taken = batch.events.slice(0, upTo - events.length)
      events.push(...taken)
      cursors.push(batch.cursor)
      cursor = taken.length < batch.events.length ? (taken.at(-1)?.id ?? cursor) : batch.cursor
      if (events.length >= upTo) return outcome('stopped')
    }
    return outcome('ended')
  } catch (error) {
    if (error instanceof NothingMoreComes) return outcome('waiting')
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
  { after, reading: { batchSize, types } }: { after: Cursor; reading: Reading },
): void {
  expect(events.length).toBeLessThanOrEqual(batchSize)
  let before = after === '' ? -1n : BigInt(after)
  const first = before
  for (const { id, type, foreignId } of events) {
    const record = written[Number(foreignId)] as WrittenRecord
    expect(BigInt(id)).toBe(record.offset)
    if (record.offset <= before) throw new Error(`${id} came after ${before}`)
    if (record.transaction === 'aborted' || record.transaction === 'open')
      throw new Error(`${id} came, but its transaction is ${record.transaction}`)
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
const step: fc.Arbitrary<Step> = fc.oneof(
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
    arbitrary: fc.constantFrom<Step>({ op: 'elect' }, { op: 'throttle' }, { op: 'hiccup' }, { op: 'nothing' }),
  },
)
const lossy = fc.oneof(
  { weight: 15, arbitrary: step },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('lose' as const), to: perMille }) },
)
const options = {
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
const begin = fc.option(perMille, { nil: '' as const })

function partitionAfter({ before, during }: { before: readonly Step[]; during: readonly Step[] }): SimulatedPartition {
  const steps: Step[] = []
  const partition = simulatedPartition(steps)
  for (const each of before) partition.apply(each)
  steps.push(...during)
  partition.lostSince()
  return partition
}

const cursorAt = ({ high }: SimulatedPartition, at: number | ''): Cursor =>
  at === '' ? '' : String((high * BigInt(at)) / 1000n - 1n)

describe('partitionBatches, over any history of a log', () => {
  test('every committed record comes once and in order, from every position, however the reading is split', async () => {
    const ends: Record<string, number> = {}
    const arbitrary = fc.record({
      ...{ ...history(step), ...options, begin },
      splits: fc.array(fc.nat({ max: 8 }), { maxLength: 5 }),
    })
    await fc.assert(
      fc.asyncProperty(arbitrary, async ({ before, during, begin, splits, ...o }) => {
        const partition = partitionAfter({ before, during })
        let after = cursorAt(partition, begin)
        for (const upTo of [...splits, Number.POSITIVE_INFINITY]) {
          const reading: Reading = { ...o, after, toHead: false, upTo }
          const outcome = await read(partition, reading)
          checkOutcome(partition, reading, outcome)
          ends[outcome.end] = (ends[outcome.end] ?? 0) + 1
          after = outcome.cursor
          if (outcome.end !== 'stopped') break
        }
      }),
      { numRuns: 8000 },
    )
    expect(ends['waiting']).toBeGreaterThan(1000)
    expect(ends['trimmed']).toBeGreaterThan(100)
    expect(ends).not.toHaveProperty('ahead')
  })

  test('toHead ends at the position that was the head at open', async () => {
    const ends: Record<string, number> = {}
    await fc.assert(
      fc.asyncProperty(fc.record({ ...history(step), ...options, begin }), async ({ before, during, begin, ...o }) => {
        const partition = partitionAfter({ before, during })
        const upTo = Number.POSITIVE_INFINITY
        const reading: Reading = { ...o, after: cursorAt(partition, begin), toHead: true, upTo }
        const outcome = await read(partition, reading)
        checkOutcome(partition, reading, outcome)
        ends[outcome.end] = (ends[outcome.end] ?? 0) + 1
      }),
      { numRuns: 6000 },
    )
    expect(ends['ended']).toBeGreaterThan(1000)
    expect(ends['trimmed']).toBeGreaterThan(50)
    expect(Object.keys(ends)).toHaveLength(2)
  })

  test('a lost tail is an error where it can be known, and nothing of the log that replaces it is taken for what followed', async () => {
    const ends: Record<string, number> = {}
    await fc.assert(
      fc.asyncProperty(
        fc.record({ ...history(lossy), ...options, begin, toHead: fc.boolean() }),
        async ({ before, during, begin, ...o }) => {
          const partition = partitionAfter({ before, during })
          const reading: Reading = { ...o, after: cursorAt(partition, begin), upTo: Number.POSITIVE_INFINITY }
          const outcome = await read(partition, reading)
          checkOutcome(partition, reading, outcome)
          const known = outcome.lostBefore === undefined ? '' : ', lost'
          ends[outcome.end + known] = (ends[outcome.end + known] ?? 0) + 1
        },
      ),
      { numRuns: 10_000 },
    )
    expect(ends['ahead, lost']).toBeGreaterThan(100)
  })
})

describe('a record that cannot be read', () => {
  const all = { batchSize: 1000, batchBytes: 100_000, types: undefined, upTo: Number.POSITIVE_INFINITY }

  test('ends the reading with its position, after all that comes before it', async () => {
    const arbitrary = fc.record({
      ...options,
      before: fc.array(step, { minLength: 1, maxLength: 30, size: 'max' }),
      nth: fc.nat(),
    })
    await fc.assert(
      fc.asyncProperty(arbitrary, async ({ before, nth, ...o }) => {
        const expected = await read(partitionAfter({ before, during: [] }), { ...o, ...all, after: '', toHead: true })
        const bad = expected.events[nth % expected.events.length]
        fc.pre(bad !== undefined)
        const partition = partitionAfter({ before, during: [] })
        const events: Event[] = []
        let cursor = -1n
        const reading = partitionBatches(partition, {
          ...{ ...o, log: 'log', from: partition.low, proven: false, end: undefined },
          toEvent: (record) => {
            if (record.offset === bad.id) throw new TypeError('poison')
            return toEvent(record)
          },
        })
        const drain = async (): Promise<void> => {
          for await (const batch of reading) {
            events.push(...batch.events)
            expect(BigInt(batch.cursor)).toBeGreaterThan(cursor)
            cursor = BigInt(batch.cursor)
          }
        }
        expect(await errorOf(drain())).toMatchObject({ code: 'EVENT_UNDECODABLE', position: bad.id, retriable: false })
        const earlier = expected.events.slice(0, expected.events.indexOf(bad))
        expect(events).toEqual(earlier.filter(({ type }) => o.types?.includes(type) !== false))
        expect(cursor).toBeLessThan(BigInt(bad.id))
        const last = earlier.at(-1)
        if (last !== undefined) expect(cursor).toBeGreaterThanOrEqual(BigInt(last.id))
      }),
      { numRuns: 1000 },
    )
  })

  /** Three batches of two records each; that at offset 2 cannot be unpacked. */
  function withBadBatch(): Pick<SimulatedPartition, 'bounds' | 'fetch'> {
    const partition = partitionAfter({
      before: [1, 2, 3].map(() => ({ op: 'append', producer: 4, types: [1, 1] })),
      during: [],
    })
    return {
      bounds: () => partition.bounds(),
      fetch: async (o) => {
        const reply = await partition.fetch(o)
        const records = (): never => {
          throw new RangeError('of no known compression')
        }
        const batches = reply.batches.map((batch) => (batch.baseOffset === 2n ? { ...batch, records } : batch))
        return { ...reply, batches }
      },
    }
  }
  const reading = { ...all, log: 'log', from: 0n, proven: true, toEvent }

  test('as a whole batch, ends the reading after the batches before it', async () => {
    const batches = partitionBatches(withBadBatch(), { ...reading, end: undefined })
    expect(await batches.next()).toMatchObject({ value: { events: [{ id: '0' }, { id: '1' }], cursor: '1' } })
    expect(String(await errorOf(batches.next()))).toContain('of no known compression')
  })

  test('behind the end of the reading is not touched', async () => {
    const batches = partitionBatches(withBadBatch(), { ...reading, end: 2n })
    expect(await batches.next()).toMatchObject({ value: { events: [{ id: '0' }, { id: '1' }], cursor: '1' } })
    expect(await batches.next()).toMatchObject({ done: true })
  })
})

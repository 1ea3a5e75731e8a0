import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PartitionBounds } from '../../src/adapters/kafka/partition-log.ts'
import type { KafkaRecord, RecordBatch } from '../../src/adapters/kafka/protocol/record-batch.ts'
import { eventsBetween, mayStandAt, recordsBackwards, type TailLog } from '../../src/adapters/kafka/read-tail.ts'
import {
  formatCheckpoint,
  parseCheckpoint,
  type RouteCheckpoint,
  type RouteMark,
} from '../../src/adapters/kafka/route-checkpoint.ts'
import { type Resumption, resume } from '../../src/adapters/kafka/route-tail.ts'
import { type FoundEvent, skippedEvents } from '../../src/adapters/kafka/skipped-events.ts'
import { codeOf } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import { wireNames } from '../../src/core/wire.ts'

const SOURCE = 'shop.events'
const OURS = 1n

/** A batch of a partition in memory: ids of our events, or undefined for a record of others. */
interface Batch {
  readonly base: bigint
  readonly epoch: number
  readonly producer: bigint
  readonly transactional: boolean
  readonly control?: 'commit' | 'abort'
  readonly ids: readonly (string | undefined)[]
  /** Of a checkpoint. */
  readonly value?: string
}

/** A partition in memory. It throttles every other answer, and answers with two batches at a time. */
interface Log extends TailLog {
  low: bigint
  readonly high: bigint
  readonly batches: readonly Batch[]
  readonly epoch: number
  add(batch: Omit<Batch, 'base' | 'epoch'>): { readonly first: bigint; readonly end: bigint }
  /** Loses `count` batches at the end; there is another leader then. */
  lose(count: number): void
  bounds(): PartitionBounds
}

function log(): Log {
  let batches: Batch[] = []
  let epoch = 0
  let asked = 0
  const highOf = (): bigint => {
    const last = batches.at(-1)
    return last === undefined ? 0n : last.base + BigInt(last.ids.length)
  }
  const made: Log = {
    low: 0n,
    get high() {
      return highOf()
    },
    get batches() {
      return batches
    },
    get epoch() {
      return epoch
    },
    add: (batch) => {
      const first = highOf()
      batches.push({ ...batch, base: first, epoch })
      return { first, end: highOf() }
    },
    lose: (count) => {
      batches = batches.slice(0, Math.max(0, batches.length - count))
      epoch++
      if (made.low > highOf()) made.low = highOf()
    },
    bounds: () => ({ low: made.low, high: highOf() }),
    fetch: async ({ offset }) => {
      const nothing = { throttleMs: 0, lastStableOffset: -1n, logStartOffset: made.low, aborted: [] }
      const answer = { ...nothing, divergingEnd: undefined, errorCode: 0 }
      if (offset < made.low || offset > highOf()) return { ...answer, errorCode: 1, batches: [] }
      if (asked++ % 2 === 0) return { ...answer, throttleMs: 1, batches: [] }
      const from = batches.findIndex(({ base, ids }) => base + BigInt(ids.length) > offset)
      return { ...answer, batches: from < 0 ? [] : batches.slice(from, from + 2).map(asRead) }
    },
  }
  return made
}

function asRead({ base, epoch, producer, transactional, control, ids, value }: Batch): RecordBatch {
  return {
    baseOffset: base,
    lastOffset: base + BigInt(ids.length) - 1n,
    leaderEpoch: epoch,
    producerId: producer,
    transactional,
    control,
    records: () =>
      ids.map((id, i): KafkaRecord => {
        const headers: [string, Buffer][] =
          id === undefined
            ? []
            : [
                [wireNames.source, Buffer.from(SOURCE)],
                [wireNames.sourceId, Buffer.from(id)],
              ]
        const offset = String(base + BigInt(i))
        return { offset, timestamp: 0, key: null, value: value === undefined ? null : Buffer.from(value), headers }
      }),
  }
}

type Step =
  | { readonly op: 'append'; readonly count: number; readonly save: boolean }
  | { readonly op: 'crash'; readonly count: number; readonly after: 'some' | 'events' | 'checkpoint' | 'commit' }
  | { readonly op: 'others'; readonly partition: number; readonly count: number; readonly kind: 'plain' | 'open' }
  | { readonly op: 'lose'; readonly counts: readonly number[]; readonly checkpoints: number }
  | { readonly op: 'trim'; readonly partition: number; readonly share: number }
  | { readonly op: 'recreate' }
  | { readonly op: 'forget' }
  | { readonly op: 'reopen' }

interface World {
  readonly atomic: boolean
  readonly maxRefill: number
  readonly partitions: number
}

/** A route as `kafkaSink` drives it, over partitions in memory. */
function simulation({ atomic, maxRefill, partitions }: World) {
  let topicId = 'topic-0'
  let logs = Array.from({ length: partitions }, log)
  let checkpoints = log()
  let made = 0
  let next = 1 // the first id that the source has not
  let saved: (RouteMark & { cursor: string }) | undefined
  let stood: FoundEvent[] = [] // where events were appended, lost or not
  const trimmed = new Set<string>()
  let blind = false // all checkpoints are gone, and what was lost cannot be told from what was trimmed
  let writer: Writer

  type Writer = Resumption & { at: number; count: bigint; open: boolean; skipped: ReturnType<typeof skippedEvents> }
  const partitionOf = (id: string): number => (Number(id) * 7 + (Number(id) >> 2)) % partitions

  async function foundBetween({ from, to }: { from: ReadonlyMap<number, bigint>; to: ReadonlyMap<number, bigint> }) {
    const found: FoundEvent[] = []
    for (const [partition, tail] of logs.entries()) {
      const range = { partition, from: from.get(partition) ?? 0n, to: to.get(partition) ?? 0n, source: SOURCE }
      found.push(...(await eventsBetween('log', tail, range)))
    }
    return found
  }
  async function* history() {
    for await (const { record, leaderEpoch } of recordsBackwards('log', checkpoints, checkpoints.bounds()))
      yield {
        ...parseCheckpoint('route', String(record.value)),
        sinceElection: leaderEpoch === checkpoints.epoch,
      }
  }
  async function open(): Promise<void> {
    const look = () =>
      resume(
        'route',
        { topicId, bounds: new Map(logs.map((each, i) => [i, each.bounds()])), history: history(), saved },
        {
          ...{ source: SOURCE, atomic, partitions: undefined, maxRefill, eventsBetween: foundBetween },
          mayStandAt: ({ partition, ...event }, to) =>
            mayStandAt('log', logs[partition] as Log, { ...event, to, source: SOURCE }),
        },
      )
    let found = await look()
    if (atomic && !found.certain) {
      for (const each of [...logs, checkpoints])
        each.add({ producer: OURS, transactional: true, control: 'abort', ids: [undefined] })
      found = await look()
    }
    if (/going on from the saved/.test(found.repair ?? '')) blind = true
    const at = found.resumeFrom === '' ? 0 : Number(found.resumeFrom)
    writer = { ...found, at, open: true, skipped: skippedEvents(found.found, found.between) }
    if (saved !== undefined && saved.cursor !== found.resumeFrom) save() // as the bridge does
  }
  /** As `append` of kafkaSink, as far as `until`. */
  function append(events: readonly Event[], until: 'some' | 'events' | 'checkpoint' | 'commit'): void {
    const byPartition = Map.groupBy(writer.skipped.without(events), ({ id }) => partitionOf(id))
    const ends = new Map(writer.ends)
    const last = new Map(writer.last)
    const touched: Log[] = []
    const batch = { producer: OURS, transactional: atomic }
    for (const [partition, part] of byPartition) {
      const ids = part.map(({ id }) => id)
      const to = logs[partition] as Log
      touched.push(to)
      const { first, end } = to.add({ ...batch, ids })
      expect(first).toBeGreaterThanOrEqual(ends.get(partition) ?? 0n)
      const stays = !atomic || until === 'commit'
      if (stays) for (const [i, id] of ids.entries()) stood.push({ id, partition, offset: first + BigInt(i) })
      ends.set(partition, end)
      last.set(partition, ids.at(-1) as string)
      if (until === 'some') break
    }
    const at = writer.at + events.length
    const count = writer.count + BigInt(events.length)
    if (until === 'checkpoint' || until === 'commit') {
      const checkpoint: RouteCheckpoint = {
        ...{ cursor: at === 0 ? '' : String(at), source: SOURCE, count, topicId, partitions, ends, last },
        skip: writer.skipped.left(),
      }
      touched.push(checkpoints)
      checkpoints.add({ ...batch, ids: [undefined], value: formatCheckpoint(checkpoint) })
    }
    const control = until === 'commit' ? 'commit' : 'abort'
    if (atomic) for (const each of touched) each.add({ ...batch, control, ids: [undefined] })
    writer = { ...writer, ends, last, at, count }
  }
  const events = (count: number): Event[] => {
    const some = Array.from({ length: count }, (_, i) => ({ id: String(writer.at + i + 1) }) as Event)
    next = Math.max(next, writer.at + count + 1)
    return some
  }
  const save = (): void => {
    saved = { count: writer.count, topicId, cursor: writer.at === 0 ? '' : String(writer.at) }
  }
  const isSafe = (): boolean => saved !== undefined && checkpoints.batches.length > 0

  return {
    open,
    async apply(step: Step): Promise<void> {
      if (!writer?.open && step.op !== 'lose' && step.op !== 'others') await open()
      switch (step.op) {
        case 'append':
          append(events(step.count), 'commit')
          if (step.save || saved === undefined) save()
          return
        case 'crash':
          if (saved === undefined) return // of the first batch nothing is known yet
          append(events(step.count), step.after)
          writer.open = false
          return
        case 'others':
          logs[step.partition % partitions]?.add({
            ...{ producer: step.kind === 'open' ? 7n : 8n, transactional: step.kind === 'open' },
            ids: Array.from({ length: step.count }, () => undefined),
          })
          return
        case 'lose':
          if (!isSafe()) return
          for (const [i, each] of logs.entries()) if ((step.counts[i] ?? 0) > 0) each.lose(step.counts[i] as number)
          checkpoints.lose(step.checkpoints)
          writer.open = false
          return
        case 'trim': {
          const each = logs[step.partition % partitions] as Log
          const to = each.low + ((each.high - each.low) * BigInt(step.share)) / 100n
          for (const { id, partition, offset } of stood) if (logs[partition] === each && offset < to) trimmed.add(id)
          each.low = to
          return
        }
        case 'recreate':
          if (!isSafe()) return
          topicId = `topic-${++made}`
          logs = logs.map(log)
          stood = []
          writer.open = false
          return
        case 'forget':
          if (saved === undefined) return
          checkpoints = log()
          writer.open = false
          return
        case 'reopen':
          await open()
      }
    },
    /** Forwards what is left, and holds what is in the partitions against what the source has. */
    async finish(): Promise<void> {
      await open()
      for (const end = next + 2; writer.at < end; ) append(events(Math.min(3, end - writer.at)), 'commit')
      save()
      const there: string[] = []
      for (const [partition, tail] of logs.entries()) {
        const range = { partition, from: tail.low, to: tail.high, source: SOURCE }
        const ids = (await eventsBetween('log', tail, range)).map(({ id }) => id)
        if (trimmed.size === 0 && !blind) expect(ids).toEqual([...ids].sort((a, b) => Number(a) - Number(b)))
        there.push(...ids)
      }
      const all = Array.from({ length: writer.at }, (_, i) => String(i + 1))
      expect(new Set(there).size).toBe(there.length)
      const missing = all.filter((id) => !there.includes(id) && !trimmed.has(id))
      if (!blind) expect(missing).toEqual([])
      await open()
      expect([writer.at, writer.repair]).toEqual([all.length, undefined])
    },
  }
}

const count = fc.integer({ min: 1, max: 6 })
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ op: fc.constant('append' as const), count, save: fc.boolean() }) },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('crash' as const),
      count,
      after: fc.constantFrom('some' as const, 'events' as const, 'checkpoint' as const, 'commit' as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      ...{ op: fc.constant('others' as const), partition: fc.nat(3), count },
      kind: fc.constantFrom('plain' as const, 'open' as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('lose' as const),
      counts: fc.array(fc.nat(5), { minLength: 1, maxLength: 4 }),
      checkpoints: fc.nat(8),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ op: fc.constant('trim' as const), partition: fc.nat(3), share: fc.nat(100) }),
  },
  { weight: 1, arbitrary: fc.constant({ op: 'recreate' as const }) },
  { weight: 1, arbitrary: fc.constant({ op: 'forget' as const }) },
  { weight: 2, arbitrary: fc.constant({ op: 'reopen' as const }) },
)

describe('a route, whatever crashes, is lost or is trimmed', () => {
  test.each([
    { atomic: true, maxRefill: 1000 },
    { atomic: false, maxRefill: 1000 },
    { atomic: true, maxRefill: 4 },
    { atomic: false, maxRefill: 4 },
  ])('has every event once, or is refused: %o', async ({ atomic, maxRefill }) => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.array(step, { maxLength: 14 }), async (partitions, steps) => {
        const route = simulation({ atomic, maxRefill, partitions })
        try {
          await route.open()
          for (const each of steps) await route.apply(each)
          await route.finish()
        } catch (error) {
          if (codeOf(error) !== 'SINK_LOST_TOO_MUCH' || maxRefill > 100) throw error
        }
      }),
      { numRuns: 2000 },
    )
  })
})

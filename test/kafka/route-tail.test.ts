import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PartitionBounds } from '../../src/adapters/kafka/partition-log.ts'
import type { KafkaRecord, RecordBatch } from '../../src/adapters/kafka/protocol/record-batch.ts'
import { eventsBetween, mayStandAt, recordsBackwards, type TailLog } from '../../src/adapters/kafka/read-tail.ts'
import {
  formatCheckpoint,
  type Place,
  parseCheckpoint,
  placeOf,
  type RouteCheckpoint,
  type RouteMark,
  type TopicState,
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
  | { readonly op: 'append'; readonly count: number; readonly save: boolean; readonly soon: boolean }
  | {
      readonly op: 'crash'
      readonly count: number
      readonly after: 'some' | 'events' | 'checkpoint' | 'commit'
      /** Of the partitions of the transaction, which get its end: a coordinator leaves it out where there is no leader just then. */
      readonly ended: readonly boolean[]
      readonly save: boolean
      readonly soon: boolean
    }
  | { readonly op: 'idle' }
  | { readonly op: 'others'; readonly partition: number; readonly count: number; readonly kind: 'plain' | 'open' }
  | { readonly op: 'lose'; readonly counts: readonly number[]; readonly checkpoints: number }
  | { readonly op: 'trim'; readonly partition: number; readonly share: number }
  | { readonly op: 'recreate'; readonly topic: number }
  | { readonly op: 'add' }
  | { readonly op: 'forget' }
  | { readonly op: 'reopen' }

interface World {
  readonly once: boolean
  readonly maxRefill: number
  readonly partitions: number
  /** How many topics there are; the route begins with one less, if there are several, and adds the last one. */
  readonly topics: number
}

/** A route as `kafkaSink` drives it, over partitions in memory. */
function simulation({ once, maxRefill, partitions, topics }: World) {
  const only = topics === 1 ? 't0' : undefined
  const firstOf = [0, ...Array.from({ length: topics - 1 }, () => Number.POSITIVE_INFINITY)] // ids from here on may go there
  for (let topic = 1; topic < topics - 1; topic++) firstOf[topic] = 0
  const ids = Array.from({ length: topics }, (_, i) => `topic-${i}-0`)
  const every = Array.from({ length: topics * partitions }, (_, i) =>
    placeOf(`t${Math.floor(i / partitions)}`, i % partitions),
  )
  const logs = new Map<Place, Log>(every.map((place) => [place, log()]))
  const isListed = (topic: number): boolean => (firstOf[topic] as number) < Number.POSITIVE_INFINITY
  const listed = (): [Place, Log][] =>
    [...logs].filter(([place]) => isListed(Number(place.slice(1, place.indexOf('/')))))
  const states = (): Map<string, TopicState> =>
    new Map(ids.flatMap((id, i) => (isListed(i) ? [[`t${i}`, { id, partitions }] as const] : [])))
  const idNow = (): string => [...states().values()].map(({ id }) => id).join()
  let checkpoints = log()
  let made = 0
  let next = 1 // the first id that the source has not
  let saved: (RouteMark & { cursor: string }) | undefined
  let stood: FoundEvent[] = [] // where events were appended, lost or not
  const trimmed = new Set<string>()
  let harmed = false // by more than crashes
  let blind = false // all checkpoints are gone, and what was lost cannot be told from what was trimmed
  let writer: Writer

  type Writer = Resumption & {
    at: number
    count: bigint
    open: boolean
    openEnded: boolean
    skipped: ReturnType<typeof skippedEvents>
  }
  const nth = <T>(all: readonly T[], n: number): T => all[n % all.length] as T
  const place = (id: string): Place => {
    const open = firstOf.flatMap((first, i) => (Number(id) >= first ? [i] : []))
    return placeOf(
      `t${nth(open, Number(id) * 5 + (Number(id) >> 1))}`,
      (Number(id) * 7 + (Number(id) >> 2)) % partitions,
    )
  }

  async function foundBetween({ from, to }: { from: ReadonlyMap<Place, bigint>; to: ReadonlyMap<Place, bigint> }) {
    const found: FoundEvent[] = []
    for (const [place, tail] of listed()) {
      const range = { place, from: from.get(place) ?? 0n, to: to.get(place) ?? 0n, source: SOURCE }
      found.push(...(await eventsBetween('log', tail, range)))
    }
    return found
  }
  async function* history() {
    let followed = false
    for await (const { record, leaderEpoch, committed } of recordsBackwards('log', checkpoints, checkpoints.bounds())) {
      const isLast = !followed && leaderEpoch === checkpoints.epoch
      followed = true
      if (committed && record.value !== null) yield { ...parseCheckpoint('route', String(record.value), only), isLast }
    }
  }
  async function open(): Promise<void> {
    if (once)
      for (const each of [...listed().map(([, each]) => each), checkpoints])
        each.add({ producer: OURS, transactional: true, control: 'abort', ids: [undefined] })
    const found = await resume(
      'route',
      {
        ...{ topics: states(), topicId: idNow(), history: history(), saved },
        bounds: new Map(listed().map(([place, each]) => [place, each.bounds()])),
      },
      {
        ...{ source: SOURCE, partitions: undefined, maxRefill, eventsBetween: foundBetween },
        mayStandAt: ({ place, ...event }, to) =>
          mayStandAt('log', logs.get(place) as Log, { ...event, to, source: SOURCE }),
      },
    )
    if (!harmed) expect(found.repair).toBeUndefined()
    if (/going on from the saved/.test(found.repair ?? '')) blind = true
    const at = found.resumeFrom === '' ? 0 : Number(found.resumeFrom)
    writer = { ...found, at, open: true, openEnded: false, skipped: skippedEvents(found.found, found.between) }
    if (saved !== undefined && saved.cursor !== found.resumeFrom) save() // as the bridge does
  }
  function addCheckpoint(at: number, openEnded: boolean, { transactional }: { transactional: boolean }): void {
    const { ends, last, count, skipped } = writer
    const checkpoint: RouteCheckpoint = {
      ...{ cursor: at === 0 ? '' : String(at), source: SOURCE, count, topics: states(), ends, last, openEnded },
      skip: skipped.left(),
    }
    checkpoints.add({ producer: OURS, transactional, ids: [undefined], value: formatCheckpoint(checkpoint, only) })
  }
  /** As `append` of kafkaSink, as far as `until`; `soon` after the one before. */
  function append(
    events: readonly Event[],
    until: 'some' | 'events' | 'checkpoint' | 'commit',
    { soon, ended = [true] }: { soon: boolean; ended?: readonly boolean[] },
  ): void {
    if (!once && !writer.openEnded && writer.isOverstated) addCheckpoint(writer.at, true, { transactional: false })
    const byPlace = Map.groupBy(writer.skipped.without(events), ({ id }) => place(id))
    const ends = new Map(writer.ends)
    const last = new Map(writer.last)
    const isSmall = soon && events.length > 0 && events.length <= maxRefill
    const mayFollow = writer.openEnded && [...byPlace.keys()].every((place) => last.has(place))
    const transactional = once && !(isSmall && mayFollow)
    const touched: Log[] = []
    const batch = { producer: OURS, transactional }
    for (const [place, part] of byPlace) {
      const ids = part.map(({ id }) => id)
      const to = logs.get(place) as Log
      touched.push(to)
      const { first, end } = to.add({ ...batch, ids })
      expect(first).toBeGreaterThanOrEqual(ends.get(place) ?? 0n)
      const stays = !transactional || until === 'commit'
      if (stays) for (const [i, id] of ids.entries()) stood.push({ id, place, offset: first + BigInt(i) })
      ends.set(place, end)
      last.set(place, ids.at(-1) as string)
      if (until === 'some') break
    }
    const at = writer.at + events.length
    const openEnded = !once || isSmall
    writer = { ...writer, ends, last, at, count: writer.count + BigInt(events.length), openEnded }
    if (until === 'checkpoint' || until === 'commit') {
      touched.push(checkpoints)
      addCheckpoint(at, openEnded, { transactional })
    }
    const control = until === 'commit' ? 'commit' : 'abort'
    if (transactional && until === 'commit' && touched.some((_, i) => !nth(ended, i))) harmed = true
    if (transactional)
      for (const [i, each] of touched.entries()) if (nth(ended, i)) each.add({ ...batch, control, ids: [undefined] })
  }
  const events = (count: number): Event[] => {
    const some = Array.from({ length: count }, (_, i) => ({ id: String(writer.at + i + 1) }) as Event)
    next = Math.max(next, writer.at + count + 1)
    return some
  }
  const save = (): void => {
    saved = { count: writer.count, topicId: idNow(), cursor: writer.at === 0 ? '' : String(writer.at) }
  }
  const isSafe = (): boolean => saved !== undefined && checkpoints.batches.length > 0

  return {
    open,
    async apply(step: Step): Promise<void> {
      if (!writer?.open && step.op !== 'lose' && step.op !== 'others') await open()
      if (['lose', 'trim', 'recreate', 'add', 'forget'].includes(step.op)) harmed = true
      switch (step.op) {
        case 'append':
          append(events(step.count), 'commit', step)
          if (step.save || saved === undefined) save()
          return
        case 'crash':
          if (saved === undefined) return // of the first batch nothing is known yet
          append(events(step.count), step.after, step)
          if (step.after === 'commit' && step.save) save()
          writer.open = false
          return
        case 'idle':
          if (once && writer.openEnded) append([], 'commit', { soon: false })
          return
        case 'others':
          nth([...logs.values()], step.partition).add({
            ...{ producer: step.kind === 'open' ? 7n : 8n, transactional: step.kind === 'open' },
            ids: Array.from({ length: step.count }, () => undefined),
          })
          return
        case 'lose':
          if (!isSafe()) return
          for (const [i, each] of [...logs.values()].entries()) {
            const count = step.counts[i % step.counts.length] as number
            if (count > 0) each.lose(count)
          }
          checkpoints.lose(step.checkpoints)
          writer.open = false
          return
        case 'trim': {
          const each = nth([...logs.values()], step.partition)
          const to = each.low + ((each.high - each.low) * BigInt(step.share)) / 100n
          for (const { id, place, offset } of stood) if (logs.get(place) === each && offset < to) trimmed.add(id)
          each.low = to
          return
        }
        case 'recreate':
          if (!isSafe()) return
          for (const name of [`t${step.topic % topics}`]) {
            ids[step.topic % topics] = `topic-${step.topic % topics}-${++made}`
            const isThere = (each: Place): boolean => each.startsWith(`${name}/`)
            for (const each of every.filter(isThere)) logs.set(each, log())
            stood = stood.filter((each) => !isThere(each.place))
          }
          writer.open = false
          return
        case 'add':
          if (topics === 1 || saved === undefined) return
          if (firstOf[topics - 1] === Number.POSITIVE_INFINITY) firstOf[topics - 1] = next
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
      for (const end = next + 2; writer.at < end; )
        append(events(Math.min(3, end - writer.at)), 'commit', { soon: false })
      save()
      const there: string[] = []
      for (const [place, tail] of logs) {
        const range = { place, from: tail.low, to: tail.high, source: SOURCE }
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
const soon = fc.boolean()
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ op: fc.constant('append' as const), count, save: fc.boolean(), soon }) },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('crash' as const),
      count,
      after: fc.constantFrom('some' as const, 'events' as const, 'checkpoint' as const, 'commit' as const),
      ended: fc.array(fc.boolean(), { minLength: 1, maxLength: 4 }),
      save: fc.boolean(),
      soon,
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
  { weight: 1, arbitrary: fc.record({ op: fc.constant('recreate' as const), topic: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.constant({ op: 'add' as const }) },
  { weight: 1, arbitrary: fc.constant({ op: 'forget' as const }) },
  { weight: 1, arbitrary: fc.constant({ op: 'idle' as const }) },
  { weight: 2, arbitrary: fc.constant({ op: 'reopen' as const }) },
)

/** A topic into which nothing had gone is made anew, and the checkpoint that knows of it is lost. */
const madeAnew: Step[] = [
  { op: 'reopen' },
  { op: 'append', count: 1, save: false, soon: false },
  { op: 'recreate', topic: 0 },
  { op: 'append', count: 1, save: false, soon: false },
  { op: 'append', count: 1, save: false, soon: false },
  { op: 'lose', counts: [0], checkpoints: 3 },
]

const RUNS = Number(process.env['REFLEX_BRIDGE_RUNS'] ?? 2000)

describe('a route, whatever crashes, is lost or is trimmed', () => {
  test.each([
    { once: true, maxRefill: 1000 },
    { once: false, maxRefill: 1000 },
    { once: true, maxRefill: 4 },
    { once: false, maxRefill: 4 },
  ])('has every event once, or is refused: %o', async ({ once, maxRefill }) => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 3 }),
        fc.array(step, { maxLength: 14 }),
        async (partitions, topics, steps) => {
          const route = simulation({ once, maxRefill, partitions, topics })
          try {
            await route.open()
            for (const each of steps) await route.apply(each)
            await route.finish()
          } catch (error) {
            if (codeOf(error) !== 'SINK_LOST_TOO_MUCH' || maxRefill > 100) throw error
          }
        },
      ),
      { numRuns: RUNS, examples: [[1, 3, madeAnew]] },
    )
  })
})

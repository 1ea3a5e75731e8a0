import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { newestNumbers } from '../../src/bridge/audit/newest-numbers.ts'
import { type AuditSpec, audit } from '../../src/bridge/audit.ts'
import type { Event, NewEvent } from '../../src/core/event.ts'
import { type MemoryLog, memoryLog } from '../../src/core/memory-log.ts'
import { wireNames } from '../../src/core/wire.ts'
import { numbered } from '../tools/numbered.ts'

/** As a sink writes it. */
function forwarded({ id, ...event }: Event, source = 'shop'): NewEvent {
  return { ...event, headers: { ...event.headers, [wireNames.source]: source, [wireNames.sourceId]: id } }
}

/** A source with so many events, and a destination that has all of them. */
function forwardedLog(count: number): { source: MemoryLog; destination: MemoryLog; events: Event[] } {
  const source = memoryLog({ name: 'shop', batchSize: 7 })
  const destination = memoryLog({ name: 'out', batchSize: 5 })
  const events = source.append(...numbered(count))
  destination.append(...events.map((event) => forwarded(event)))
  return { source, destination, events }
}

/** What is done to an entry of the destination; positions are taken modulo what is there. */
type Deed =
  | { readonly kind: 'lose' | 'change' | 'trim'; readonly unit: number; readonly at: number }
  | { readonly kind: 'duplicate' | 'move'; readonly unit: number; readonly at: number; readonly to: number }
  | { readonly kind: 'foreign' | 'unknown' | 'beyond' | 'before'; readonly unit: number; readonly at: number }

/** An entry of the destination, as the model has it: whose event it is, if it is one of the source. */
interface Entry {
  readonly event: NewEvent
  /** The index among the events of the source. */
  readonly index?: number
  readonly kind: 'own' | 'foreign' | 'unknown' | 'beyond' | 'before'
  readonly changed?: true
}

const index = fc.nat({ max: 1000 })
const deed: fc.Arbitrary<Deed> = fc.oneof(
  fc.record({ kind: fc.constantFrom('lose', 'change', 'trim'), unit: index, at: index }),
  fc.record({ kind: fc.constantFrom('duplicate', 'move'), unit: index, at: index, to: index }),
  fc.record({ kind: fc.constantFrom('foreign', 'unknown', 'beyond', 'before'), unit: index, at: index }),
)

const world = fc.record({
  /** Positions: an event, a hole that never held one, or an event that the transform leaves out. */
  source: fc.array(fc.constantFrom('event', 'event', 'event', 'hole', 'filtered'), { maxLength: 40, size: 'max' }),
  units: fc.integer({ min: 1, max: 3 }),
  deeds: fc.array(deed, { maxLength: 12, size: 'max' }),
  batches: fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 })),
  /** How much of the source's ends is outside of the range. */
  range: fc.record({ from: fc.nat({ max: 5 }), to: fc.nat({ max: 5 }) }),
})

type World = typeof world extends fc.Arbitrary<infer T> ? T : never

const changes: ((event: NewEvent) => NewEvent)[] = [
  (event) => ({ ...event, type: event.type + 1 }),
  (event) => ({ ...event, foreignId: `${event.foreignId}!` }),
  (event) => ({ ...event, timestamp: (event.timestamp ?? 0) + 0.001 }),
  (event) => ({ ...event, metadata: Buffer.from(`${event.metadata}`.replace('payload', 'Payload')) }),
  (event) => ({ ...event, metadata: null }),
  (event) => ({ ...event, headers: { ...event.headers, trace: 'other' } }),
]

/** Makes the two sides, and what must be found. */
function build({ source: positions, units: unitCount, deeds, batches, range }: World) {
  const source = memoryLog({ name: 'shop', batchSize: batches[0] })
  const events: Event[] = []
  for (const [i, kind] of positions.entries()) {
    if (kind === 'hole') source.skip()
    else
      events.push(
        ...source.append({
          ...{ type: kind === 'filtered' ? 9 : 1, foreignId: `e${i % 4}`, timestamp: 1_700_000_000_000 + i / 1000 },
          ...{ metadata: Buffer.from(`payload ${i}`), headers: { trace: `t${i}`, many: ['a', 'b'] } },
        }),
      )
  }
  const holes = positions.flatMap((kind, i) => (kind === 'hole' ? [String(i + 1)] : []))
  const to = String(Math.max(0, positions.length - range.to))
  const from = range.from === 0 ? '' : String(Math.min(Number(to), range.from))
  const isJudged = (id: string): boolean => Number(id) > Number(from) && Number(id) <= Number(to)
  const kindOf = (id: string): Entry['kind'] => (isJudged(id) ? 'own' : Number(id) > Number(to) ? 'beyond' : 'before')

  const units: Entry[][] = Array.from({ length: unitCount }, () => [])
  for (const [i, event] of events.entries())
    if (event.type !== 9)
      units[Number(event.foreignId.slice(1)) % unitCount]?.push({
        ...{ event: forwarded(event), index: i, kind: kindOf(event.id) },
      })
  const trims = units.map(() => 0)
  for (const [i, { kind, unit, at, ...more }] of deeds.entries()) {
    const which = unit % unitCount
    const entries = units[which] as Entry[]
    const place = entries.length === 0 ? 0 : at % entries.length
    const entry = entries[place]
    const insert = (id: string | undefined, kind: Entry['kind']): void => {
      if (id === undefined) return
      const event = forwarded({ ...{ type: 1, foreignId: 'e0', timestamp: 0, metadata: null, headers: {} }, id })
      entries.splice(place, 0, { event, kind })
    }
    if (kind === 'foreign')
      entries.splice(place, 0, {
        kind,
        event: at % 2 === 0 ? { type: 1, foreignId: 'x' } : forwarded({ ...(events[0] ?? foreignEvent) }, 'other'),
      })
    // At the front of a table that is read from its earliest event, it may have been purged.
    else if (kind === 'unknown')
      insert(holes.filter((id) => isJudged(id) && (from !== '' || Number(id) > Number(events[0]?.id ?? 1000)))[0], kind)
    else if (kind === 'beyond') insert(String(Number(to) + 1 + at), kind)
    else if (kind === 'before') insert(from === '' ? undefined : from, kind)
    else if (kind === 'trim') trims[which] = at % 4
    else if (entry === undefined) continue
    else if (kind === 'lose') entries.splice(place, 1)
    else if (kind === 'change') {
      if (entry.kind === 'own' && entry.changed === undefined)
        entries[place] = {
          ...entry,
          changed: true,
          event: (changes[i % changes.length] as (e: NewEvent) => NewEvent)(entry.event),
        }
    } else {
      const target = (more as { to: number }).to % (entries.length + 1)
      if (kind === 'move') entries.splice(place, 1)
      entries.splice(target, 0, entry)
    }
  }
  const logs = units.map((entries, i) => {
    const log = memoryLog({ name: `out/${i}`, batchSize: batches[1] })
    log.append(...entries.map(({ event }) => event))
    log.trim(String(Math.min(trims[i] as number, entries.length) + 1))
    return log
  })
  return { source, events, from, to, isJudged, units, logs, trims }
}

const foreignEvent: Event = { id: '1', type: 1, foreignId: 'x', timestamp: 0, metadata: null, headers: {} }

/** What is to be found, by looking at everything at once. */
function expected({ events, isJudged, units, trims }: ReturnType<typeof build>) {
  const left = units.map((entries, unit) => entries.slice(trims[unit]))
  const all = left.flatMap((entries, unit) =>
    entries.map((entry, i) => ({
      ...entry,
      unit,
      at: String(i + 1 + Math.min(trims[unit] as number, (units[unit] as Entry[]).length)),
    })),
  )
  const of = (kind: Entry['kind']): number => all.filter((entry) => entry.kind === kind).length
  const own = all.filter(({ kind }) => kind === 'own')
  const wanted = events.flatMap(({ id, type }, i) => (isJudged(id) ? [{ id, i, filtered: type === 9 }] : []))
  const fronts = left.map((entries, unit) => {
    if (trims[unit] === 0 || units[unit]?.length === 0) return 0
    const first = entries.find(({ kind }) => kind !== 'foreign' && kind !== 'unknown')
    if (first?.kind === 'before') return 0
    return first?.kind === 'own' ? (first.index as number) : Number.POSITIVE_INFINITY
  })
  const front = Math.max(...fronts)
  const missing = wanted.filter(({ i, filtered }) => !filtered && !own.some((entry) => entry.index === i))
  const lost = missing.filter(({ i }) => i >= front).map(({ id }) => id)
  return { all, of, own, wanted, missing, lost }
}

describe('audit', () => {
  it('finds what was done to a destination, and nothing else', async () => {
    const leaveOut = (event: Event): Event | undefined => (event.type === 9 ? undefined : event)
    await fc.assert(
      fc.asyncProperty(world, async (given) => {
        const built = build(given)
        const { source, from, to, logs } = built
        const report = await audit({
          ...{ source: source.source, destinations: logs.map((log) => log.source), transform: leaveOut, from, to },
        })
        const { of, own, wanted, missing, lost } = expected(built)
        const { counts } = report
        const distinct = new Set(own.map((entry) => entry.index))
        expect(report.lost).toEqual(lost)
        expect(counts).toMatchObject({
          source: wanted.length,
          filtered: wanted.filter(({ filtered }) => filtered).length,
          delivered: distinct.size,
          lost: lost.length,
          trimmed: missing.length - lost.length,
          duplicated: own.length - distinct.size,
          unknown: of('unknown'),
          foreign: of('foreign'),
          before: of('before'),
          beyond: of('beyond'),
          notCompared: 0,
        })
        // Of several entries of one event, any may be the first: copies of a changed one are changed as well.
        const copied = new Set(
          own.filter(({ index }, i) => own.findIndex((e) => e.index === index) !== i).map(({ index }) => index),
        )
        const once = own.filter(({ index }) => !copied.has(index))
        const laterBefore = ({ index, unit, at }: (typeof own)[number]): typeof own =>
          own.filter((e) => e.unit === unit && Number(e.at) < Number(at) && (e.index as number) > (index as number))
        const isReordered = (entry: (typeof own)[number]): boolean =>
          laterBefore(entry).some(({ event }) => event.foreignId === entry.event.foreignId)
        const late = once.filter((entry) => laterBefore(entry).length > 0 && !isReordered(entry))
        if (copied.size === 0) expect(counts.late).toBe(late.length)
        const positions = (entries: readonly { at: string; unit: number }[]): string[] =>
          entries.map(({ unit, at }) => `out/${unit} ${at}`).sort()
        const found = (list: readonly { id: string; at: string; destination: string }[]): string[] =>
          list
            .filter(({ id }) => !copied.has(built.events.findIndex((event) => event.id === id)))
            .map(({ destination, at }) => `${destination} ${at}`)
            .sort()
        expect(found(report.reordered)).toEqual(positions(once.filter(isReordered)))
        expect(found(report.different)).toEqual(positions(once.filter(({ changed }) => changed)))
        expect(new Set(report.duplicated.map(({ id }) => id))).toEqual(
          new Set([...copied].map((index) => built.events[index as number]?.id)),
        )
        const wrong = counts.lost + counts.duplicated + counts.reordered + counts.different + counts.unknown
        expect(report.ok).toBe(wrong === 0)
      }),
      { numRuns: 1000 },
    )
  })

  it('says nothing of a destination that has everything', async () => {
    const { source, destination } = forwardedLog(25_000)
    const report = await audit({ source: source.source, destinations: [destination.source] })
    const counts = { source: 25_000, delivered: 25_000, notCompared: 0, foreign: 0 }
    expect(report).toMatchObject({ ok: true, to: '25000@1', counts })
  })

  it('does not judge what is forwarded while it reads', async () => {
    const { source, destination } = forwardedLog(50)
    const { stream } = destination.source
    const busy: AuditSpec['destinations'][number] = {
      ...destination.source,
      stream: async (after, options) => {
        const opened = await stream(after, options)
        destination.append(...source.append(...numbered(20, { offset: 50 })).map((event) => forwarded(event)))
        return opened
      },
    }
    const report = await audit({ source: source.source, destinations: [busy] })
    expect(report).toMatchObject({ ok: true, to: '50@1', counts: { source: 50 } })
  })

  it('counts everything where nothing is there, and lists the first ids', async () => {
    const source = memoryLog({ name: 'shop' })
    source.append(...numbered(25_000))
    const report = await audit({ source: source.source, destinations: [memoryLog().source] }, { listed: 3 })
    expect(report).toMatchObject({ ok: false, lost: ['1', '2', '3'], counts: { lost: 25_000, delivered: 0 } })
  })

  it('does not compare what stands behind more than it keeps, and says of how much', async () => {
    const source = memoryLog({ name: 'shop' })
    const destination = memoryLog()
    const same = numbered(15_000).map((event) => ({ ...event, foreignId: 'order-7' }))
    const [first, ...more] = source.append(...same).map((event) => forwarded(event)) as [NewEvent]
    destination.append(...more.slice(12_000), { ...first, type: 7 })
    const report = await audit({ source: source.source, destinations: [destination.source] })
    expect(report.reordered).toEqual([{ id: '1', destination: 'memory', at: '3000' }])
    expect(report.counts).toMatchObject({ lost: 12_000, different: 0, notCompared: 1, reordered: 1 })
  })

  it('tells what is behind later events of others alone from what is out of order, for as many foreignIds as it keeps', async () => {
    const source = memoryLog({ name: 'shop' })
    const [first, second, ...more] = source.append(...numbered(1000)).map((event) => forwarded(event)) as NewEvent[]
    const destination = memoryLog()
    destination.append(second as NewEvent, ...more, first as NewEvent)
    const spec = { source: source.source, destinations: [destination.source] }
    expect(await audit(spec)).toMatchObject({ ok: true, counts: { late: 1, reordered: 0, delivered: 1000 } })
    const known = newestNumbers(2)
    for (const [i, name] of ['a', 'b', 'a', 'c'].entries()) known.add(name, i)
    expect([known.get('c', 9), known.get('b', 9), known.get('a', 9)]).toEqual([3, 1, 9]) // a was forgotten
  })

  it('takes what was set aside, and what the source was purged of, for no loss', async () => {
    const { source, destination, events } = forwardedLog(30)
    source.trim('11')
    destination.recreate()
    destination.append(...events.filter(({ id }) => id !== '17').map((event) => forwarded(event)))
    const spec = { source: source.source, destinations: [destination.source] }
    expect(await audit(spec)).toMatchObject({ ok: false, lost: ['17'], counts: { before: 10 } })
    expect(await audit({ ...spec, setAside: new Set(['17']) })).toMatchObject({
      ...{ ok: true, lost: [], counts: { setAside: 1, source: 20, delivered: 19 } },
    })
  })

  it('expects an event that the transform throws at', async () => {
    const { source, destination } = forwardedLog(3)
    const transform = (event: Event): Event => {
      if (event.id === '2') throw new Error('no such order')
      return event
    }
    const spec = { source: source.source, destinations: [destination.source], transform }
    expect(await audit(spec)).toMatchObject({ ok: true, counts: { notCompared: 1 } })
    destination.remove('2')
    expect(await audit(spec)).toMatchObject({ ok: false, lost: ['2'] })
  })

  it('refuses a range that is none, and a source that cannot order its cursors', async () => {
    const { source, destination } = forwardedLog(3)
    const destinations = [destination.source]
    await expect(audit({ source: source.source, destinations, from: '3', to: '2' })).rejects.toThrow(
      'shop: the range must not end before it begins: from 3, to 2',
    )
    await expect(audit({ source: source.source, destinations, to: '4' })).rejects.toThrow('4 lies beyond its end, 3')
    const { source: empty } = memoryLog({ name: 'shop' }) // the table was made anew
    await expect(audit({ source: empty, destinations, to: '3' })).rejects.toThrow('3 lies beyond its end, the start')
    expect(await audit({ source: empty, destinations, to: '0' })).toMatchObject({ ok: true, counts: { beyond: 3 } })
    const { compare: _compare, ...unordered } = source.source
    await expect(audit({ source: unordered, destinations })).rejects.toThrow('must have compare')
  })

  it('closes every stream when one fails, and ends with the signal', async () => {
    const { source, destination } = forwardedLog(3)
    let open = 0
    const counted = (log: MemoryLog['source'], fails = false): MemoryLog['source'] => ({
      ...log,
      stream: async (after, options) => {
        const opened = await log.stream(after, options)
        open++
        return {
          [Symbol.asyncIterator]: () => {
            if (!fails) return opened[Symbol.asyncIterator]()
            return { next: async () => Promise.reject(new Error('gone')) }
          },
          [Symbol.asyncDispose]: async () => {
            open--
            await opened[Symbol.asyncDispose]()
          },
        }
      },
    })
    const spec = { source: counted(source.source), destinations: [counted(destination.source, true)], to: '3' }
    await expect(audit(spec)).rejects.toThrow('gone')
    expect(open).toBe(0)
    const signal = AbortSignal.abort(new Error('stopped'))
    await expect(audit({ ...spec, destinations: [destination.source] }, { signal })).rejects.toThrow('stopped')
    expect(open).toBe(0)
  })

  it('closes a destination that opens only after another one has failed to', async () => {
    const { source, destination } = forwardedLog(3)
    const closed: string[] = []
    const slow: MemoryLog['source'] = {
      ...destination.source,
      stream: async (after, options) => {
        await new Promise((resolve) => setTimeout(resolve, 20))
        const opened = await destination.source.stream(after, options)
        const dispose = async (): Promise<void> => {
          closed.push('slow')
          await opened[Symbol.asyncDispose]()
        }
        return { ...opened, [Symbol.asyncDispose]: dispose }
      },
    }
    const failing = { ...destination.source, stream: () => Promise.reject(new Error('gone')) }
    await expect(audit({ source: source.source, destinations: [failing, slow], to: '3' })).rejects.toThrow('gone')
    expect(closed).toEqual(['slow'])
  })
})

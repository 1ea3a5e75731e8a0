import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { bridge } from '../../src/bridge/bridge.ts'
import { parseCheckpoint } from '../../src/bridge/checkpoint.ts'
import { moveCheckpoint } from '../../src/bridge/move-checkpoint.ts'
import { readLog } from '../../src/bridge/route-log.ts'
import { sourceUntil } from '../../src/bridge/source-until.ts'
import { decorateSource } from '../../src/core/decorate.ts'
import { codeOf } from '../../src/core/errors.ts'
import type { Batch } from '../../src/core/event.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { memoryLog } from '../../src/core/memory-log.ts'
import { eventStream, openStream, type Source } from '../../src/core/stream.ts'
import { wireNames } from '../../src/core/wire.ts'
import { simulatedDestination } from '../../src/testing/simulation/simulated-destination.ts'
import { numbered } from '../tools/numbered.ts'
import { errorOf } from '../tools/reader.ts'

/** A route from a log in memory to a destination of one kind. */
function route(keeps: 'position' | 'events', batchSize = 3) {
  const log = memoryLog({ name: 'shop', batchSize })
  const destination = simulatedDestination({ keeps })
  const checkpoints = memoryCursors()
  const spec = { name: 'orders', source: log.source, checkpoints }
  return {
    ...{ log, destination, checkpoints },
    spec: () => ({ ...spec, sink: destination.sink() }),
    ids: () => destination.events.map(({ headers }) => Number(headers[wireNames.sourceId])),
    saved: async () => parseCheckpoint('orders', await checkpoints.get('orders')),
  }
}

/** Without the events up to an id, but with the batches that they were in, as where there are only no-ops. */
function without(source: Source, upToId: number): Source {
  return decorateSource(source, async (after, options) => {
    const stream = await openStream(source.stream, after, options)
    async function* batches(): AsyncGenerator<Batch> {
      for await (const { events, cursor } of stream)
        yield { events: events.filter(({ id }) => Number(id) > upToId), cursor }
    }
    const { signal } = options
    return eventStream(batches(), () => stream[Symbol.asyncDispose](), { signal, incarnation: stream.incarnation })
  })
}

const codeFrom = async (work: Promise<unknown>): Promise<string | undefined> => codeOf(await errorOf(work))
const upTo = (from: number, to: number): number[] =>
  Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i + 1)

describe.each(['position', 'events'] as const)('moveCheckpoint, where the destination keeps the %s', (keeps) => {
  it('passes over exactly what lies in between, wherever the route stands', async () => {
    const plan = fc.tuple(fc.nat({ max: 12 }), fc.nat({ max: 12 }), fc.nat({ max: 12 }))
    await fc.assert(
      fc.asyncProperty(plan, async ([first, between, after]) => {
        const { log, spec, ids, saved } = route(keeps)
        log.append(...numbered(first))
        if (first > 0) await bridge(spec(), { toHead: true })
        log.append(...numbered(between + after + 1))
        const to = first + between
        if (to > 0) {
          await moveCheckpoint(spec(), String(to))
          expect(await saved()).toMatchObject({ cursor: `${to}@1`, start: between > 0 ? `${to}@1` : '' })
        }
        await bridge(spec(), { toHead: true })
        expect(ids()).toEqual([...upTo(0, first), ...upTo(to, first + between + after + 1)])
      }),
      { numRuns: 100 },
    )
  })

  it('leaves a line for good in the log of the route, and does nothing where the route stands already', async () => {
    const { log, spec, saved, checkpoints, destination } = route(keeps)
    log.append(...numbered(10))
    await bridge({ ...spec(), source: sourceUntil(log.source, '4') }, { toHead: true })
    const said = { by: 'ada', at: 1 }
    expect(await moveCheckpoint(spec(), '4', { said })).toEqual({ from: '4@1', to: '4@1' })
    expect(await saved()).toMatchObject({ cursor: '4@1', start: '' })
    expect(await checkpoints.list?.()).toHaveLength(1)
    await moveCheckpoint(spec(), '6', { said })
    await moveCheckpoint(spec(), '8', { said: { by: 'bob', at: 2 } })
    await bridge(spec(), { toHead: true })
    const checkpoint = await saved()
    expect(checkpoint).toMatchObject({ cursor: '10@1', start: '8@1', log: 1 })
    expect(await readLog({ name: 'orders', checkpoints, checkpoint: checkpoint ?? {} })).toEqual([
      { move: { from: '4@1', to: '6@1', ...said } },
      { move: { from: '6@1', to: '8@1', by: 'bob', at: 2 } },
    ])
    expect(destination.events).toHaveLength(6)
  })

  it('refuses to go back, and to go where the source cannot be read, and changes nothing', async () => {
    const { log, spec, saved } = route(keeps)
    log.append(...numbered(10))
    await bridge(spec(), { toHead: true })
    const before = await saved()
    expect(await codeFrom(moveCheckpoint(spec(), '9'))).toBe('REWIND_REFUSED')
    expect(await codeFrom(moveCheckpoint(spec(), ''))).toBe('REWIND_REFUSED')
    expect(await codeFrom(moveCheckpoint(spec(), '11'))).toBe('CURSOR_AHEAD')
    expect(await codeFrom(moveCheckpoint(spec(), 'x'))).toBe('CURSOR_INVALID')
    log.append(...numbered(10))
    log.trim('18')
    expect(await codeFrom(moveCheckpoint(spec(), '12'))).toBe('CURSOR_TRIMMED')
    expect(await saved()).toEqual(before)
  })

  it('refuses while a lost tail is to be refilled, which the route then does', async () => {
    const { log, destination, spec, ids } = route(keeps)
    log.append(...numbered(6))
    await bridge(spec(), { toHead: true })
    destination.events.length = 3
    log.append(...numbered(6))
    expect(await codeFrom(moveCheckpoint(spec(), '10'))).toBe('TAIL_LOST')
    await bridge(spec(), { toHead: true })
    expect(ids()).toEqual(upTo(0, 12))
  })

  it('goes on from any position after what is left, where the source no longer has what the destination lost', async () => {
    const { log, destination, spec, ids, saved } = route(keeps)
    log.append(...numbered(6))
    await bridge(spec(), { toHead: true })
    destination.events.length = 3
    log.append(...numbered(6))
    log.trim('5')
    expect(await codeFrom(bridge(spec(), { toHead: true }))).toBe('CURSOR_TRIMMED')
    expect(await codeFrom(moveCheckpoint(spec(), '2'))).toBe('CURSOR_TRIMMED')
    const moved = await moveCheckpoint(spec(), '5', { said: { by: 'ada', at: 1 } })
    expect(moved).toMatchObject({ from: '6@1', to: '5@1', lostAfter: expect.stringMatching(/^3(@1)?$/) })
    expect(await saved()).toMatchObject({ cursor: '5@1', start: '5@1' })
    await bridge(spec(), { toHead: true })
    expect(ids()).toEqual([1, 2, 3, 6, ...upTo(6, 12)])
  })

  it('is the way on, too, where the destination has lost everything and the source its first events', async () => {
    const { log, destination, spec, ids } = route(keeps)
    log.append(...numbered(6))
    await bridge(spec(), { toHead: true })
    destination.wipe()
    log.append(...numbered(6))
    log.trim('5')
    for (let again = 0; again < 2; again++) {
      const error = await errorOf(bridge(spec(), { toHead: true }))
      expect(error).toMatchObject({ code: 'REFILL_INCOMPLETE', retriable: false })
      expect(String(error)).toMatch(/began with event 1, and the earliest that is left is 5/)
      expect(ids()).toEqual([])
    }
    await moveCheckpoint(spec(), '4')
    await bridge(spec(), { toHead: true })
    expect(ids()).toEqual(upTo(4, 12))
  })

  it('is the way on, too, where what is left begins with a part without events, or has none', async () => {
    const { log, destination, spec, ids, saved } = route(keeps)
    log.append(...numbered(6))
    await bridge(spec(), { toHead: true })
    destination.wipe()
    const left = (upToId: number): ReturnType<typeof spec> => ({ ...spec(), source: without(log.source, upToId) })
    await bridge(left(6), { toHead: true })
    expect(await saved()).toMatchObject({ cursor: '', first: '1' })
    log.append(...numbered(6))
    expect(await codeFrom(moveCheckpoint(spec(), '6'))).toBe('TAIL_LOST')
    for (let again = 0; again < 2; again++)
      expect(await codeFrom(bridge(left(6), { toHead: true }))).toBe('REFILL_INCOMPLETE')
    expect(ids()).toEqual([])
    expect(await moveCheckpoint(left(12), '6')).toMatchObject({ lostAfter: '' })
    await bridge(left(6), { toHead: true })
    expect(ids()).toEqual(upTo(6, 12))
  })

  it('is not needed where a route began later than its source', async () => {
    const { log, destination, spec, ids } = route(keeps)
    log.append(...numbered(6))
    log.trim('4')
    await bridge(spec(), { toHead: true })
    destination.wipe()
    await bridge(spec(), { toHead: true })
    expect(ids()).toEqual(upTo(3, 6))
  })

  it('saves nothing where another process has saved meanwhile', async () => {
    const { log, checkpoints, spec, saved } = route(keeps)
    log.append(...numbered(6))
    const { sink, ...rest } = spec()
    const meddled = {
      ...rest,
      sink: {
        ...sink,
        open: async (options: Parameters<typeof sink.open>[0]) => {
          await checkpoints.set('orders', '{"cursor":"2","mark":"0/"}', '')
          return sink.open(options)
        },
      },
    }
    expect(await codeFrom(moveCheckpoint(meddled, '4'))).toBe('CURSOR_CONFLICT')
    expect(await saved()).toMatchObject({ cursor: '2' })
  })
})

describe('sourceUntil', () => {
  it('ends at the position, wherever that is between the events', async () => {
    const plan = fc.tuple(
      fc.array(fc.boolean(), { maxLength: 20, size: 'max' }),
      fc.nat({ max: 20 }),
      fc.nat({ max: 20 }),
      fc.integer({ min: 1, max: 7 }),
    )
    await fc.assert(
      fc.asyncProperty(plan, async ([positions, from, to, batchSize]) => {
        const log = memoryLog({ batchSize })
        for (const isEvent of positions) {
          if (isEvent) log.append(...numbered(1))
          else log.skip()
        }
        const end = Math.min(to, positions.length)
        const after = Math.min(from, positions.length)
        const found: string[] = []
        let cursor = ''
        await using stream = await sourceUntil(log.source, String(end)).stream(String(after), {})
        for await (const batch of stream) {
          found.push(...batch.events.map(({ id }) => id))
          cursor = batch.cursor
        }
        expect(found).toEqual(
          positions.flatMap((isEvent, i) => (isEvent && i + 1 > after && i + 1 <= end ? [String(i + 1)] : [])),
        )
        if (cursor !== '') expect(Number(cursor)).toBeLessThanOrEqual(end)
      }),
      { numRuns: 300 },
    )
  })
})

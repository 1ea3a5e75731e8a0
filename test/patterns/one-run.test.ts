import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Batch,
  type Clock,
  type Consumer,
  type CursorStore,
  codeOf,
  type Event,
  eventStream,
  type MemoryLog,
  memoryCursors,
  memoryLog,
  type RunResult,
  run,
  type StreamFunc,
  supervise,
} from '../../src/core/index.ts'
import { ack, batch, concurrent, constant, deadLetter, memoryLetters } from '../../src/patterns/index.ts'
import { type Simulation, simulation } from '../../src/testing/simulation/simulation.ts'
import { errorOf } from '../tools/reader.ts'
import { patient, turns } from './turns.ts'

type Work = (events: readonly Event[]) => Promise<void>

/** Each pattern that keeps a state from the start of a run to its end. */
const patterns: Record<string, (work: Work, more?: Partial<Consumer>, clock?: Clock) => Consumer> = {
  batch: (work, more) => batch({ ...more, name: 'c', handle: work }, { maxEvents: 3 }),
  concurrent: (work, more) => concurrent({ ...more, name: 'c', handle: (event) => work([event]) }, { maxInFlight: 2 }),
  ack: (work, more) =>
    ack(
      { ...more, name: 'c', handle: (event, context) => void work([event]).then(context.ack, context.fail) },
      { maxUnacked: 4 },
    ),
  deadLetter: (work, more, clock) =>
    deadLetter(
      { ...more, name: 'c', handle: (event) => work([event]) },
      { letters: memoryLetters(), policy: constant(10), clock },
    ),
}

function logOf(count: number, foreignId: string): MemoryLog {
  const log = memoryLog({ name: foreignId, batchSize: 2 })
  for (let i = 0; i < count; i++) log.append({ type: 1, foreignId })
  return log
}

/** The stream of a log each of whose batches takes a turn. */
function inTurns(log: MemoryLog, sim: Simulation): StreamFunc {
  return async (after, options) => {
    const opened = await log.source.stream(after, options)
    async function* batches(): AsyncGenerator<Batch> {
      for await (const each of opened) {
        await sim.turn()
        yield each
      }
    }
    return eventStream(batches(), () => opened[Symbol.asyncDispose](), { signal: options.signal, incarnation: '1' })
  }
}

describe.each(Object.entries(patterns))('a consumer of %s', (_name, make) => {
  test('is not shared by two runs, whenever the second begins: it is refused, and of neither log anything is lost or mixed', async () => {
    const plan = fc.record({
      order: fc.array(fc.nat({ max: 5 }), { maxLength: 80 }),
      counts: fc.tuple(fc.nat({ max: 8 }), fc.nat({ max: 8 })),
      begins: fc.tuple(fc.nat({ max: 12 }), fc.nat({ max: 12 })),
      aborts: fc.option(fc.nat({ max: 12 }), { nil: undefined }),
    })
    await fc.assert(
      fc.asyncProperty(plan, async ({ order, counts, begins, aborts }) => {
        const sim = simulation(order)
        const handled = { a: new Set<string>(), b: new Set<string>() }
        const consumer = make(async (events) => {
          expect(new Set(events.map(({ foreignId }) => foreignId)).size).toBe(1)
          await sim.turn()
          await sim.turn()
          for (const { id, foreignId } of events) handled[foreignId as 'a' | 'b'].add(id)
        })
        const stop = new AbortController()
        const living = { now: 0, most: 0 }
        const live = async (which: 0 | 1): Promise<RunResult | undefined> => {
          const key = which === 0 ? 'a' : 'b'
          const memory = memoryCursors()
          const cursors: CursorStore = {
            ...memory,
            get: async (...about) => {
              await sim.turn()
              return memory.get(...about)
            },
            set: async (consumerName, cursor, expected) => {
              await sim.turn()
              for (let id = 1; id <= Number.parseInt(cursor, 10); id++)
                expect(handled[key].has(String(id)), `${key} ${id} at ${cursor}`).toBe(true)
              await memory.set(consumerName, cursor, expected)
            },
          }
          const log = logOf(counts[which], key)
          for (let i = 0; i < begins[which]; i++) await sim.turn()
          living.most = Math.max(living.most, ++living.now)
          const options = { toHead: true, clock: patient(sim.clock), signal: which === 0 ? stop.signal : undefined }
          try {
            return await run({ stream: inTurns(log, sim), cursors, consumer }, options)
          } catch (error) {
            expect(codeOf(error), String(error)).toBe('CONSUMER_IN_USE')
            expect(String(error)).toContain('Make one consumer for each run')
            return undefined
          } finally {
            living.now--
          }
        }
        const abort = async (): Promise<void> => {
          if (aborts === undefined) return
          for (let i = 0; i < aborts; i++) await sim.turn()
          stop.abort(new Error('stop'))
        }
        const results = await sim.run(Promise.all([live(0), live(1), abort()]))
        const [first, second] = results
        expect(first ?? second, 'one of them goes on').not.toBe(undefined)
        if (living.most === 1) expect([first, second]).not.toContain(undefined)
        if (first?.reason === 'head') expect(handled.a.size).toBe(counts[0])
        if (second?.reason === 'head') expect(handled.b.size).toBe(counts[1])
      }),
      { numRuns: 150 },
    )
  })

  test('serves one run after the other, whatever ended them, the start of what decorates it included', async () => {
    const end = fc.constantFrom('head', 'outer start', 'inner start', 'handler', 'abort', 'save')
    await fc.assert(
      fc.asyncProperty(fc.array(end, { maxLength: 8 }), fc.array(fc.nat({ max: 5 })), async (ends, order) => {
        const sim = simulation(order)
        const log = logOf(4, 'a')
        const handled = new Set<string>()
        let now: string | undefined
        const fail = (what: string): void => {
          if (now !== what) return
          now = undefined
          throw new Error(what)
        }
        const memory = memoryCursors()
        const cursors: CursorStore = {
          ...memory,
          set: async (...about) => {
            fail('save')
            await memory.set(...about)
          },
        }
        let stop = new AbortController()
        const inner = make(
          async (events) => {
            if (now === 'abort') stop.abort(new Error('abort'))
            await sim.turn()
            fail('handler')
            for (const { id } of events) handled.add(id)
          },
          { start: () => fail('inner start') },
          sim.clock,
        )
        const consumer: Consumer = {
          ...inner,
          start: async (context) => {
            await inner.start?.(context)
            await sim.turn()
            fail('outer start')
          },
        }
        const spec = { stream: inTurns(log, sim), cursors, consumer }
        for (const each of ends) {
          now = each
          stop = new AbortController()
          log.append({ type: 1, foreignId: 'a' })
          const codes: unknown[] = []
          // The one that is started again, up to the head or the abort.
          const restarted = supervise((o) => run(spec, { ...o, toHead: true, clock: patient(sim.clock) }), {
            signal: stop.signal,
            clock: patient(sim.clock),
            observer: { restarting: ({ error }) => void codes.push(codeOf(error)) },
          })
          await sim.run(restarted)
          expect(codes.length).toBeLessThanOrEqual(1)
          expect(codes).not.toContain('CONSUMER_IN_USE')
        }
        now = undefined
        await sim.run(run(spec, { toHead: true, clock: patient(sim.clock) }))
        expect(handled.size).toBe(4 + ends.length)
        expect(await memory.get('c')).toBe(`${4 + ends.length}@1`)
      }),
      { numRuns: 100 },
    )
  })

  test('is left to a run that waits for its first event', async () => {
    const [idle, busy] = [memoryLog({ name: 'idle' }), logOf(3, 'busy')]
    const handled: string[] = []
    const consumer = make(async (events) => {
      for (const { id, foreignId } of events) handled.push(`${foreignId} ${id}`)
    })
    const stop = new AbortController()
    const first = run({ stream: idle.source.stream, cursors: memoryCursors(), consumer }, { signal: stop.signal })
    await turns()
    const spec = { stream: busy.source.stream, cursors: memoryCursors(), consumer }
    for (let i = 0; i < 2; i++)
      expect(await errorOf(run(spec))).toMatchObject({ code: 'CONSUMER_IN_USE', retriable: false })
    idle.append({ type: 1, foreignId: 'idle' })
    await turns()
    stop.abort(new Error('the end of the test'))
    expect((await first).reason).toBe('aborted')
    expect(handled).toEqual(['idle 1'])
  })
})

import { getEventListeners } from 'node:events'
import fc from 'fast-check'
import { expect } from 'vitest'
import {
  type Batch,
  type Clock,
  type Consumer,
  type Cursor,
  type CursorStore,
  type Event,
  eventStream,
  memoryCursors,
  memoryLog,
  run,
  type StreamFunc,
} from '../../src/core/index.ts'
import { simulation } from '../../src/testing/simulation/simulation.ts'
import { patient } from './turns.ts'

/** What goes wrong at one step of one process. A crash ends it: nothing of it goes on. */
type Fault = 'crash' | 'abort' | 'error' | 'lost reply'

/** One process. */
interface Plan {
  /** The step at which it is hit; one that is shorter has no fault. */
  readonly step: number
  readonly fault: Fault
  /** It does not end at the head, but an hour later. */
  readonly isEndless: boolean
  /** Who goes on where several can, see `simulation`. */
  readonly order: readonly number[]
}

/** A log and the processes that consume it, one after the other. */
export interface Lives {
  /** Positions: an event, or nothing. */
  readonly log: readonly ({ readonly type: number; readonly key: string } | undefined)[]
  readonly batchSize: number
  readonly types: readonly number[] | undefined
  readonly plans: readonly Plan[]
}

/** Any of them. */
export const arbitraryLives: fc.Arbitrary<Lives> = fc.record({
  log: fc.array(
    fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({ type: fc.integer({ min: 0, max: 2 }), key: fc.constantFrom('a', 'b', 'c', 'd') }),
      },
      { weight: 1, arbitrary: fc.constant(undefined) },
    ),
    { maxLength: 25 },
  ),
  batchSize: fc.integer({ min: 1, max: 8 }),
  types: fc.option(fc.subarray([0, 1, 2], { minLength: 1 }), { nil: undefined, freq: 3 }),
  plans: fc.array(
    fc.record({
      step: fc.integer({ min: 0, max: 90 }),
      fault: fc.constantFrom<Fault>('crash', 'crash', 'abort', 'error', 'lost reply'),
      isEndless: fc.boolean(),
      order: fc.array(fc.nat({ max: 5 }), { maxLength: 60 }),
    }),
    { maxLength: 6 },
  ),
})

/** What a consumer under test does with events. */
export interface Handling {
  readonly clock: Clock
  /** Takes some turns in which others go on, and may fail. */
  work(events: readonly Event[]): Promise<void>
}

/** What is expected beside the rules. */
export interface Expected {
  /** What is handled in order: all events, or those of one key. */
  readonly order: 'all' | 'key'
  /** How many calls of `work` there may be at the same time. */
  readonly atOnce: number
}

/**
 * Runs until all is done, with one plan for each process and none for the last, and throws as soon as rule 1, 2, 3, 6 or 8 is broken.
 * A process that has crashed makes a new consumer, others go on with the one they have.
 */
export async function live(
  { log: positions, batchSize, types, plans }: Lives,
  make: (handling: Handling) => Consumer,
  { order, atOnce }: Expected,
): Promise<void> {
  const log = memoryLog({ batchSize })
  for (const each of positions) {
    if (each === undefined) log.skip()
    else log.append({ type: each.type, foreignId: each.key })
  }
  const keyOf = (id: number): string => (order === 'all' ? '' : (positions[id - 1]?.key ?? ''))
  const wanted = positions.flatMap((each, i) =>
    each !== undefined && (types === undefined || types.includes(each.type)) ? [i + 1] : [],
  )
  const store = memoryCursors()
  const times = new Map<number, number>() // how often each event was handled
  const positionOf = (cursor: Cursor): number => (cursor === '' ? 0 : Number.parseInt(cursor, 10))
  let life: { work(events: readonly Event[]): Promise<void>; clock: Clock } | undefined
  const handling = (): Handling => ({
    clock: {
      now: () => life?.clock.now() ?? 0,
      sleep: (ms, signal) => (life as { clock: Clock }).clock.sleep(ms, signal),
      yield: async () => {},
    },
    work: (events) => (life as { work(events: readonly Event[]): Promise<void> }).work(events),
  })
  let consumer: Consumer | undefined

  for (const plan of [...plans, undefined]) {
    const sim = simulation(plan?.order)
    const died = Promise.withResolvers<'dead'>()
    const controller = new AbortController()
    const broken = new Error('broken')
    let step = 0
    let dead = false
    let ended = false
    let lostReply = false
    let saveFailed = false
    let handlerFailed = false
    const at = async (): Promise<void> => {
      if (dead) return new Promise<never>(() => {})
      if (plan === undefined || step++ !== plan.step) return
      if (plan.fault === 'abort') controller.abort(new Error('aborted by the schedule'))
      else if (plan.fault === 'lost reply') lostReply = true
      else if (plan.fault === 'error') throw broken
      else {
        dead = true
        died.resolve('dead')
        return new Promise<never>(() => {})
      }
    }
    const before = positionOf(await store.get('c'))
    const start = new Map(times)
    let saved = before
    let working = 0
    const begun = new Map<string, number[]>()
    const busy = new Set<string>()

    life = {
      clock: sim.clock,
      work: async (events) => {
        expect(ended, 'handled after the end').toBe(false)
        expect(handlerFailed, 'begun after a failure').toBe(false)
        expect(++working, 'at work at the same time').toBeLessThanOrEqual(atOnce)
        const keys = new Set(events.map(({ id }) => keyOf(Number(id))))
        for (const { id } of events) {
          const key = keyOf(Number(id))
          begun.set(key, [...(begun.get(key) ?? []), Number(id)])
        }
        for (const key of keys) {
          expect(busy.has(key), `two at work of the key ${key}`).toBe(false)
          busy.add(key)
        }
        try {
          await at()
          await sim.turn()
          await sim.turn()
          await at()
        } catch (error) {
          handlerFailed = true
          throw error
        } finally {
          working--
          for (const key of keys) busy.delete(key)
        }
        expect(ended, 'done after the end').toBe(false)
        for (const { id } of events) times.set(Number(id), (times.get(Number(id)) ?? 0) + 1)
      },
    }
    const cursors: CursorStore = {
      ...store,
      get: async (name) => {
        await at()
        await sim.turn()
        return store.get(name)
      },
      set: async (name, cursor, expected) => {
        saveFailed = true // until it has returned
        await at()
        await sim.turn()
        await at()
        await store.set(name, cursor, expected)
        // Rule 1: never ahead of what is handled, at any step.
        for (const id of wanted)
          if (id <= positionOf(cursor)) expect(times.get(id) ?? 0, `event ${id} at cursor ${cursor}`).toBeGreaterThan(0)
        expect(positionOf(cursor), 'the cursor goes forward').toBeGreaterThanOrEqual(saved)
        saved = positionOf(cursor)
        if (lostReply) {
          lostReply = false
          throw broken
        }
        saveFailed = false
      },
    }
    const stream: StreamFunc = async (after, options) => {
      await at()
      const opened = await log.source.stream(after, options)
      async function* faulty(): AsyncGenerator<Batch> {
        for await (const each of opened) {
          await sim.turn()
          await at()
          yield each
        }
      }
      return eventStream(faulty(), () => opened[Symbol.asyncDispose](), {
        signal: options.signal,
        incarnation: opened.incarnation,
      })
    }

    consumer ??= { ...make(handling()), ...(types === undefined ? {} : { types }) }
    const isEndless = plan?.isEndless === true
    const longEnough = new AbortController()
    if (isEndless)
      sim.clock.sleep(3_600_000, longEnough.signal).then(
        () => controller.abort(new Error('long enough')),
        () => {},
      )
    const running = run(
      { stream, cursors, consumer },
      { toHead: !isEndless, signal: controller.signal, clock: patient(sim.clock) },
    ).then(
      (result) => ({ result, error: undefined }),
      (error: unknown) => ({ result: undefined, error }),
    )
    const outcome = await sim.run(Promise.race([running, died.promise]))
    longEnough.abort()
    ended = true
    await sim.settle()

    // Rule 2: what is begun is the log from the cursor on, in order, without a skip.
    for (const [key, ids] of begun)
      expect(ids, `what is begun of ${key}`).toEqual(
        wanted.filter((id) => id > before && keyOf(id) === key).slice(0, ids.length),
      )
    if (outcome === 'dead') {
      consumer = undefined
      continue
    }
    // Rule 3: an error ends the run, and only an error does.
    if (outcome.result === undefined) expect(['error', 'lost reply'], String(outcome.error)).toContain(plan?.fault)
    else {
      expect(outcome.result.reason).toBe(controller.signal.aborted ? 'aborted' : 'head')
      if (!['error', 'lost reply'].includes(plan?.fault ?? '')) expect(outcome.result.error, 'thrown').toBe(undefined)
    }
    expect(working, 'left at work').toBe(0)
    // Rule 8: without a failed handler or a failed save, all that was done is saved.
    if (!saveFailed && !handlerFailed) {
      const stored = positionOf(await store.get('c'))
      for (const [id, count] of times) if (count > (start.get(id) ?? 0)) expect(id).toBeLessThanOrEqual(stored)
      if (outcome.result?.reason === 'head') expect(stored).toBe(positions.length)
    }
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  }
  // At least once, whatever happened; once, if nothing had.
  expect([...times.keys()].sort((a, b) => a - b)).toEqual(wanted)
  expect(positionOf(await store.get('c'))).toBe(positions.length)
  const repeated = [...times.values()].reduce((sum, n) => sum + n - 1, 0)
  if (plans.every(({ fault }) => fault === 'abort')) expect(repeated).toBe(0)
}

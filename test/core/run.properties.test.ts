import { getEventListeners } from 'node:events'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Batch,
  type Consumer,
  type Cursor,
  type CursorStore,
  codeOf,
  type Event,
  eventStream,
  memoryCursors,
  memoryLog,
  type RunResult,
  run,
  type StreamFunc,
} from '../../src/core/index.ts'
import { within } from '../tools/reader.ts'

/** What goes wrong at one step of one run. A crash ends the process: from then on it has no effect any more. */
type Fault = 'crash' | 'abort' | 'error' | 'lost reply'

interface Plan {
  /** The step at which it happens; a run that is shorter has no fault. */
  readonly step: number
  readonly fault: Fault
}

interface World {
  /** Positions of the log: an event of a type, or nothing. */
  readonly log: readonly (number | undefined)[]
  readonly batchSize: number
  readonly types: readonly number[] | undefined
  /** How the consumer handles: at once, after a turn of the microtask queue, or in the background. */
  readonly handling: 'synchronous' | 'asynchronous' | 'background'
  readonly plans: readonly Plan[]
}

const world: fc.Arbitrary<World> = fc.record({
  log: fc.array(fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 0, max: 2 }) }, fc.constant(undefined)), {
    maxLength: 25,
  }),
  batchSize: fc.integer({ min: 1, max: 8 }),
  types: fc.option(fc.subarray([0, 1, 2]), { nil: undefined }),
  handling: fc.constantFrom('synchronous', 'asynchronous', 'background'),
  plans: fc.array(
    fc.record({
      step: fc.integer({ min: 0, max: 60 }),
      fault: fc.constantFrom<Fault>('crash', 'crash', 'abort', 'error', 'lost reply'),
    }),
    { maxLength: 8 },
  ),
})

/** Runs until all is done, with one plan for each run and none for the last; throws as soon as a rule is broken. */
async function live({ log: positions, batchSize, types, handling, plans }: World): Promise<void> {
  const log = memoryLog({ batchSize })
  for (const type of positions) {
    if (type === undefined) log.skip()
    else log.append({ type, foreignId: 'x' })
  }
  const wanted = positions.flatMap((type, i) =>
    type !== undefined && (types === undefined || types.includes(type)) ? [i + 1] : [],
  )
  const store = memoryCursors()
  const times = new Map<number, number>() // how often each event was handled, or settled
  const positionOf = (cursor: Cursor): number => (cursor === '' ? 0 : Number.parseInt(cursor, 10))

  for (const plan of [...plans, undefined]) {
    let step = 0
    let dead = false
    const controller = new AbortController()
    const crash = new Error('crash')
    const broken = new Error('broken')
    let lostReply = false
    let saveFailed = false
    /** One step at which this run may be hit. */
    const at = (): void => {
      if (dead) throw crash
      if (plan === undefined || step++ !== plan.step) return
      if (plan.fault === 'abort') controller.abort()
      else if (plan.fault === 'lost reply') lostReply = true
      else {
        dead = plan.fault === 'crash'
        throw dead ? crash : broken
      }
    }
    const before = positionOf(await store.get('c'))
    const start = new Map(times)
    let saved = before
    const seen: number[] = []
    const done = (id: number): void => {
      times.set(id, (times.get(id) ?? 0) + 1)
    }

    const cursors: CursorStore = {
      ...store,
      get: async (name) => {
        at()
        await Promise.resolve()
        at()
        return store.get(name)
      },
      set: async (name, cursor, expected) => {
        saveFailed = true // until it has returned
        at()
        await Promise.resolve()
        at()
        await store.set(name, cursor, expected)
        saved = positionOf(cursor)
        // Rule 1: never ahead of what is handled or settled, at any step.
        for (const id of wanted)
          if (id <= saved) expect(times.get(id) ?? 0, `event ${id} at cursor ${cursor}`).toBeGreaterThan(0)
        expect(saved, 'the cursor goes forward').toBeGreaterThanOrEqual(before)
        if (lostReply) {
          lostReply = false
          throw broken
        }
        at()
        saveFailed = false
      },
    }
    const stream: StreamFunc = async (after, options) => {
      at()
      const opened = await log.source.stream(after, options)
      async function* faulty(): AsyncGenerator<Batch> {
        for await (const each of opened) {
          at()
          yield each
        }
      }
      return eventStream(faulty(), () => opened[Symbol.asyncDispose](), {
        signal: options.signal,
        incarnation: opened.incarnation,
      })
    }

    // In the background: settled in order, one behind the other, when the next comes or on stop.
    const outstanding: number[] = []
    let settledTo = ''
    const settleOne = (): void => {
      const id = outstanding.shift()
      if (id === undefined) return
      done(id)
      settledTo = String(id)
    }
    const handle = ({ id }: Event): void | Promise<void> => {
      at()
      const number = Number(id)
      expect(number, 'order').toBeGreaterThan(seen.at(-1) ?? before)
      seen.push(number)
      if (handling === 'background') {
        outstanding.push(number)
        if (outstanding.length > 2) settleOne()
      } else if (handling === 'synchronous') done(number)
      else
        return Promise.resolve().then(() => {
          at()
          done(number)
        })
    }
    const consumer: Consumer = {
      name: 'c',
      handle,
      ...(types === undefined ? {} : { types }),
      ...(handling !== 'background'
        ? {}
        : {
            settled: () => (outstanding.length > 0 ? settledTo : undefined),
            stop: () => {
              at()
              while (outstanding.length > 0) settleOne()
            },
          }),
    }
    const ended = await within(
      run({ stream, cursors, consumer }, { toHead: true, signal: controller.signal }).then(
        (result) => ({ result, error: undefined }),
        (error: unknown) => ({ result: undefined, error }),
      ),
      5000,
      'a run',
    )
    // Rule 2: what is handled is the log from the cursor on, without a skip.
    const expected = wanted.filter((id) => id > before).slice(0, seen.length)
    expect(seen).toEqual(expected)
    // Rule 3: an error ends the run, and only an error does.
    if (ended.result !== undefined) {
      expect(ended.result.reason).toBe(controller.signal.aborted ? 'aborted' : 'head')
      // "" if it had not read it yet.
      expect([0, positionOf(await store.get('c'))]).toContain(positionOf(ended.result.cursor))
    } else expect(['crash', 'error', 'lost reply']).toContain(plan?.fault)
    // Rule 8: without a crash or a failed save, all that was done is saved.
    if (!dead && !saveFailed) {
      const stored = positionOf(await store.get('c'))
      for (const id of seen) if ((times.get(id) ?? 0) > (start.get(id) ?? 0)) expect(id).toBeLessThanOrEqual(stored)
      if (ended.result?.reason === 'head') expect(stored).toBe(positions.length)
    }
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  }
  // At least once, whatever happened; the cursor is at the end.
  expect([...times.keys()].sort((a, b) => a - b)).toEqual(wanted)
  expect(positionOf(await store.get('c'))).toBe(positions.length)
  const repeated = [...times.values()].reduce((sum, n) => sum + n - 1, 0)
  if (plans.every(({ fault }) => fault === 'abort')) expect(repeated).toBe(0)
}

describe('rules 1, 2, 3 and 8', () => {
  test('hold after any schedule of crashes, errors, lost replies and aborts', async () => {
    await fc.assert(fc.asyncProperty(world, live), { numRuns: 600 })
  })

  test('an event whose handler failed is the first of the next run', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 5 }), async (failing, batchSize) => {
        const log = memoryLog({ batchSize })
        for (let i = 0; i < 12; i++) log.append({ type: 1, foreignId: 'x' })
        const cursors = memoryCursors()
        const runs: string[][] = []
        for (const fails of [true, false]) {
          const seen: string[] = []
          runs.push(seen)
          const handle = ({ id }: Event): void => {
            seen.push(id)
            if (fails && id === String(failing)) throw new Error('broken')
          }
          await run({ stream: log.source.stream, cursors, consumer: { name: 'c', handle } }, { toHead: true }).catch(
            (error) => {
              expect(codeOf(error)).toBe('HANDLE_FAILED')
            },
          )
        }
        expect(runs[0]?.at(-1)).toBe(String(failing))
        expect(runs[1]?.[0]).toBe(String(failing))
      }),
      { numRuns: 40 },
    )
  })
})

describe('an abort after every single step', () => {
  /** A run over 7 events in batches of 3, aborted after `steps` turns of the microtask queue. */
  async function abortedAfter(steps: number, handling: 'synchronous' | 'asynchronous'): Promise<RunResult['reason']> {
    const log = memoryLog({ batchSize: 3 })
    for (let i = 0; i < 7; i++) log.append({ type: 1, foreignId: 'x' })
    const store = memoryCursors()
    const slow = async (): Promise<void> => {
      for (let i = 0; i < 3; i++) await Promise.resolve()
    }
    let opens = 0
    let closes = 0
    let lastHandled = 0
    let running = true
    const controller = new AbortController()
    const result = run(
      {
        stream: async (after, options) => {
          await slow()
          const opened = await log.source.stream(after, options)
          opens++
          return eventStream(
            opened,
            async () => {
              closes++
              await opened[Symbol.asyncDispose]()
            },
            { signal: options.signal, incarnation: opened.incarnation },
          )
        },
        cursors: {
          ...store,
          set: async (name, cursor, expected) => {
            await slow()
            await store.set(name, cursor, expected)
          },
        },
        consumer: {
          name: 'c',
          start: slow,
          stop: slow,
          handle: ({ id }) => {
            expect(running).toBe(true)
            expect(Number(id)).toBe(lastHandled + 1)
            if (handling === 'asynchronous') {
              return slow().then(() => {
                lastHandled++
              })
            }
            lastHandled++
          },
        },
      },
      { signal: controller.signal, toHead: true },
    )
    for (let i = 0; i < steps; i++) await Promise.resolve()
    controller.abort()
    const { reason, cursor } = await within(result, 5000, `a run aborted after ${steps} steps`)
    running = false
    expect(cursor).toBe(lastHandled === 0 ? '' : `${lastHandled}@1`)
    expect(await store.get('c')).toBe(cursor)
    await new Promise((resolve) => setImmediate(resolve))
    expect(closes, `closes after ${steps} steps`).toBe(opens)
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
    return reason
  }

  for (const handling of ['synchronous', 'asynchronous'] as const) {
    test(`loses nothing, repeats nothing, hangs never and closes what was opened (${handling} handler)`, async () => {
      const reasons: string[] = []
      for (let steps = 0; steps < 200; steps++) reasons.push(await abortedAfter(steps, handling))
      expect(reasons[0]).toBe('aborted')
      expect(reasons.at(-1)).toBe('head') // there were enough steps
      expect(reasons.lastIndexOf('aborted')).toBeGreaterThan(30)
    })
  }
})

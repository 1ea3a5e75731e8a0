import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Consumer, type Event, eventIdOf, memoryCursors, memoryLog, run } from '../../src/core/index.ts'
import { type ConcurrentOptions, concurrent } from '../../src/patterns/index.ts'
import { simulation } from '../../src/testing/simulation/simulation.ts'
import { errorOf, within } from '../tools/reader.ts'
import { simulatedClock } from '../tools/simulated-clock.ts'
import { arbitraryLives, live } from './lives.ts'
import { patient, turns } from './turns.ts'

/** A log of events of these keys, and a consumer that works on each until it is told to go on. */
function scene(keys: string, options: ConcurrentOptions, members: Partial<Consumer> = {}) {
  const log = memoryLog()
  for (const foreignId of keys) {
    if (foreignId === '_') log.skip()
    else log.append({ type: 1, foreignId })
  }
  const cursors = memoryCursors()
  const begun: string[] = []
  const signals = new Map<string, AbortSignal>()
  const works = new Map<string, PromiseWithResolvers<void>>()
  const consumer = concurrent(
    {
      name: 'c',
      handle: ({ id }, { signal }) => {
        begun.push(id)
        signals.set(id, signal)
        const work = Promise.withResolvers<void>()
        works.set(id, work)
        return work.promise
      },
      ...members,
    },
    options,
  )
  return {
    log,
    begun,
    signals,
    consumer,
    spec: { stream: log.source.stream, cursors, consumer },
    stored: () => cursors.get('c'),
    done: async (...ids: string[]) => {
      for (const id of ids) works.get(id)?.resolve()
      await turns()
    },
    fails: async (id: string, error: unknown) => {
      works.get(id)?.reject(error)
      await turns()
    },
  }
}

describe('rules 1, 2, 3, 6 and 8, in order per key', () => {
  test('hold after any schedule of crashes, errors, lost replies and aborts', async () => {
    const options = fc.record({
      maxInFlight: fc.integer({ min: 1, max: 5 }),
      maxWindow: fc.option(fc.integer({ min: 1, max: 12 }), { nil: undefined }),
    })
    await fc.assert(
      fc.asyncProperty(arbitraryLives, options, (lives, { maxInFlight, maxWindow }) =>
        live(
          lives,
          ({ work }) => concurrent({ name: 'c', handle: (event) => work([event]) }, { maxInFlight, maxWindow }),
          { order: 'key', atOnce: maxInFlight },
        ),
      ),
      { numRuns: 200 },
    )
  })

  test('hold for a handler that is synchronous for some events', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.boolean()), { maxLength: 40 }),
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.nat({ max: 5 }), { maxLength: 40 }),
        async (events, maxInFlight, order) => {
          const sim = simulation(order)
          const log = memoryLog({ batchSize: 7 })
          for (const [foreignId] of events) log.append({ type: 1, foreignId })
          const cursors = memoryCursors()
          const handled: Event[] = []
          const handle = (event: Event): void | Promise<void> => {
            handled.push(event)
            if (events[Number(event.id) - 1]?.[1]) return sim.turn()
          }
          const consumer = concurrent({ name: 'c', handle }, { maxInFlight })
          await sim.run(
            run({ stream: log.source.stream, cursors, consumer }, { toHead: true, clock: patient(sim.clock) }),
          )
          for (const key of 'abc') {
            const ids = handled.filter(({ foreignId }) => foreignId === key).map(({ id }) => Number(id))
            expect(ids).toEqual(ids.toSorted((a, b) => a - b))
          }
          expect(new Set(handled).size).toBe(events.length)
          expect(await cursors.get('c')).toBe(events.length === 0 ? '' : `${events.length}@1`)
        },
      ),
    )
  })
})

describe('the cursor', () => {
  test('concurrent-watermark: 1,000 events, 100 at the same time, end at 1,000', async () => {
    const sim = simulation(Array.from({ length: 5000 }, (_, i) => (i * 7919) % 101))
    const log = memoryLog({ batchSize: 37 })
    for (let i = 0; i < 1000; i++) log.append({ type: 1, foreignId: `e${i}` })
    const cursors = memoryCursors()
    let most = 0
    let running = 0
    const handle = async (): Promise<void> => {
      most = Math.max(most, ++running)
      await sim.turn()
      running--
    }
    const consumer = concurrent({ name: 'c', handle }, { maxInFlight: 100 })
    await sim.run(run({ stream: log.source.stream, cursors, consumer }, { toHead: true, clock: patient(sim.clock) }))
    expect(await cursors.get('c')).toBe('1000@1')
    expect(most).toBe(100)
  })

  test('moves over what is done without a gap, whatever the order and whatever the ids', async () => {
    const s = scene('a__b_c', { maxInFlight: 5 }) // ids 1, 4 and 6
    const controller = new AbortController()
    const running = run(s.spec, { signal: controller.signal })
    await turns()
    expect(s.begun).toEqual(['1', '4', '6'])
    await s.done('6', '4')
    s.log.skip() // an empty batch: the run saves
    await turns()
    expect(await s.stored()).toBe('')
    await s.done('1')
    s.log.skip()
    await turns()
    expect(await s.stored()).toBe('8@1')
    controller.abort()
    await running
  })

  test('stays behind the event that failed, however many after it are done; the next run begins with it', async () => {
    const s = scene('abcd', { maxInFlight: 4 })
    const running = errorOf(run(s.spec, { toHead: true }))
    await turns()
    await s.done('1', '3', '4')
    await s.fails('2', new Error('broken'))
    const error = await within(running, 5000, 'the end')
    expect(String(error)).toContain('event 2: broken')
    expect(eventIdOf(error)).toBe('2')
    expect(await s.stored()).toBe('1@1')
    const again = run(s.spec, { toHead: true })
    await turns()
    expect(s.begun.slice(4)).toEqual(['2', '3', '4'])
    await s.done('2', '3', '4')
    await again
    expect(await s.stored()).toBe('4@1')
  })
})

describe('order', () => {
  test('an event waits for those of its key, and holds up no other key', async () => {
    const s = scene('aaab', { maxInFlight: 3 })
    const running = run(s.spec, { toHead: true })
    await turns()
    expect(s.begun).toEqual(['1', '4'])
    await s.done('1')
    expect(s.begun).toEqual(['1', '4', '2'])
    await s.done('4', '2')
    await s.done('3')
    await running
  })

  test('the key may be another one', async () => {
    const s = scene('abc', { maxInFlight: 3, key: () => 'all' })
    const running = run(s.spec, { toHead: true })
    await turns()
    expect(s.begun).toEqual(['1'])
    for (const id of ['1', '2', '3']) await s.done(id)
    await running
  })

  test('a long queue of one key does not use up the stack', async () => {
    const log = memoryLog()
    for (let i = 0; i < 20_000; i++) log.append({ type: 1, foreignId: 'a' })
    let handled = 0
    const first = Promise.withResolvers<void>()
    const handle = (): void | Promise<void> => (handled++ === 0 ? first.promise : undefined)
    const consumer = concurrent({ name: 'c', handle }, { maxInFlight: 2, maxWindow: 20_000 })
    const running = run({ stream: log.source.stream, cursors: memoryCursors(), consumer }, { toHead: true })
    await turns()
    first.resolve()
    await running
    expect(handled).toBe(20_000)
  })
})

describe('memory', () => {
  test('is bounded: no more is taken on than the window holds, from the first that is not done on', async () => {
    const s = scene('abcdefghijkl', { maxInFlight: 2, maxWindow: 4 })
    const running = run(s.spec, { toHead: true })
    await turns()
    for (const id of ['2', '3', '4', '5', '6']) await s.done(id)
    expect(s.begun).toEqual(['1', '2', '3', '4']) // 1 is not done, so 5 is out of the window
    await s.done('1')
    expect(s.begun).toEqual(['1', '2', '3', '4', '5', '6'])
    for (let id = 5; id <= 12; id++) await s.done(String(id))
    await running
  })
})

describe('an error', () => {
  test('ends the run on an idle stream too, tells those at work, and nothing further is begun', async () => {
    const s = scene('aabbc', { maxInFlight: 2 })
    const running = errorOf(run(s.spec))
    await turns()
    expect(s.begun).toEqual(['1', '3'])
    await s.fails('1', new Error('broken'))
    expect(s.signals.get('3')?.aborted).toBe(true)
    await s.done('3')
    expect(await within(running, 5000, 'the end')).toMatchObject({ code: 'HANDLE_FAILED' })
    expect(s.begun).toEqual(['1', '3'])
    expect(await s.stored()).toBe('')
  })

  test('leaves also that undone which stands before it in line', async () => {
    const s = scene('aab', { maxInFlight: 1 })
    const running = errorOf(run(s.spec, { toHead: true }))
    await turns()
    await s.done('1')
    expect(s.begun).toEqual(['1', '3'])
    await s.fails('3', new Error('broken'))
    await running
    expect(s.begun).toEqual(['1', '3'])
    expect(await s.stored()).toBe('1@1')
  })

  test('that is thrown at once keeps what follows in the same batch from being begun', async () => {
    const begun: string[] = []
    const s = scene(
      'abc',
      { maxInFlight: 3 },
      {
        handle: ({ id }) => {
          begun.push(id)
          throw new Error('broken')
        },
      },
    )
    await errorOf(run(s.spec, { toHead: true }))
    expect(begun).toEqual(['1'])
  })

  test('goes to recover first, which may swallow it', async () => {
    const recovered: string[] = []
    const s = scene(
      'abc',
      { maxInFlight: 3 },
      {
        filter: ({ id }) => {
          if (id === '3') throw new Error('filter')
          return true
        },
        recover: (_, { id }) => void recovered.push(id),
      },
    )
    const running = run(s.spec, { toHead: true })
    await turns()
    await s.fails('2', new Error('broken'))
    await s.done('1')
    await running
    expect(recovered).toEqual(['3', '2'])
    expect(await s.stored()).toBe('3@1')
  })
})

test('after an abort what was begun is told, waited for and counts; what is before it in line is done; nothing else is begun', async () => {
  const s = scene('aabaac', { maxInFlight: 2, maxWindow: 5 })
  const controller = new AbortController()
  const running = run(s.spec, { signal: controller.signal })
  await turns()
  expect(s.begun).toEqual(['1', '3'])
  controller.abort(new Error('stop'))
  expect(s.signals.get('3')?.aborted).toBe(true)
  await s.done('3', '1')
  expect(s.begun).toEqual(['1', '3', '2']) // or 3, which is done, would be handled again
  expect(s.signals.get('2')?.aborted).toBe(false)
  await s.done('2')
  expect(await within(running, 5000, 'the end')).toEqual({ reason: 'aborted', cursor: '3@1' })
  expect(s.begun).toEqual(['1', '3', '2'])
})

test('after a conflict what is at work is told, and what stands in line is not begun: whoever has moved the cursor does that', async () => {
  const s = scene('xxyyz', { maxInFlight: 5 })
  const running = errorOf(run(s.spec))
  await turns()
  await s.done('1')
  expect(s.begun).toEqual(['1', '3', '5', '2'])
  await s.spec.cursors.reset('c', '9')
  s.log.append({ type: 1, foreignId: 'x' }) // the save after it meets the reset
  await turns()
  expect(['2', '3', '5'].map((id) => s.signals.get(id)?.aborted)).toEqual([true, true, true])
  await s.done('2', '3', '5')
  expect(await within(running, 5000, 'the end')).toMatchObject({ code: 'CURSOR_CONFLICT' })
  expect([s.begun, await s.stored()]).toEqual([['1', '3', '5', '2'], '9'])
})

test('a handler that never ends is not joined by those of the next run', async () => {
  const clock = simulatedClock()
  const s = scene('a', { maxInFlight: 2 })
  expect(await clock.until(errorOf(run(s.spec, { toHead: true, clock })))).toMatchObject({ code: 'STOP_TIMEOUT' })
  expect(s.signals.get('1')?.aborted).toBe(true)
  const second = run(s.spec, { toHead: true, clock })
  await clock.advance(1000)
  expect(s.begun).toEqual(['1'])
  await s.done('1')
  await clock.advance(0)
  expect(s.begun).toEqual(['1', '1'])
  await s.done('1')
  await clock.until(second)
})

test('start and stop of the consumer are called, stop after the last event', async () => {
  const trace: string[] = []
  const s = scene(
    'ab',
    { maxInFlight: 2 },
    {
      start: () => void trace.push('start'),
      handle: async ({ id }) => {
        await turns()
        trace.push(id)
      },
      stop: () => void trace.push('stop'),
    },
  )
  await run(s.spec, { toHead: true })
  expect(trace).toEqual(['start', '1', '2', 'stop'])
})

test('what cannot be honoured is refused', () => {
  const consumer = { name: 'c', handle: () => {} }
  for (const wrong of [0, 1.5]) {
    expect(() => concurrent(consumer, { maxInFlight: wrong })).toThrow('maxInFlight must be')
    expect(() => concurrent(consumer, { maxInFlight: 1, maxWindow: wrong })).toThrow('maxWindow must be')
  }
  expect(() => concurrent(concurrent(consumer, { maxInFlight: 1 }), { maxInFlight: 1 })).toThrow(
    'holds its cursor back',
  )
})

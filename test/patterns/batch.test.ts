import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Consumer,
  type Event,
  eventIdOf,
  memoryCursors,
  memoryLog,
  ReflexError,
  run,
  systemClock,
} from '../../src/core/index.ts'
import {
  type BatchConsumer,
  type BatchOptions,
  batch,
  constant,
  retry,
  stopAfterAttempts,
  withTimeout,
} from '../../src/patterns/index.ts'
import { errorOf, within } from '../tools/reader.ts'
import { simulatedClock } from '../tools/simulated-clock.ts'
import { arbitraryLives, live } from './lives.ts'
import { turns } from './turns.ts'

const ids = (events: readonly Event[]): string[] => events.map(({ id }) => id)

/** A log of so many events, and a batch consumer that keeps what it was given. */
function scene(count: number, options: BatchOptions, members: Partial<BatchConsumer> = {}) {
  const log = memoryLog()
  for (let i = 1; i <= count; i++) log.append({ type: 1, foreignId: 'x', metadata: new Uint8Array(i) })
  const cursors = memoryCursors()
  const batches: string[][] = []
  const consumer = batch(
    {
      name: 'c',
      ...members,
      handle: (events, context) => {
        batches.push(ids(events))
        return members.handle?.(events, context)
      },
    },
    options,
  )
  const stored = (): Promise<string> => cursors.get('c')
  return { log, cursors, batches, consumer, stored, spec: { stream: log.source.stream, cursors, consumer } }
}

describe('rules 1, 2, 3, 6 and 8', () => {
  const limits = fc.record({
    maxEvents: fc.option(fc.integer({ min: 1, max: 6 }), { nil: undefined }),
    maxBytes: fc.integer({ min: 1, max: 6 }),
    maxAgeMs: fc.option(fc.constantFrom(1, 1000, 7_200_000), { nil: undefined }),
  })
  test('hold after any schedule of crashes, errors, lost replies and aborts', async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryLives, limits, (lives, options) =>
        live(
          lives,
          ({ work, clock }) =>
            batch(
              {
                name: 'c',
                handle: (events) => {
                  expect(events.length).toBeGreaterThan(0)
                  expect(events.length).toBeLessThanOrEqual(Math.min(options.maxEvents ?? 99, options.maxBytes))
                  return work(events)
                },
              },
              { ...options, clock },
            ),
          { order: 'all', atOnce: 1 },
        ),
      ),
      { numRuns: 200 },
    )
  })
})

describe('a batch is handled', () => {
  test('when it has as many events as it may have; what is left when the head is reached is a smaller one', async () => {
    const { spec, batches, stored } = scene(8, { maxEvents: 3 })
    await run(spec, { toHead: true })
    expect(batches).toEqual([
      ['1', '2', '3'],
      ['4', '5', '6'],
      ['7', '8'],
    ])
    expect(await stored()).toBe('8@1')
  })

  test('before it has more bytes than it may have; an event that is larger is alone', async () => {
    const { spec, batches } = scene(6, { maxBytes: 8 }) // a byte of foreignId each: sizes 2 to 7
    await run(spec, { toHead: true })
    expect(batches).toEqual([['1', '2'], ['3'], ['4'], ['5'], ['6']])
    const larger = scene(6, { maxBytes: 5 })
    await run(larger.spec, { toHead: true })
    expect(larger.batches.at(-1)).toEqual(['6'])
  })

  test('when its first event is so old, also while no further ones come', async () => {
    const clock = simulatedClock()
    const { spec, batches, log } = scene(2, { maxAgeMs: 500, clock })
    const controller = new AbortController()
    const running = run(spec, { signal: controller.signal, clock })
    await clock.advance(400)
    log.append({ type: 1, foreignId: 'x' })
    await clock.advance(99)
    expect(batches).toEqual([])
    await clock.advance(1)
    expect(batches).toEqual([['1', '2', '3']])
    controller.abort()
    expect((await running).cursor).toBe('3@1')
  })

  test('no more when it was full before its age was told', async () => {
    const clock = { ...systemClock, sleep: () => turns() } // tells it some turns late, whether it is still waited for or not
    const { spec, batches } = scene(4, { maxEvents: 2, maxAgeMs: 500, clock })
    const controller = new AbortController()
    const running = run(spec, { signal: controller.signal })
    await turns()
    await turns()
    controller.abort()
    await running
    expect(batches).toEqual([
      ['1', '2'],
      ['3', '4'],
    ])
  })

  test('when the run is aborted, with a signal that is live', async () => {
    const signals: boolean[] = []
    const { spec, batches, log } = scene(
      2,
      { maxEvents: 5 },
      { handle: (_, { signal }) => void signals.push(signal.aborted) },
    )
    const controller = new AbortController()
    const running = run(spec, { signal: controller.signal })
    await turns()
    controller.abort()
    expect(await running).toEqual({ reason: 'aborted', cursor: '2@1' })
    expect(batches).toEqual([['1', '2']])
    expect(signals).toEqual([false])
    log.append({ type: 1, foreignId: 'x' })
    await run(spec, { toHead: true })
    expect(batches).toEqual([['1', '2'], ['3']])
  })
})

describe('an error', () => {
  test('of a batch that is due by age ends the run at once, on an idle stream too (luno/reflex only logs it)', async () => {
    const clock = simulatedClock()
    const broken = new Error('broken')
    const { spec, stored } = scene(
      3,
      { maxAgeMs: 500, clock },
      {
        handle: () => {
          throw broken
        },
      },
    )
    const running = errorOf(run(spec, { clock }))
    running.catch(() => {})
    await clock.advance(499)
    let ended = false
    void running.then(() => {
      ended = true
    })
    await clock.advance(0)
    expect(ended).toBe(false)
    await clock.advance(1)
    const error = await within(running, 5000, 'the end')
    expect(error).toMatchObject({ code: 'HANDLE_FAILED', stage: 'handle' })
    expect(String(error)).toContain('batch of 3 events, from 1 to 3: broken')
    expect(eventIdOf(error)).toBe('1')
    expect(await stored()).toBe('')
  })

  test('drops what was gathered: the next run makes the batch again from its first event, without a duplicate', async () => {
    let fails = true
    const { spec, batches, stored } = scene(
      10,
      { maxEvents: 10 },
      {
        filter: ({ id }) => {
          if (fails && id === '6') throw new Error('broken')
          return true
        },
        handle: async () => {
          if (fails) throw new Error('broken as well')
        },
      },
    )
    await errorOf(run(spec, { toHead: true }))
    expect(await stored()).toBe('')
    fails = false
    batches.length = 0
    await run(spec, { toHead: true })
    expect(batches).toEqual([['1', '2', '3', '4', '5', '6', '7', '8', '9', '10']])
    expect(await stored()).toBe('10@1')
  })

  test('of the second batch leaves the cursor behind the first; what the handler is given is aborted with the run', async () => {
    const { spec, batches, stored } = scene(
      9,
      { maxEvents: 3 },
      {
        handle: async (events) => {
          if (events[0]?.id === '4') throw new Error('broken')
        },
      },
    )
    await errorOf(run(spec, { toHead: true }))
    expect(batches).toEqual([
      ['1', '2', '3'],
      ['4', '5', '6'],
    ])
    expect(await stored()).toBe('3@1')
  })
})

test('an error ends the run also where a decorator would go past the event, of which a batch has more; it names the first one', async () => {
  const broken = (): never => {
    throw new Error('broken')
  }
  const { spec, consumer, batches, stored } = scene(6, { maxEvents: 2 }, { handle: broken })
  const swallows: Consumer['handle'] = async (event, context) => {
    try {
      await consumer.handle(event, context)
    } catch {}
  }
  const error = await errorOf(run({ ...spec, consumer: { ...consumer, handle: swallows } }, { toHead: true }))
  expect(error).toMatchObject({ code: 'HANDLE_FAILED', eventId: '1' })
  expect([batches, await stored()]).toEqual([[['1', '2']], ''])
})

test('retry and withTimeout inside of it try a batch again, and time it', async () => {
  const clock = simulatedClock()
  const log = memoryLog()
  for (let i = 1; i <= 6; i++) log.append({ type: 1, foreignId: 'x' })
  const cursors = memoryCursors()
  const tried: string[] = []
  const report: BatchConsumer = {
    name: 'c',
    handle: (events, { signal }) => {
      tried.push(ids(events).join())
      const nth = tried.filter((each) => each === ids(events).join()).length
      if (events[0]?.id === '3' && nth < 3) return clock.sleep(1e6, signal) // hangs, but heeds its signal
      if (events[0]?.id === '5') throw new Error('broken')
    },
  }
  const inner = retry(withTimeout(report, { timeoutMs: 100, clock }), stopAfterAttempts(constant(10), 3), { clock })
  const spec = { stream: log.source.stream, cursors, consumer: batch(inner, { maxEvents: 2 }) }
  const before = clock.now()
  const error = await clock.until(errorOf(run(spec, { toHead: true, clock })))
  expect(error).toMatchObject({ code: 'HANDLE_FAILED', eventId: '5' })
  expect([tried, await cursors.get('c')]).toEqual([['1,2', '3,4', '3,4', '3,4', '5,6', '5,6', '5,6'], '4@1'])
  expect(clock.now() - before).toBe(2 * (100 + 10) + 2 * 10)
  const hangs: BatchConsumer = { name: 'c', handle: (_, { signal }) => clock.sleep(1e6, signal) }
  const timed = { ...spec, consumer: batch(withTimeout(hangs, { timeoutMs: 100, clock }), { maxEvents: 2 }) }
  expect(await clock.until(errorOf(run(timed, { toHead: true, clock })))).toMatchObject({
    code: 'HANDLER_TIMEOUT',
    eventId: '5',
    message: expect.stringContaining('batch of 2 events, from 5 to 6 was not handled within 100 ms'),
  })
})

test.each(['an abort', 'a lease that is lost'])(
  'nothing is begun of what waits for a batch that is at work, after %s',
  async (end) => {
    const s = scene(3, { maxBytes: 3 }, { handle: () => release.promise }) // 2 does not go with 1, and is a batch of its own
    const release = Promise.withResolvers<void>()
    const controller = new AbortController()
    const running = run(s.spec, { signal: controller.signal })
    await turns()
    expect(s.batches).toEqual([['1']])
    controller.abort(end === 'an abort' ? new Error('stop') : new ReflexError('LEASE_LOST', 'lost'))
    release.resolve()
    expect(await within(running, 5000, 'the end')).toMatchObject({ reason: 'aborted', cursor: '1@1' })
    expect(s.batches).toEqual([['1']])
  },
)

test('a batch that is handled when the run is aborted is told by its signal, waited for, and counts', async () => {
  const begun = Promise.withResolvers<void>()
  const { spec } = scene(
    4,
    { maxEvents: 2 },
    {
      handle: (_, { signal }) =>
        new Promise((resolve) => {
          begun.resolve()
          if (signal.aborted) resolve()
          signal.addEventListener('abort', () => setImmediate(resolve))
        }),
    },
  )
  const controller = new AbortController()
  const running = run(spec, { signal: controller.signal })
  await begun.promise
  controller.abort()
  expect(await within(running, 5000, 'the end')).toEqual({ reason: 'aborted', cursor: '2@1' })
})

test('a handler that never ends holds up neither the end of a run for longer than that of any consumer, nor is it joined by another', async () => {
  const clock = simulatedClock()
  const release = Promise.withResolvers<void>()
  let atWork = 0
  const { spec, batches } = scene(
    2,
    { maxEvents: 5, clock },
    {
      handle: async () => {
        expect(++atWork).toBe(1)
        await release.promise
        atWork--
      },
    },
  )
  const first = await clock.until(errorOf(run(spec, { toHead: true, clock })))
  expect(first).toMatchObject({ code: 'STOP_TIMEOUT' })
  const second = run(spec, { toHead: true, clock })
  await clock.advance(1000)
  expect(batches.length).toBe(1)
  release.resolve()
  await clock.until(second)
  expect(batches).toEqual([
    ['1', '2'],
    ['1', '2'],
  ])
})

test('after a conflict what was gathered is not handled: whoever has moved the cursor does that', async () => {
  const { spec, cursors, batches, stored } = scene(3, { maxEvents: 2 }, { handle: () => cursors.reset('c', '1') })
  expect(await errorOf(run(spec, { toHead: true }))).toMatchObject({ code: 'CURSOR_CONFLICT' })
  expect([batches, await stored()]).toEqual([[['1', '2']], '1'])
})

test('start and stop of the consumer are called, stop after the last batch', async () => {
  const trace: string[] = []
  const { spec } = scene(
    2,
    { maxEvents: 5 },
    {
      start: () => void trace.push('start'),
      handle: () => void trace.push('handle'),
      stop: () => void trace.push('stop'),
    },
  )
  await run(spec, { toHead: true })
  expect(trace).toEqual(['start', 'handle', 'stop'])
})

test('what would not be called is refused', () => {
  for (const member of ['settled', 'recover'])
    expect(() => batch({ name: 'c', handle: () => {}, [member]: () => {} }, { maxEvents: 1 })).toThrow(`(${member})`)
})

test('a limit is needed, and is a whole number from 1 on', () => {
  const consumer = { name: 'c', handle: () => {} }
  expect(() => batch(consumer, {})).toThrow('at least one of maxEvents, maxBytes and maxAgeMs')
  expect(() => batch(consumer, { maxEvents: undefined })).toThrow('at least one')
  for (const wrong of [0, -1, 1.5, Number.NaN])
    expect(() => batch(consumer, { maxAgeMs: wrong })).toThrow('maxAgeMs must be')
})

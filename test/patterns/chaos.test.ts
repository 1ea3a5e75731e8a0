import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  bridge,
  type Clock,
  type Cursor,
  type CursorStore,
  codeOf,
  type Event,
  memoryCursors,
  memoryLog,
  run,
  supervise,
  wireNames,
} from '../../src/index.ts'
import {
  bestEffort,
  type Chaos,
  type ChaosPlace,
  chaos,
  deadLetter,
  exponential,
  memoryLetters,
  retry,
  stopAfterAttempts,
} from '../../src/patterns/index.ts'
import { simulatedDestination } from '../../src/testing/simulation/simulated-destination.ts'
import { simulation } from '../../src/testing/simulation/simulation.ts'
import { errorOf } from '../tools/reader.ts'
import { simulatedClock } from '../tools/simulated-clock.ts'
import { thrownBy } from './thrown-by.ts'
import { turns } from './turns.ts'

const seed = fc.integer()
const upTo = (percent: number): fc.Arbitrary<number> => fc.nat({ max: percent }).map((each) => each / 100)
const likely = fc.record({
  open: upTo(50),
  read: upTo(40),
  get: upTo(50),
  set: upTo(50),
  handle: upTo(30),
  openSink: upTo(50),
  append: upTo(50),
})
const delays = fc.constantFrom(0, 0, 50)

function logOf(count: number) {
  const log = memoryLog({ batchSize: 3 })
  for (let i = 1; i <= count; i++) log.append({ type: i % 2, foreignId: `e${i % 3}`, timestamp: 0 })
  return log
}

/** A store that notes when a cursor is saved that is ahead of what is handled. */
function watched(handled: ReadonlySet<string>, wrong: string[]): CursorStore {
  const store = memoryCursors()
  return {
    ...store,
    set: async (consumer: string, cursor: Cursor, expected: Cursor) => {
      for (let id = 1; id <= Number.parseInt(cursor, 10); id++)
        if (!handled.has(String(id))) wrong.push(`${cursor} is saved, but ${id} is not handled`)
      await store.set(consumer, cursor, expected)
    },
  }
}

describe('under chaos', () => {
  test('run under supervise handles every event in order from a stored cursor on, and never saves ahead of what is handled', async () => {
    let injected = 0
    await fc.assert(
      fc.asyncProperty(seed, likely, delays, fc.boolean(), async (of, probability, maxDelayMs, asynchronous) => {
        const world = simulation()
        const log = logOf(12)
        const faults = chaos({ seed: of, probability, maxDelayMs, clock: world.clock })
        const handled = new Set<string>()
        const wrong: string[] = []
        const cursors = watched(handled, wrong)
        let last: string | undefined
        const handle = ({ id }: Event): void | Promise<void> => {
          // Each event follows the one before, or is one that the last life did not save.
          if (Number(id) > Number(last ?? 0) + 1) wrong.push(`${id} is handled after ${last}`)
          last = id
          if (!asynchronous) return void handled.add(id)
          return world.turn().then(() => void handled.add(id))
        }
        const spec = {
          stream: faults.source(log.source).stream,
          cursors: faults.cursors(cursors),
          consumer: faults.consumer({ name: 'c', handle }),
        }
        const working = supervise((o) => run(spec, { ...o, toHead: true }), { clock: world.clock, random: () => 0.5 })
        expect(await world.run(working)).toMatchObject({ reason: 'head', cursor: '12@1' })
        expect([handled.size, wrong]).toEqual([12, []])
        for (const count of Object.values(faults.injected())) injected += count
      }),
      { numRuns: 150 },
    )
    expect(injected).toBeGreaterThan(1000)
  })

  test('a bridge under supervise has every event in the destination once, in order', async () => {
    await fc.assert(
      fc.asyncProperty(
        seed,
        likely,
        delays,
        fc.constantFrom('position' as const, 'events' as const),
        async (of, probability, maxDelayMs, keeps) => {
          const world = simulation()
          const log = logOf(12)
          const destination = simulatedDestination({ keeps })
          const faults = chaos({ seed: of, probability, maxDelayMs, clock: world.clock })
          const parts = {
            name: 'r',
            source: faults.source(log.source),
            sink: faults.sink(destination.sink()),
            checkpoints: faults.cursors(memoryCursors()),
          }
          const working = supervise((o) => bridge(parts, { ...o, toHead: true }), {
            clock: world.clock,
            random: () => 0.5,
          })
          expect(await world.run(working)).toMatchObject({ reason: 'head' })
          const ids = destination.events.map(({ headers }) => headers[wireNames.sourceId])
          expect(ids).toEqual(Array.from({ length: 12 }, (_, i) => String(i + 1)))
        },
      ),
      { numRuns: 150 },
    )
  })

  test('retry, dead letters and best effort lose nothing but what they say', async () => {
    await fc.assert(
      fc.asyncProperty(seed, likely, async (of, probability) => {
        const world = simulation()
        const log = logOf(8)
        const faults = chaos({ seed: of, probability, clock: world.clock })
        const policy = stopAfterAttempts(exponential(1), 3)
        for (const kind of ['dead letter', 'best effort']) {
          const handled = new Set<string>()
          const letters = memoryLetters({ clock: world.clock })
          const passed = new Set<string>()
          const observer = { passed: ({ eventId }: { eventId: string }) => void passed.add(eventId) }
          const flaky = retry(
            faults.consumer({ name: kind, handle: ({ id }) => void handled.add(id) }),
            stopAfterAttempts(exponential(1), 2),
            { clock: world.clock },
          )
          const options = { policy, observer, clock: world.clock }
          const consumer =
            kind === 'dead letter' ? deadLetter(flaky, { letters, ...options }) : bestEffort(flaky, options)
          const spec = { stream: faults.source(log.source).stream, cursors: faults.cursors(memoryCursors()), consumer }
          await world.run(
            supervise((o) => run(spec, { ...o, toHead: true }), { clock: world.clock, random: () => 0.5 }),
          )
          const open = (await letters.list({ consumer: kind })).map(({ eventId }) => eventId)
          if (kind === 'dead letter') expect(new Set(open)).toEqual(passed)
          for (let id = 1; id <= 8; id++) expect(handled.has(String(id)) || passed.has(String(id))).toBe(true)
        }
      }),
      { numRuns: 100 },
    )
  })
})

/** Calls each place so many times, and tells which calls failed, and how. */
async function failures(faults: Chaos, calls: number): Promise<string[]> {
  const log = logOf(1)
  const parts = {
    source: faults.source(log.source),
    cursors: faults.cursors(memoryCursors()),
    consumer: faults.consumer({ name: 'c', handle: () => {} }),
    sink: faults.sink(simulatedDestination().sink()),
  }
  const context = { signal: new AbortController().signal }
  const event = log.append({ type: 1, foreignId: 'a' })[0] as Event
  const found: string[] = []
  const attempt = async (name: string, work: () => unknown): Promise<void> => {
    try {
      await work()
    } catch (error) {
      expect(codeOf(error)).toBe('CHAOS')
      found.push(`${name} ${/fails (before|after)/.exec(String(error))?.[1]}`)
    }
  }
  for (let i = 0; i < calls; i++) {
    await attempt(`get ${i}`, () => parts.cursors.get('c'))
    await attempt(`set ${i}`, () => parts.cursors.set('c', '', ''))
    await attempt(`handle ${i}`, () => parts.consumer.handle(event, context))
    await attempt(`open ${i}`, async () => (await parts.source.stream('', {}))[Symbol.asyncDispose]())
    await attempt(`openSink ${i}`, async () =>
      (await parts.sink.open({ route: 'r', source: 's' }))[Symbol.asyncDispose](),
    )
  }
  return found
}

describe('chaos', () => {
  test('makes the same faults for the same seed, others for another, about as many as asked for, half of them after the effect', async () => {
    const options = { seed: 7, probability: 0.3 }
    const found = await failures(chaos(options), 300)
    expect(await failures(chaos(options), 300)).toEqual(found)
    expect(await failures(chaos({ ...options, seed: 8 }), 300)).not.toEqual(found)
    const callsOf = (place: string): string[] =>
      found.filter((each) => each.startsWith(`${place} `)).map((each) => each.slice(place.length))
    expect(callsOf('get')).not.toEqual(callsOf('set'))
    for (const place of ['get', 'set', 'handle', 'open', 'openSink']) {
      const own = callsOf(place)
      expect(own.length).toBeGreaterThan(50)
      expect(own.length).toBeLessThan(130)
      expect(own.filter((each) => each.endsWith('after')).length).toBeGreaterThan(20)
      expect(own.filter((each) => each.endsWith('before')).length).toBeGreaterThan(20)
    }
  })

  test('counts the calls of each place by itself: what happens elsewhere changes nothing', async () => {
    const only = async (probability: Partial<Record<ChaosPlace, number>>): Promise<string[]> =>
      (await failures(chaos({ seed: 1, probability }), 100)).filter((each) => each.startsWith('set'))
    expect(await only({ set: 0.2, get: 0.5, handle: 0.5 })).toEqual(await only({ set: 0.2 }))
  })

  test('what is decorated again goes on where it was: an attempt that starts anew does not meet the same fault for ever', async () => {
    const faults = chaos({ seed: 3, probability: { handle: 0.5 } })
    const outcomes = new Set<string>()
    for (let i = 0; i < 20; i++) outcomes.add(String(thrownOrNot(faults)))
    expect(outcomes.size).toBe(2)
  })

  test('does what was asked before the fault that comes after it, and tells only then', async () => {
    const store = memoryCursors()
    const faults = chaos({ seed: 1, probability: { set: 1 } })
    const cursors = faults.cursors(store)
    let cursor = ''
    for (let i = 1; i <= 20; i++) {
      const error = await errorOf(cursors.set('c', String(i), cursor))
      if (/after it was made/.test(String(error))) cursor = String(i)
      expect(await store.get('c')).toBe(cursor)
    }
    expect(faults.injected()).toMatchObject({ set: 20, handle: 0 })
  })

  test('can be turned off and on, and with no probability leaves everything as it is', async () => {
    const faults = chaos({ seed: 1, probability: 1 })
    faults.enabled = false
    expect(await failures(faults, 10)).toEqual([])
    faults.enabled = true
    expect((await failures(faults, 10)).length).toBe(50)
    const none = chaos({ seed: 1, probability: 0 })
    const [store, sink, consumer] = [memoryCursors(), simulatedDestination().sink(), { name: 'c', handle: () => {} }]
    const { source } = logOf(1)
    expect([none.cursors(store), none.sink(sink), none.consumer(consumer), none.source(source)]).toEqual([
      store,
      sink,
      consumer,
      source,
    ])
    expect(none.consumer(consumer)).toBe(consumer)
  })

  test('holds calls up by no more than it says, and an abort ends that at once', async () => {
    const clock = simulatedClock()
    const faults = chaos({ seed: 1, probability: 0, maxDelayMs: 100, clock })
    await clock.until(failures(faults, 50))
    expect(Math.max(...clock.sleeps)).toBeLessThanOrEqual(100)
    expect(Math.max(...clock.sleeps)).toBeGreaterThan(90)
    const stop = new AbortController()
    const slow = chaos({ seed: 1, probability: 0, maxDelayMs: 1e9 })
    const waiting = errorOf(slow.source(logOf(1).source).stream('', { signal: stop.signal }))
    stop.abort('enough')
    expect(await waiting).toBe('enough')
  })

  test('leaves no timer behind of a read that is held up when the stream is closed', async () => {
    const time = simulatedClock()
    let asleep = 0
    const sleep: Clock['sleep'] = (ms, signal) => {
      asleep++
      return time.sleep(ms, signal).finally(() => asleep--)
    }
    const faults = chaos({ seed: 1, probability: 0, maxDelayMs: 1000, clock: { ...time, sleep } })
    const stream = await time.until(faults.source(logOf(1).source).stream('', {}))
    const reading = stream[Symbol.asyncIterator]().next()
    await turns()
    expect(asleep).toBe(1)
    await stream[Symbol.asyncDispose]()
    expect(await reading).toEqual({ done: true, value: undefined })
    await turns()
    expect(asleep).toBe(0)
  })

  test('closes what it opened and did not hand out', async () => {
    const log = logOf(1)
    let open = 0
    const source = {
      ...log.source,
      stream: async (...about: Parameters<typeof log.source.stream>) => {
        const stream = await log.source.stream(...about)
        open++
        return {
          [Symbol.asyncIterator]: () => stream[Symbol.asyncIterator](),
          [Symbol.asyncDispose]: async () => {
            open--
            await stream[Symbol.asyncDispose]()
          },
        }
      },
    }
    const faulty = chaos({ seed: 1, probability: { open: 1 } }).source(source)
    for (let i = 0; i < 20; i++) await errorOf(faulty.stream('', {}))
    expect(open).toBe(0)
  })

  test('refuses what is no probability and no delay', () => {
    for (const wrong of [
      { seed: 1, probability: 1.5 },
      { seed: 1, probability: { set: -1 } },
      { seed: 1, probability: Number.NaN },
      { seed: 1, probability: 0, maxDelayMs: -1 },
    ])
      expect(codeOf(thrownBy(() => chaos(wrong)))).toBe('OPTION_INVALID')
  })
})

function thrownOrNot(faults: Chaos): boolean {
  const consumer = faults.consumer({ name: 'c', handle: () => {} })
  try {
    void consumer.handle(logOf(1).append({ type: 1, foreignId: 'a' })[0] as Event, {
      signal: new AbortController().signal,
    })
    return false
  } catch {
    return true
  }
}

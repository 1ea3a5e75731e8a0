import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Event, memoryCursors, memoryLog, type Observer, run } from '../../src/core/index.ts'
import { simulatedClock } from '../tools/simulated-clock.ts'

interface Told {
  readonly count: number
  readonly ms: number
}

/** An observer that adds up what it is told. */
function adding(): { observer: Observer; times: Told[]; handled(): number; trace: string[] } {
  const times: Told[] = []
  const trace: string[] = []
  let handled = 0
  return {
    times,
    trace,
    handled: () => handled,
    observer: {
      opened: ({ name, cursor }) => trace.push(`opened ${name} ${cursor}`),
      closed: ({ name }) => trace.push(`closed ${name}`),
      failed: () => trace.push('failed'),
      timed: (told) => times.push(told),
      progress: (since) => {
        handled += since.handled
      },
    },
  }
}

const sum = (times: readonly Told[], of: (told: Told) => number): number =>
  times.reduce((total, told) => total + of(told), 0)

/** What an event takes: in the handler, before it in the filter, and whether it is left out there. */
const work = fc.record({ ms: fc.constantFrom(0, 0, 0, 1, 7, 900, 5000), skipped: fc.boolean(), waits: fc.boolean() })

test('the times of handled events are told: all of them once, and no others', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(work, { maxLength: 60 }),
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: -1, max: 60 }),
      fc.constantFrom(0, 3000),
      async (works, batchSize, failsAt, delayMs) => {
        const clock = simulatedClock()
        const log = memoryLog({ batchSize })
        log.append(...works.map((_, i) => ({ type: 1, foreignId: String(i), timestamp: clock.now() + i * 100 })))
        const told = adding()
        const of = ({ foreignId }: Event) => works[Number(foreignId)]!
        let spent = 0
        const consumer = {
          name: 'c',
          filter: (event: Event) => !of(event).skipped,
          handle: (event: Event) => {
            if (Number(event.foreignId) === failsAt) throw new Error('broken')
            const { ms, waits } = of(event)
            spent += ms
            if (!waits) return clock.pass(ms)
            return Promise.resolve().then(() => clock.pass(ms))
          },
        }
        await clock
          .until(
            run(
              { stream: log.source.stream, cursors: memoryCursors(), consumer },
              { ...told, toHead: true, clock, delayMs },
            ),
          )
          .catch(() => {})
        expect(sum(told.times, ({ count }) => count)).toBe(told.handled())
        expect(told.times.every(({ count, ms }) => count > 0 && ms >= 0)).toBe(true)
        // What a synchronous handler did right before the failure is told as nothing: the clock was not looked at.
        const all = sum(told.times, ({ count, ms }) => count * ms)
        if (failsAt < 0 || failsAt >= works.length || works[failsAt]!.skipped) expect(all).toBeCloseTo(spent, 3)
        else expect(all).toBeLessThanOrEqual(spent + 0.001)
      },
    ),
  )
})

test('an asynchronous handler is timed event by event, and the quick ones together', async () => {
  const clock = simulatedClock()
  const log = memoryLog()
  const slow = [0, 0, 40, 0, 0, 0, 700, 3]
  for (const ms of slow) log.append({ type: ms, foreignId: 'a', timestamp: 0 })
  const told = adding()
  const consumer = { name: 'c', handle: async ({ type }: Event) => clock.pass(type) }
  await run({ stream: log.source.stream, cursors: memoryCursors(), consumer }, { ...told, toHead: true, clock })
  expect(told.times).toEqual([
    { count: 2, ms: 0 },
    { count: 1, ms: 40 },
    { count: 3, ms: 0 },
    { count: 1, ms: 700 },
    { count: 1, ms: 3 },
  ])
})

test('it is told few times, however many events there are', async () => {
  const log = memoryLog({ batchSize: 1000 })
  log.append(...Array.from({ length: 10_000 }, () => ({ type: 1, foreignId: 'a', timestamp: 0 })))
  const told = adding()
  const clock = { ...simulatedClock(), yield: async () => {} }
  await run(
    { stream: log.source.stream, cursors: memoryCursors(), consumer: { name: 'c', handle: () => {} } },
    { ...told, toHead: true, clock },
  )
  expect(told.times).toHaveLength(10)
})

test('a stream that was opened is told to be closed, before the failure, and one that was not is not', async () => {
  const log = memoryLog()
  log.append({ type: 1, foreignId: 'a' })
  const broken = async (): Promise<never> => {
    throw new Error('broken')
  }
  const told = adding()
  const { stream } = log.source
  const cursors = memoryCursors()
  await run({ stream, cursors, consumer: { name: 'c', handle: broken } }, { ...told, toHead: true }).catch(() => {})
  await run({ stream, cursors, consumer: { name: 'c', handle: () => {} } }, { ...told, toHead: true })
  await run({ stream: broken, cursors, consumer: { name: 'c', handle: () => {} } }, { ...told }).catch(() => {})
  expect(told.trace).toEqual(['opened c ', 'closed c', 'failed', 'opened c ', 'closed c', 'failed'])
})

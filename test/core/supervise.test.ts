import { getEventListeners } from 'node:events'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import {
  type AttemptOptions,
  CursorConflictError,
  CursorInvalidError,
  CursorTrimmedError,
  codeOf,
  type Ended,
  FencedError,
  type Observer,
  OptionError,
  PayloadError,
  RunError,
  run,
  supervise,
} from '../../src/core/index.ts'
import { errorOf } from '../tools/reader.ts'
import { simulatedClock } from '../tools/simulated-clock.ts'
import { traced } from './traced.ts'

const broken = new Error('broken')
const head: Ended = { reason: 'head' }

/** An attempt that does what is next in the list; a function may observe before it throws or returns. */
function attempts(...each: readonly (Ended | Error | ((o: AttemptOptions) => Ended | Promise<Ended>))[]): {
  attempt(o: AttemptOptions): Promise<Ended>
  made(): number
} {
  let made = 0
  return {
    made: () => made,
    attempt: async (options) => {
      const next = each[Math.min(made++, each.length - 1)]
      if (next instanceof Error) throw next
      return typeof next === 'function' ? next(options) : (next as Ended)
    },
  }
}

describe('supervise', () => {
  test('resolves with what the attempt resolves with', async () => {
    const result = { reason: 'head' as const, cursor: '7' }
    expect(await supervise(async () => result)).toBe(result)
  })

  test('waits between attempts: doubling from 100 ms to 30 s, with full jitter', async () => {
    const clock = simulatedClock()
    const { attempt } = attempts(...Array<Error>(12).fill(broken), head)
    await clock.until(supervise(attempt, { clock, random: () => 0.5 }))
    expect(clock.sleeps).toEqual([50, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000, 15_000])

    const jitter = [0, 0.999, 0.25]
    const other = simulatedClock()
    await other.until(
      supervise(attempts(broken, broken, broken, head).attempt, {
        clock: other,
        random: () => jitter.shift() as number,
        minDelayMs: 1000,
        maxDelayMs: 1500,
      }),
    )
    expect(other.sleeps).toEqual([0, 0.999 * 1500, 0.25 * 1500])
  })

  test('a thousand failures in a row wait no longer than the longest', async () => {
    const clock = simulatedClock()
    await clock.until(supervise(attempts(...Array<Error>(1100).fill(broken), head).attempt, { clock, random: () => 1 }))
    expect(clock.sleeps.at(-1)).toBe(30_000)
  })

  test('progress resets the waiting; handling without saving is none', async () => {
    const clock = simulatedClock()
    const failing =
      (told: (observer: Observer) => void) =>
      ({ observer }: AttemptOptions): never => {
        told(observer)
        throw broken
      }
    const saved = failing((observer) => observer.saved?.('5'))
    const handled = failing((observer) => observer.progress?.({ cursor: '5', handled: 9, skipped: 0, timestamp: 0 }))
    const { attempt } = attempts(broken, broken, broken, saved, broken, handled, handled, head)
    await clock.until(supervise(attempt, { clock, random: () => 1 }))
    expect(clock.sleeps).toEqual([100, 200, 400, 100, 200, 400, 800])
  })

  test('a handler that fails at the same event backs off further and further', async () => {
    const t = traced(3)
    const clock = simulatedClock()
    let failures = 0
    const consumer = t.consumer({
      handle: ({ id }) => {
        if (id === '2' && ++failures <= 5) throw broken
      },
    })
    await clock.until(supervise((o) => run({ ...t, consumer }, { ...o, toHead: true }), { clock, random: () => 1 }))
    expect(clock.sleeps).toEqual([100, 200, 400, 800, 1600])
    expect(t.handled()).toEqual(['1', '2', '2', '2', '2', '2', '2', '3'])
  })

  test('a store that cannot be written does not make the same events come again and again at full speed', async () => {
    const t = traced(3)
    const clock = simulatedClock()
    let failures = 0
    const cursors = {
      ...t.cursors,
      set: async (name: string, cursor: string, expected: string) => {
        if (++failures <= 4) throw broken
        await t.cursors.set(name, cursor, expected)
      },
    }
    await clock.until(
      supervise((o) => run({ ...t, cursors, consumer: t.consumer() }, { ...o, toHead: true }), {
        clock,
        random: () => 1,
      }),
    )
    expect(clock.sleeps).toEqual([100, 200, 400, 800])
  })

  test('rejects at once on what trying again cannot mend', async () => {
    const errors = [
      new CursorTrimmedError('log', { cursor: '5', earliest: '9' }),
      new CursorInvalidError('log', { cursor: 'x', expected: 'a number' }),
      new OptionError('no such option'),
      new PayloadError('event 7', 'JSON', 'found null'),
      new RunError('open', { consumer: 'c', cause: new CursorTrimmedError('log', { cursor: '5' }) }),
      Object.assign(new Error('of another copy'), { code: 'CONFIG', retriable: false }),
    ]
    for (const error of errors) {
      const { attempt, made } = attempts(error)
      expect(await errorOf(supervise(attempt))).toBe(error)
      expect(made()).toBe(1)
    }
  })

  test('an attempt that throws instead of rejecting is a failed attempt', async () => {
    const clock = simulatedClock()
    let first = true
    const result = supervise(
      () => {
        if (!first) return Promise.resolve(head)
        first = false
        throw broken
      },
      { clock },
    )
    expect(await clock.until(result)).toBe(head)
  })

  describe('two runners', () => {
    const conflict = new RunError('commit', {
      consumer: 'c',
      cause: new CursorConflictError({ consumer: 'c', expected: '1', actual: '2', reset: false }),
    })
    const fenced = new RunError('handle', { consumer: 'r', cause: new FencedError('taken over') })
    const progressing =
      (error: Error) =>
      ({ observer }: AttemptOptions): never => {
        observer.saved?.('9')
        throw error
      }

    test('three conflicts in a row are another runner, after the longest waits, whatever was done in between', async () => {
      for (const [a, b, c] of [
        [conflict, conflict, conflict],
        [conflict, fenced, progressing(conflict)],
        [progressing(fenced), progressing(fenced), progressing(fenced)],
      ] as const) {
        const clock = simulatedClock()
        const { attempt, made } = attempts(a, b, c)
        const error = await errorOf(clock.until(supervise(attempt, { clock, random: () => 0 })))
        expect(error).toMatchObject({ code: 'ANOTHER_RUNNER', retriable: false })
        expect(codeOf((error as Error).cause)).toMatch(/CONFLICT|FENCED/)
        expect(made()).toBe(3)
        expect(clock.sleeps).toEqual([30_000, 30_000])
      }
    })

    test('another failure in between starts the count again', async () => {
      const clock = simulatedClock()
      const { attempt } = attempts(conflict, conflict, broken, conflict, conflict, head)
      await clock.until(supervise(attempt, { clock, random: () => 0 }))
      expect(clock.sleeps.filter((ms) => ms === 30_000)).toHaveLength(4)
    })

    test('do not duel for ever: of two real ones, at least one gives up', async () => {
      const t = traced(0, { batchSize: 1 })
      const clock = simulatedClock()
      const controller = new AbortController()
      const runners = [1, 2].map((n) =>
        supervise((o) => run({ ...t, consumer: t.consumer({ handle: () => clock.sleep(10 + n) }) }, o), {
          clock,
          signal: controller.signal,
        }),
      )
      const over = Promise.race(runners.map(async (each) => errorOf(each, 30_000)))
      const appending = (async () => {
        for (let i = 0; i < 40; i++) {
          for (let j = 0; j < 100; j++) t.log.append({ type: 1, foreignId: 'x' })
          await clock.advance(5000)
        }
      })()
      expect(await over).toMatchObject({ code: 'ANOTHER_RUNNER' })
      await appending
      controller.abort()
      await Promise.allSettled(runners)
    })
  })

  test("an operator's reset is a restart at the new cursor, at once and any number of times", async () => {
    const t = traced(10, { batchSize: 2 })
    const clock = simulatedClock()
    let resets = 0
    const consumer = t.consumer({
      handle: async ({ id }) => {
        if (id === '7' && resets++ < 5) await t.cursors.reset('c', '3')
      },
    })
    const result = await clock.until(
      supervise((o) => run({ ...t, consumer }, { ...o, toHead: true }), { clock, random: () => 1 }),
    )
    expect(result).toMatchObject({ reason: 'head', cursor: '10@1' })
    expect(clock.sleeps).toEqual([0, 0, 0, 0, 0])
    expect(t.trace.filter((each) => each === 'open 3 toHead')).toHaveLength(5)
    expect(t.handled().slice(-7)).toEqual(['4', '5', '6', '7', '8', '9', '10'])
  })

  describe('abort', () => {
    test('during the wait ends it at once, with the last failure', async () => {
      const clock = simulatedClock()
      const controller = new AbortController()
      const running = supervise(attempts(broken).attempt, { clock, signal: controller.signal, random: () => 1 })
      await clock.advance(50)
      controller.abort()
      expect(await running).toEqual({ reason: 'aborted', error: broken })
      expect(getEventListeners(controller.signal, 'abort')).toEqual([])
    })

    test('while an attempt fails is no failure; what is not retriable still is', async () => {
      for (const [error, expected] of [
        [broken, { reason: 'aborted', error: broken }],
        [new OptionError('wrong'), undefined],
      ] as const) {
        const controller = new AbortController()
        const observer = { restarting: () => expect.unreachable('it does not start again') }
        const running = supervise(
          async () => {
            controller.abort()
            throw error
          },
          { signal: controller.signal, observer },
        )
        if (expected === undefined) expect(await errorOf(running)).toBe(error)
        else expect(await running).toEqual(expected)
      }
    })

    test('of a run resolves with the result of the run', async () => {
      const t = traced(5)
      const controller = new AbortController()
      const consumer = t.consumer({
        handle: ({ id }) => {
          if (id === '3') controller.abort()
        },
      })
      const result = await supervise((o) => run({ ...t, consumer }, o), { signal: controller.signal })
      expect(result).toEqual({ reason: 'aborted', cursor: '3@1' })
    })

    test('an attempt that does not settle within graceMs is given up', async () => {
      const clock = simulatedClock()
      const controller = new AbortController()
      const running = supervise(() => new Promise<never>(() => {}), { clock, signal: controller.signal, graceMs: 4000 })
      await clock.advance(60_000) // no limit before the abort
      controller.abort()
      const from = clock.now()
      expect(await errorOf(clock.until(running))).toMatchObject({ code: 'GRACE_EXCEEDED', retriable: false })
      expect(clock.now() - from).toBe(4000)
    })

    test('leaves no timer and no listener, however it ended', async () => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
      onTestFinished(() => void vi.useRealTimers())
      for (const end of ['by itself', 'aborted']) {
        const controller = new AbortController()
        const running = supervise(async () => head, { signal: controller.signal })
        if (end === 'aborted') controller.abort()
        await running
        expect(vi.getTimerCount()).toBe(0)
        expect(getEventListeners(controller.signal, 'abort')).toEqual([])
      }
    })

    test('an attempt that settles within it is not', async () => {
      const clock = simulatedClock()
      const controller = new AbortController()
      const running = supervise(async () => clock.sleep(1000).then(() => head), {
        clock,
        signal: controller.signal,
        graceMs: 4000,
      })
      controller.abort()
      expect(await clock.until(running)).toBe(head)
    })
  })

  test('the observer is told of every restart, and of what the attempt tells', async () => {
    const clock = simulatedClock()
    const told: unknown[] = []
    const observer: Observer = {
      restarting: (after) => told.push(after),
      failed: (error) => told.push(error),
    }
    const { attempt } = attempts(
      (o) => {
        o.observer.failed?.(broken)
        throw broken
      },
      broken,
      head,
    )
    await clock.until(supervise(attempt, { clock, random: () => 1, observer }))
    expect(told).toEqual([
      broken,
      { delayMs: 100, failures: 1, error: broken },
      { delayMs: 200, failures: 2, error: broken },
    ])
  })
})

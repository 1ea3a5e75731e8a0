import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Consumer, codeOf, FencedError, memoryCursors, memoryLog, run } from '../../src/core/index.ts'
import {
  ack,
  batch,
  bestEffort,
  concurrent,
  constant,
  deadLetter,
  memoryLetters,
  noRetry,
  retry,
  stopAfterAttempts,
  withTimeout,
} from '../../src/patterns/index.ts'
import { errorOf } from '../tools/reader.ts'
import { simulatedClock } from '../tools/simulated-clock.ts'
import { thrownBy } from './thrown-by.ts'

const never = new AbortController().signal
const event = { id: '1', type: 1, foreignId: 'a', timestamp: 0, metadata: null, headers: {} }
const thrice = stopAfterAttempts(constant(10), 3)

/** A consumer whose nth call for an event fails as long as n is below `fails` of that event, synchronously or not. */
function flaky(fails: (id: string) => number, { asynchronous = true, more = {} as Partial<Consumer> } = {}) {
  const calls: string[] = []
  const consumer: Consumer = {
    name: 'c',
    ...more,
    handle: ({ id }) => {
      calls.push(id)
      const nth = calls.filter((each) => each === id).length
      const fail = nth <= fails(id)
      if (asynchronous) return fail ? Promise.reject(new Error(`failure ${nth} of ${id}`)) : Promise.resolve()
      if (fail) throw new Error(`failure ${nth} of ${id}`)
    },
  }
  return { consumer, calls }
}

function logOf(count: number) {
  const log = memoryLog({ batchSize: 3 })
  for (let i = 1; i <= count; i++) log.append({ type: i % 3, foreignId: `e${i}` })
  return log
}

describe('retry', () => {
  test('handles each event again until it succeeds, in order, and fails the run at the first that has used up its attempts', async () => {
    const failures = fc.array(fc.nat({ max: 4 }), { minLength: 1, maxLength: 8 })
    await fc.assert(
      fc.asyncProperty(failures, fc.boolean(), async (fails, asynchronous) => {
        const clock = simulatedClock()
        const cursors = memoryCursors()
        const { consumer, calls } = flaky((id) => fails[Number(id) - 1] as number, { asynchronous })
        const spec = {
          stream: logOf(fails.length).source.stream,
          cursors,
          consumer: retry(consumer, thrice, { clock }),
        }
        const ended = await clock.until(run(spec, { toHead: true, clock }).catch((error: unknown) => error))
        const bad = fails.findIndex((count) => count >= 3)
        const upTo = bad < 0 ? fails.length : bad + 1
        const expected = fails.slice(0, upTo).flatMap((count, i) => Array(Math.min(count + 1, 3)).fill(String(i + 1)))
        expect(calls).toEqual(expected)
        expect(await cursors.get('c')).toBe(bad === 0 ? '' : `${bad < 0 ? fails.length : bad}@1`)
        expect(ended).toMatchObject(bad < 0 ? { reason: 'head' } : { stage: 'handle', eventId: String(bad + 1) })
        expect(clock.sleeps.every((delay) => delay === 10)).toBe(true)
      }),
      { numRuns: 200 },
    )
  })

  test('costs no await where the handler is synchronous and succeeds', () => {
    const { consumer } = flaky(() => 0, { asynchronous: false })
    expect(retry(consumer, thrice).handle(event, { signal: never })).toBeUndefined()
  })

  test('ends at once on an abort, while it waits for an hour, and calls nothing any more', async () => {
    const { consumer, calls } = flaky(() => 9)
    const stop = new AbortController()
    const work = retry(consumer, constant(3_600_000)).handle(event, { signal: stop.signal })
    setTimeout(() => stop.abort('stopped'), 5)
    expect(await errorOf(Promise.resolve(work))).toBe('stopped')
    expect(calls).toHaveLength(1)
  })

  test('does not try again what says nothing about the event', async () => {
    const stop = new AbortController()
    let calls = 0
    const handler = (fail: () => never): Consumer => ({
      name: 'c',
      handle: () => {
        calls++
        fail()
      },
    })
    const fenced = retry(
      handler(() => throwing(new FencedError('another one'))),
      thrice,
    )
    expect(codeOf(await errorOf(Promise.resolve(fenced.handle(event, { signal: never }))))).toBe('FENCED')
    const aborting = retry(
      handler(() => {
        stop.abort()
        return throwing('late')
      }),
      thrice,
    )
    expect(await errorOf(Promise.resolve(aborting.handle(event, { signal: stop.signal })))).toBe('late')
    expect(calls).toBe(2)
  })

  test('leaves the last error to recover, once', async () => {
    const clock = simulatedClock()
    const seen: unknown[] = []
    const { consumer, calls } = flaky((id) => (id === '2' ? 9 : 0), {
      more: { recover: (error) => void seen.push(error) },
    })
    const spec = {
      stream: logOf(3).source.stream,
      cursors: memoryCursors(),
      consumer: retry(consumer, thrice, { clock }),
    }
    expect(await clock.until(run(spec, { toHead: true, clock }))).toMatchObject({ cursor: '3@1' })
    expect(seen).toEqual([new Error('failure 3 of 2')])
    expect(calls).toEqual(['1', '2', '2', '2', '3'])
  })

  test('refuses a policy that returns no delay', async () => {
    for (const wrong of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
      const work = retry(flaky(() => 1).consumer, () => wrong).handle(event, { signal: never })
      expect(codeOf(await errorOf(Promise.resolve(work)))).toBe('OPTION_INVALID')
    }
  })
})

test('every decorator hands start, stop, types, filter and recover on, those of a class as well', async () => {
  const told: string[] = []
  class Inner implements Consumer {
    readonly name = 'inner'
    readonly types = [1]
    filter() {
      told.push(`filter of ${this.name}`)
      return true
    }
    handle() {
      told.push(`handle of ${this.name}`)
    }
    recover() {
      told.push(`recover of ${this.name}`)
    }
    start() {
      told.push(`start of ${this.name}`)
    }
    stop() {
      told.push(`stop of ${this.name}`)
    }
  }
  for (const wrap of [
    (inner: Consumer) => retry(inner, noRetry),
    (inner: Consumer) => bestEffort(inner),
    (inner: Consumer) => withTimeout(inner, { timeoutMs: 1000 }),
    (inner: Consumer) => deadLetter(inner, { letters: memoryLetters(), policy: noRetry }),
  ]) {
    told.length = 0
    await run(
      { stream: logOf(1).source.stream, cursors: memoryCursors(), consumer: wrap(new Inner()) },
      { toHead: true },
    )
    expect(told).toEqual(['start', 'filter', 'handle', 'stop'].map((each) => `${each} of inner`))
    await wrap(new Inner()).recover?.(new Error('x'), event, { signal: never })
    expect(told.at(-1)).toBe('recover of inner')
  }
})

test('no decorator goes around a consumer with work in the background, of which it would see nothing; the error tells how to nest them', async () => {
  const plain: Consumer = { name: 'c', handle: () => {} }
  const decorators: Record<string, (inner: Consumer) => Consumer> = {
    retry: (inner) => retry(inner, noRetry),
    withTimeout: (inner) => withTimeout(inner, { timeoutMs: 1000 }),
    bestEffort: (inner) => bestEffort(inner),
    deadLetter: (inner) => deadLetter(inner, { letters: memoryLetters(), policy: noRetry }),
  }
  const outer: Record<string, (inner: Consumer) => Consumer> = {
    concurrent: (inner) => concurrent(inner, { maxInFlight: 2 }),
    ack: (inner) =>
      ack({ ...inner, handle: (event, { ack: done, ...context }) => thenDo(inner.handle(event, context), done) }),
    batch: (inner) =>
      batch(
        {
          ...inner,
          handle: async (events, context) => {
            for (const each of events) await inner.handle(each, context)
          },
        },
        { maxEvents: 2 },
      ),
  }
  for (const [name, decorate] of Object.entries(decorators)) {
    for (const background of Object.values(outer)) {
      const error = thrownBy(() => decorate(background(plain)))
      expect(error).toMatchObject({ code: 'OPTION_INVALID' })
      expect(String(error)).toContain(`${name} of consumer "c"`)
      expect(String(error)).toContain(`concurrent(${name}(consumer, …), …)`)
      // What the error says goes.
      for (const [, inside] of String(error).matchAll(/(\w+)\(\w+\(consumer, …\), …\)/g)) {
        const spec = { stream: logOf(5).source.stream, cursors: memoryCursors() }
        const consumer = outer[inside as string]?.(decorate(plain)) as Consumer
        expect(await run({ ...spec, consumer }, { toHead: true })).toMatchObject({ cursor: '5@1' })
      }
    }
  }
})

describe('bestEffort', () => {
  test('handles every event that succeeds within its attempts, skips and tells of the others, and reaches the head', async () => {
    const failures = fc.array(fc.nat({ max: 4 }), { minLength: 1, maxLength: 8 })
    await fc.assert(
      fc.asyncProperty(failures, fc.boolean(), async (fails, asynchronous) => {
        const clock = simulatedClock()
        const passed: string[] = []
        const { consumer, calls } = flaky((id) => fails[Number(id) - 1] as number, { asynchronous })
        const observer = {
          passed: ({ eventId, as, reason }: { eventId: string; as: string; reason: string }) =>
            void passed.push(`${as} ${eventId}: ${reason}`),
        }
        const effort = bestEffort(consumer, { policy: thrice, clock, observer })
        const spec = { stream: logOf(fails.length).source.stream, cursors: memoryCursors(), consumer: effort }
        expect(await clock.until(run(spec, { toHead: true, clock }))).toMatchObject({ cursor: `${fails.length}@1` })
        expect(calls).toEqual(fails.flatMap((count, i) => Array(Math.min(count + 1, 3)).fill(String(i + 1))))
        const skipped = fails.flatMap((count, i) => (count >= 3 ? [`skipped ${i + 1}: failure 3 of ${i + 1}`] : []))
        expect(passed).toEqual(skipped)
        expect(effort.skipped()).toBe(skipped.length)
      }),
      { numRuns: 200 },
    )
  })

  test('skips an event that its filter fails at, and asks the consumer’s own recover first', async () => {
    const seen: string[] = []
    const consumer: Consumer = {
      name: 'c',
      filter: ({ id }) => (id === '2' ? throwing(new Error('no filter')) : true),
      handle: ({ id }) => (id === '3' ? throwing(new Error('no handler')) : undefined),
      recover: (error, { id }) => {
        seen.push(id)
        if (id !== '3') throw error
      },
    }
    const effort = bestEffort(consumer)
    const spec = { stream: logOf(4).source.stream, cursors: memoryCursors(), consumer: effort }
    expect(await run(spec, { toHead: true })).toMatchObject({ cursor: '4@1' })
    expect([seen, effort.skipped()]).toEqual([['2', '3'], 1])
  })

  test('never swallows an abort, nor a fence', async () => {
    const stop = new AbortController()
    const handle = (): never => {
      stop.abort()
      return throwing(new Error('cut short'))
    }
    const effort = bestEffort({ name: 'c', handle })
    const cursors = memoryCursors()
    const ended = await run({ stream: logOf(2).source.stream, cursors, consumer: effort }, { signal: stop.signal })
    expect([ended.reason, await cursors.get('c'), effort.skipped()]).toEqual(['aborted', '', 0])
    const fenced = bestEffort({ name: 'c', handle: () => throwing(new FencedError('another one')) })
    const spec = { stream: logOf(1).source.stream, cursors, consumer: fenced }
    expect(codeOf(await errorOf(run(spec, { toHead: true })))).toBe('FENCED')
  })
})

describe('withTimeout', () => {
  test('aborts the signal of a handler that takes too long, waits for its end, and fails', async () => {
    const clock = simulatedClock()
    let ended = false
    const slow: Consumer = {
      name: 'c',
      handle: async (_event, { signal }) => {
        await clock.sleep(1e6, signal).catch(() => clock.sleep(30))
        ended = true
      },
    }
    const work = withTimeout(slow, { timeoutMs: 100, clock }).handle(event, { signal: never })
    const error = await clock.until(errorOf(Promise.resolve(work)))
    // Although it has returned: a handler that ends when it is aborted has not handled its event.
    expect(error).toMatchObject({ code: 'HANDLER_TIMEOUT', eventId: '1', retriable: true })
    expect(ended).toBe(true)
  })

  test('does not let a handler that ignores its signal go on unnoticed, and lets nothing retry or skip beside it', async () => {
    const clock = simulatedClock()
    let calls = 0
    const handle = (): Promise<void> => {
      calls++
      return clock.sleep(1e9)
    }
    const stuck: Consumer = { name: 'c', handle }
    const limited = withTimeout(stuck, { timeoutMs: 100, graceMs: 200, clock })
    for (const consumer of [limited, retry(limited, constant(1), { clock }), bestEffort(limited, { clock })]) {
      const work = Promise.resolve(consumer.handle(event, { signal: never }))
      const before = clock.now()
      expect(await clock.until(errorOf(work))).toMatchObject({ code: 'HANDLER_STUCK', retriable: false })
      expect(clock.now() - before).toBe(300)
    }
    expect(calls).toBe(3)
  })

  test('leaves those alone that end in time, and a run that is aborted waits for its handler', async () => {
    const clock = simulatedClock()
    const stop = new AbortController()
    const seen: boolean[] = []
    const quick: Consumer = {
      name: 'c',
      handle: async ({ id }, { signal }) => {
        if (id === '2') stop.abort()
        seen.push(signal.aborted)
        await clock.sleep(id === '2' ? 500 : 50)
      },
    }
    const spec = {
      stream: logOf(3).source.stream,
      cursors: memoryCursors(),
      consumer: withTimeout(quick, { timeoutMs: 100, clock }),
    }
    const ended = await clock.until(run(spec, { clock, signal: stop.signal }))
    expect([ended, seen]).toEqual([{ reason: 'aborted', cursor: '2@1' }, [false, true]])
    expect(
      withTimeout(flaky(() => 0, { asynchronous: false }).consumer, { timeoutMs: 1 }).handle(event, { signal: never }),
    ).toBeUndefined()
  })

  test('tells a handler of an abort that came before', async () => {
    let seen: boolean | undefined
    const handle: Consumer['handle'] = (_event, { signal }) => {
      seen = signal.aborted
    }
    await withTimeout({ name: 'c', handle }, { timeoutMs: 1 }).handle(event, { signal: AbortSignal.abort('before') })
    expect(seen).toBe(true)
  })

  test('refuses limits that are none', async () => {
    for (const timeoutMs of [-1, Number.NaN])
      expect(codeOf(await errorOf((async () => withTimeout(flaky(() => 0).consumer, { timeoutMs }))()))).toBe(
        'OPTION_INVALID',
      )
  })
})

function thenDo(work: void | Promise<void>, done: () => void): void | Promise<void> {
  return work === undefined ? done() : work.then(done)
}

function throwing(error: unknown): never {
  throw error
}

import { getEventListeners } from 'node:events'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import {
  type Batch,
  type Consumer,
  CursorConflictError,
  codeOf,
  type Event,
  eventStream,
  memoryCursors,
  memoryLog,
  RunError,
  run,
  type StreamFunc,
} from '../../src/core/index.ts'
import { errorOf, eventually, within } from '../tools/reader.ts'
import { simulatedClock } from '../tools/simulated-clock.ts'
import { traced } from './traced.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('the order of a run', () => {
  test('run-order-trace: start, get, open, handle, save after each batch, stop, last save, close', async () => {
    const t = traced(3, { batchSize: 2 })
    const consumer = t.consumer({ start: () => void t.trace.push('start'), stop: () => void t.trace.push('stop') })
    const result = await run({ ...t, consumer }, { toHead: true })
    expect(t.trace).toEqual([
      'start',
      'get',
      'open  toHead',
      'handle 1',
      'handle 2',
      'set 2@1',
      'handle 3',
      'set 3@1',
      'stop',
      'close',
    ])
    expect(result).toEqual({ reason: 'head', cursor: '3@1' })
  })

  test('the last save comes after stop, and saves what stop has settled', async () => {
    const t = traced(3)
    let outstanding = true
    const consumer = t.consumer({
      settled: () => (outstanding ? '1' : undefined),
      stop: async () => {
        await turn()
        t.trace.push('stop')
        outstanding = false
      },
    })
    await run({ ...t, consumer }, { toHead: true })
    expect(t.trace.slice(-4)).toEqual(['set 1@1', 'stop', 'set 3@1', 'close'])
  })

  test('the cursor is read after the start, which may finish what an earlier run left', async () => {
    const t = traced(5)
    await t.cursors.reset('c', '2')
    const consumer = t.consumer({ start: () => t.cursors.reset('c', '4') })
    await run({ ...t, consumer }, { toHead: true })
    expect(t.handled()).toEqual(['5'])
  })

  test('stateful-consumer-reset-between-runs: a batch that failed half full is made again from its first event', async () => {
    const t = traced(10, { batchSize: 3 })
    const written: string[][] = []
    let buffer: string[] = []
    let fails = true
    const consumer = t.consumer({
      start: () => {
        buffer = []
      },
      handle: ({ id }) => {
        if (id === '6' && fails) throw new Error('broken')
        buffer.push(id)
        if (buffer.length < 10) return
        written.push(buffer)
        buffer = []
      },
      settled: () => (buffer.length > 0 ? '' : undefined),
    })
    await errorOf(run({ ...t, consumer }, { toHead: true }))
    expect(await t.stored()).toBe('')
    fails = false
    await run({ ...t, consumer }, { toHead: true })
    expect(written).toEqual([['1', '2', '3', '4', '5', '6', '7', '8', '9', '10']])
    expect(await t.stored()).toBe('10@1')
  })

  test('start-failures: each is told with its stage, nothing is handled, and what was opened is closed', async () => {
    const broken = new Error('broken')
    const refuse = (): never => {
      throw broken
    }
    const t = traced(3)
    const cases = {
      start: { ...t, consumer: t.consumer({ start: refuse }) },
      cursor: { ...t, cursors: { ...t.cursors, get: refuse }, consumer: t.consumer() },
      open: { ...t, stream: refuse, consumer: t.consumer() },
      receive: { ...t, stream: failing(broken), consumer: t.consumer() },
    }
    for (const [stage, spec] of Object.entries(cases)) {
      const error = await errorOf(run(spec))
      expect(error).toBeInstanceOf(RunError)
      expect(error).toMatchObject({ stage, consumer: 'c', eventId: undefined, cause: broken, retriable: true })
      expect(codeOf(error)).toBe(`${stage.toUpperCase()}_FAILED`)
      expect(t.handled()).toEqual([])
      expect(t.saves()).toEqual([])
    }
  })

  test('stop is called after every start that succeeded, however the run ended, and never without one', async () => {
    const t = traced(1)
    const stopped: string[] = []
    const ends: Record<string, Parameters<typeof t.consumer>[0]> = {
      head: {},
      handle: {
        handle: () => {
          throw new Error('x')
        },
      },
      start: {
        start: () => {
          throw new Error('x')
        },
      },
    }
    for (const [how, members] of Object.entries(ends)) {
      const consumer = t.consumer({ ...members, stop: () => void stopped.push(how) })
      await run({ ...t, consumer }, { toHead: true }).catch(() => {})
      await t.cursors.reset('c', '')
    }
    await run(
      { ...t, consumer: t.consumer({ stop: () => void stopped.push('aborted') }) },
      { signal: AbortSignal.abort() },
    )
    expect(stopped).toEqual(['head', 'handle'])
  })

  test('stop has a signal that is live, and aborts after 10 s', async () => {
    const t = traced(1)
    const clock = simulatedClock()
    const controller = new AbortController()
    let reason: unknown
    const consumer = t.consumer({
      handle: () => controller.abort(),
      stop: async ({ signal }) => {
        expect(signal.aborted).toBe(false)
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
        reason = signal.reason
      },
    })
    const from = clock.now()
    const result = await clock.until(run({ ...t, consumer }, { signal: controller.signal, clock }))
    expect(clock.now() - from).toBe(10_000)
    expect(codeOf(reason)).toBe('STOP_TIMEOUT')
    expect(result).toEqual({ reason: 'aborted', cursor: '1@1' })
  })
})

describe('fail-fast', () => {
  test('consumer-error-leaves-cursor: nothing after the failure is handled, and it comes first the next time', async () => {
    for (const batchSize of [1, 3, 100]) {
      for (const asynchronous of [false, true]) {
        const t = traced(8, { batchSize })
        const broken = new Error('broken')
        let fails = true
        const consumer = t.consumer({
          handle: async ({ id }) => {
            if (asynchronous) await turn()
            if (id === '4' && fails) throw broken
          },
        })
        const error = await errorOf(run({ ...t, consumer }, { toHead: true }))
        expect(error).toMatchObject({ stage: 'handle', eventId: '4', cause: broken, code: 'HANDLE_FAILED' })
        expect(t.handled()).toEqual(['1', '2', '3', '4'])
        expect(await t.stored()).toBe('3@1')
        fails = false
        await run({ ...t, consumer }, { toHead: true })
        expect(t.handled().slice(4)).toEqual(['4', '5', '6', '7', '8'])
        expect(t.trace.filter((each) => each === 'close')).toHaveLength(2)
      }
    }
  })

  test("the run's error takes over code and retriable of the cause, and names consumer, stage and event", async () => {
    const t = traced(2)
    const final = Object.assign(new Error('no such order'), { code: 'ORDER_GONE', retriable: false })
    const error = (await errorOf(
      run({
        ...t,
        consumer: t.consumer({
          handle: () => {
            throw final
          },
        }),
      }),
    )) as RunError
    expect(error).toMatchObject({ code: 'ORDER_GONE', retriable: false })
    expect(error.message).toBe('consumer "c" failed in stage handle at event 1: no such order')
    const system = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }) // no code of ours
    expect(new RunError('open', { consumer: 'c', cause: system })).toMatchObject({
      code: 'OPEN_FAILED',
      retriable: true,
    })
  })

  test('a stream that ends without toHead is an error', async () => {
    const t = traced(2)
    const stream: StreamFunc = async () => eventStream(batches({ events: [], cursor: '1' }), () => {})
    const error = await errorOf(run({ ...t, stream, consumer: t.consumer() }))
    expect(error).toMatchObject({ code: 'STREAM_ENDED', stage: 'receive', retriable: true })
  })

  test('what was handled before a failing read is saved', async () => {
    const t = traced(0)
    const broken = new Error('gone')
    const stream = failing(broken, { events: [event('7')], cursor: '9' })
    const error = await errorOf(run({ ...t, stream, consumer: t.consumer() }))
    expect(error).toMatchObject({ stage: 'receive', cause: broken, eventId: undefined })
    expect(await t.stored()).toBe('9')
  })

  test('a close that fails is a failure; after another failure it is only told to the observer', async () => {
    const t = traced(0)
    const broken = new Error('cannot close')
    const stream: StreamFunc = async () =>
      eventStream(batches({ events: [event('1')], cursor: '1' }), () => {
        throw broken
      })
    expect(await errorOf(run({ ...t, stream, consumer: t.consumer() }, { toHead: true }))).toMatchObject({
      stage: 'receive',
      cause: broken,
    })
    expect(await t.stored()).toBe('1')
    const told: unknown[] = []
    const first = new Error('first')
    const consumer = t.consumer({
      handle: () => {
        throw first
      },
    })
    const error = await errorOf(run({ ...t, stream, consumer }, { observer: { failed: (each) => told.push(each) } }))
    expect(error).toMatchObject({ stage: 'handle', cause: first })
    expect(told).toEqual([broken, error])
  })

  test('fail() of background work ends a run that is idle, at once', async () => {
    const t = traced(2)
    const broken = new Error('background')
    const started = Promise.withResolvers<(error: unknown) => void>()
    const consumer = t.consumer({ start: ({ fail }) => started.resolve(fail) })
    const running = errorOf(run({ ...t, consumer }))
    await eventually(() => t.saves().length === 1, 1000, 'idle')
    ;(await started.promise)(broken)
    expect(await within(running, 1000, 'the end')).toMatchObject({ stage: 'handle', eventId: undefined, cause: broken })
    expect(t.trace.at(-1)).toBe('close')
  })

  test('fail() inside a batch ends the run before the next event; a second one is only told', async () => {
    const t = traced(5)
    const broken = new Error('background')
    const second = new Error('second')
    const told: unknown[] = []
    let fail = (_: unknown): void => {}
    const consumer = t.consumer({
      start: (context) => {
        fail = context.fail
      },
      handle: ({ id }, { signal }) => {
        if (id !== '3') return
        fail(broken)
        fail(second)
        expect(signal.aborted).toBe(true)
      },
    })
    const error = await errorOf(run({ ...t, consumer }, { observer: { failed: (each) => told.push(each) } }))
    expect(error).toMatchObject({ cause: broken, eventId: undefined })
    expect(told).toEqual([second, error])
    expect(t.handled()).toEqual(['1', '2', '3'])
    expect(await t.stored()).toBe('3@1')
  })

  test('fail() while stop drains fails the run, and what is not settled is not saved', async () => {
    const t = traced(4)
    const broken = Object.assign(new Error('drained badly'), { eventId: '3' }) // as that of a pattern, which knows it
    let fail = (_: unknown): void => {}
    const consumer = t.consumer({
      start: (context) => {
        fail = context.fail
      },
      settled: () => '2',
      stop: () => fail(broken),
    })
    expect(await errorOf(run({ ...t, consumer }, { toHead: true }))).toMatchObject({ cause: broken, eventId: '3' })
    expect(await t.stored()).toBe('2@1')
  })
})

describe('saving the cursor', () => {
  test('an empty batch moves it, so that an idle consumer never falls off the log', async () => {
    const t = traced(0)
    t.log.skip(5)
    await run({ ...t, consumer: t.consumer() }, { toHead: true })
    expect(await t.stored()).toBe('5@1')
    t.log.append({ type: 2, foreignId: 'x' })
    await run(
      { ...t, stream: (after, o) => t.stream(after, { ...o, types: [1] }), consumer: t.consumer() },
      { toHead: true },
    )
    expect(await t.stored()).toBe('6@1')
    expect(t.handled()).toEqual([])
  })

  test('what has not moved is not saved again', async () => {
    const t = traced(2)
    await run({ ...t, consumer: t.consumer() }, { toHead: true })
    await run({ ...t, consumer: t.consumer() }, { toHead: true })
    expect(t.saves()).toEqual(['2@1'])
  })

  test('a bare position is accepted, and saved again with the incarnation of the log', async () => {
    const t = traced(3)
    await t.cursors.reset('c', '2')
    await run({ ...t, consumer: t.consumer() }, { toHead: true })
    expect(t.handled()).toEqual(['3'])
    expect(await t.stored()).toBe('3@1')
  })

  test('a cursor of an earlier log of the same name is an error', async () => {
    const t = traced(3)
    await run({ ...t, consumer: t.consumer() }, { toHead: true })
    t.log.recreate()
    for (let i = 0; i < 9; i++) t.log.append({ type: 1, foreignId: 'new' })
    const error = await errorOf(run({ ...t, consumer: t.consumer() }))
    expect(error).toMatchObject({
      code: 'CURSOR_AHEAD',
      stage: 'open',
      retriable: false,
      cause: { reason: 'recreated' },
    })
    expect(t.handled()).toHaveLength(3)
  })

  test('within a long batch it is saved at least every second, for slow and for quick handlers', async () => {
    for (const handlerMs of [0.01, 3, 300, 999, 2500]) {
      for (const asynchronous of [false, true]) {
        const count = Math.min(2000, Math.ceil(4000 / handlerMs))
        const t = traced(count, { batchSize: 10_000 })
        const clock = simulatedClock()
        let lastAt = clock.now()
        let longest = 0
        const observer = {
          saved: () => {
            longest = Math.max(longest, clock.now() - lastAt)
            lastAt = clock.now()
          },
        }
        const handle = (): void | Promise<void> => {
          clock.pass(handlerMs)
          if (asynchronous) return Promise.resolve()
        }
        await run({ ...t, consumer: t.consumer({ handle }) }, { toHead: true, clock, observer })
        // One handler may be under way when the second is over, and quick ones are looked at in strides of 8.
        expect(longest).toBeLessThanOrEqual(1000 + Math.max(8, handlerMs))
        expect(await t.stored()).toBe(`${count}@1`)
      }
    }
  })

  test('a failure after a save within a batch is still one of the handler, at its event', async () => {
    const t = traced(20)
    const clock = simulatedClock()
    const handle = ({ id }: Event): void => {
      clock.pass(300)
      if (id === '10') throw new Error('broken')
    }
    const error = await errorOf(run({ ...t, consumer: t.consumer({ handle }) }, { toHead: true, clock }))
    expect(t.saves().length).toBeGreaterThan(1)
    expect(error).toMatchObject({ stage: 'handle', eventId: '10' })
    expect(await t.stored()).toBe('9@1')
  })

  test('a handler that turns slow does not put the next save off', async () => {
    const t = traced(40)
    const clock = simulatedClock()
    const handle = async ({ id }: Event): Promise<void> => clock.pass(Number(id) < 10 ? 0 : 900)
    await run({ ...t, consumer: t.consumer({ handle }) }, { toHead: true, clock })
    expect(t.saves()[0]).toBe('11@1')
    expect(t.saves().length).toBeGreaterThanOrEqual(15)
  })

  test('a clock that is set back puts off neither saves nor yields', async () => {
    const t = traced(100)
    const clock = simulatedClock()
    const handle = async ({ id }: Event): Promise<void> => clock.pass(id === '10' ? -3_600_000 : 100)
    await run({ ...t, consumer: t.consumer({ handle }) }, { toHead: true, clock })
    expect(t.saves().length).toBeGreaterThanOrEqual(9)
    expect(clock.yields).toBeGreaterThanOrEqual(90)
  })

  test('settled holds the cursor back: "" is nothing since the start', async () => {
    const t = traced(6, { batchSize: 2 })
    const settled = ['', '', '1', undefined] // after 2, 4 and 6 events, and at the end
    const consumer = t.consumer({ settled: () => settled.shift() })
    await run({ ...t, consumer }, { toHead: true })
    expect(t.saves()).toEqual(['1@1', '6@1'])
  })

  test('settled does not take the cursor back behind what was passed over', async () => {
    const t = traced(2)
    t.log.skip(50)
    t.log.append({ type: 1, foreignId: 'late' })
    let outstanding = false
    const consumer = t.consumer({
      handle: ({ foreignId }) => {
        outstanding = foreignId === 'late'
      },
      settled: () => (outstanding ? '2' : undefined), // the last event before the one that is not settled
    })
    const upTo52 = async (after: string, o: object): ReturnType<StreamFunc> => {
      const all = await t.log.source.stream(after, o)
      return eventStream(
        (async function* () {
          for await (const { events } of all) {
            yield { events: events.slice(0, 2), cursor: '52' }
            yield { events: events.slice(2), cursor: '53' }
          }
        })(),
        () => all[Symbol.asyncDispose](),
      )
    }
    await run({ ...t, stream: upTo52, consumer }, { toHead: true })
    expect(t.saves()).toEqual(['52'])
  })

  test('a start that fails aborts the signal it was given: what it began in the background is told', async () => {
    const t = traced(2)
    let given: AbortSignal | undefined
    const refused = new Error('no connection')
    const start: Consumer['start'] = ({ signal }) => {
      given = signal
      throw refused
    }
    await expect(run({ ...t, consumer: t.consumer({ start }) })).rejects.toMatchObject({ stage: 'start' })
    expect(given?.reason).toBe(refused)
  })

  test('flush-on-exit-with-live-context: an aborted run saves what it has handled', async () => {
    const t = traced(100)
    const controller = new AbortController()
    const cursors = {
      ...t.cursors,
      get: async (name: string, o?: { signal?: AbortSignal | undefined }) => {
        o?.signal?.throwIfAborted()
        return t.cursors.get(name)
      },
    }
    const consumer = t.consumer({
      handle: ({ id }) => {
        if (id === '42') controller.abort()
      },
    })
    const result = await run({ ...t, cursors, consumer }, { signal: controller.signal })
    expect(result).toEqual({ reason: 'aborted', cursor: '42@1' })
    expect(await t.stored()).toBe('42@1')
  })

  test('a save of unknown outcome is the last one, unless a fresh get shows it', async () => {
    const lost = new Error('connection lost')
    for (const arrives of [false, true]) {
      const t = traced(4, { batchSize: 2 })
      let fails = true
      const cursors = {
        ...t.cursors,
        set: async (consumer: string, cursor: string, expected: string): Promise<void> => {
          if (!fails || arrives) await t.cursors.set(consumer, cursor, expected)
          else t.trace.push(`set ${cursor}`)
          if (fails) throw lost
        },
      }
      // Background work settles more between the failed save and the way out.
      let settled: string | undefined = '1'
      const consumer = t.consumer({
        settled: () => settled,
        stop: () => {
          settled = undefined
          fails = false
        },
      })
      const error = await errorOf(run({ ...t, cursors, consumer }, { toHead: true }))
      expect(error).toMatchObject({ stage: 'commit', cause: lost, retriable: true })
      expect(t.saves()).toEqual(arrives ? ['1@1', '2@1'] : ['1@1'])
      expect(t.trace.filter((each) => each === 'get')).toHaveLength(2)
    }
  })

  test('after a conflict nothing is saved any more, and nothing is handled', async () => {
    const t = traced(6, { batchSize: 2 })
    const consumer = t.consumer({
      handle: async ({ id }) => {
        if (id === '3') await t.cursors.reset('c', '5')
      },
    })
    const error = await errorOf(run({ ...t, consumer }, { toHead: true }))
    expect(error).toMatchObject({
      stage: 'commit',
      code: 'CURSOR_CONFLICT',
      cause: { reset: true, expected: '2@1', actual: '5' },
    })
    expect(error).toHaveProperty('cause', expect.any(CursorConflictError))
    expect(t.handled()).toEqual(['1', '2', '3', '4'])
    expect(t.saves()).toEqual(['2@1', '4@1'])
    expect(t.trace.filter((each) => each === 'get')).toHaveLength(1) // its outcome is known: there is nothing to look up
    expect(await t.stored()).toBe('5')
  })

  test('two runs of one name: one of them ends with a conflict and moves nothing', async () => {
    const t = traced(20, { batchSize: 5 })
    const both = await Promise.allSettled(
      [1, 2].map(() => run({ ...t, consumer: t.consumer({ handle: async () => turn() }) }, { toHead: true })),
    )
    const conflicts = both.filter(({ status }) => status === 'rejected')
    // Equal is success: two runs in step may both get through, but never past each other.
    for (const each of conflicts) expect(codeOf((each as PromiseRejectedResult).reason)).toBe('CURSOR_CONFLICT')
    expect(await t.stored()).toBe('20@1')
  })
})

describe('fromHead', () => {
  test('pins the head, and saves it before anything is handled', async () => {
    for (const count of [0, 5]) {
      const t = traced(count)
      const controller = new AbortController()
      const consumer = t.consumer({ handle: () => controller.abort() })
      const running = run({ ...t, consumer }, { fromHead: true, signal: controller.signal })
      await eventually(() => t.saves().length === 1, 1000, 'the pin is saved')
      t.log.append({ type: 1, foreignId: 'late' })
      await running
      expect(t.trace).toEqual([
        'get',
        'open  fromHead',
        `set ${count}@1`,
        `handle ${count + 1}`,
        `set ${count + 1}@1`,
        'close',
      ])
    }
  })

  test('a restart before the first event skips nothing', async () => {
    const t = traced(3)
    await run({ ...t, consumer: t.consumer() }, { fromHead: true, toHead: true })
    t.log.append({ type: 1, foreignId: 'between' })
    await run({ ...t, consumer: t.consumer() }, { fromHead: true, toHead: true })
    expect(t.handled()).toEqual(['4'])
  })

  test('is used only while no cursor is stored', async () => {
    const t = traced(5)
    await t.cursors.reset('c', '2')
    await run({ ...t, consumer: t.consumer() }, { fromHead: true, toHead: true })
    expect(t.handled()).toEqual(['3', '4', '5'])
  })

  test('a source that does not pin is refused, before anything is handled or saved', async () => {
    const first: Batch[] = [
      { events: [event('6')], cursor: '6' },
      { events: [], cursor: '' },
    ]
    for (const each of first) {
      const t = traced(0)
      const stream: StreamFunc = async () => eventStream(batches(each), () => {})
      const error = await errorOf(run({ ...t, stream, consumer: t.consumer() }, { fromHead: true }))
      expect(error).toMatchObject({ code: 'SOURCE_CONTRACT', retriable: false })
      expect([...t.handled(), ...t.saves()]).toEqual([])
    }
  })
})

describe('filters', () => {
  test('filter-by-type, by predicate, both: what is skipped counts as done', async () => {
    const type = (id: string): number => Number(id) % 3
    const even = ({ id }: Event): boolean => Number(id) % 2 === 0
    const cases: [object, (id: string) => boolean][] = [
      [{}, () => true],
      [{ types: [0, 2] }, (id) => type(id) !== 1],
      [{ filter: even }, (id) => Number(id) % 2 === 0],
      [{ types: [0], filter: even }, (id) => type(id) === 0 && Number(id) % 2 === 0],
      [{ types: [] }, () => false],
    ]
    for (const [members, expected] of cases) {
      const t = traced(0, { batchSize: 4 })
      const all = Array.from(
        { length: 10 },
        (_, i) => t.log.append({ type: type(String(i + 1)), foreignId: 'x' })[0] as Event,
      )
      const seen = { handled: 0, skipped: 0 }
      const observer = {
        progress: (since: { handled: number; skipped: number }) => {
          seen.handled += since.handled
          seen.skipped += since.skipped
        },
      }
      await run({ ...t, consumer: t.consumer(members) }, { toHead: true, observer })
      const wanted = all.map(({ id }) => id).filter(expected)
      expect(t.handled()).toEqual(wanted)
      expect(seen).toEqual({ handled: wanted.length, skipped: 10 - wanted.length })
      expect(await t.stored()).toBe('10@1')
    }
  })

  test('the predicate is asked only about events of the wanted types', async () => {
    const t = traced(2)
    const asked: string[] = []
    const filter = ({ id }: Event): boolean => asked.push(id) > 0
    await run({ ...t, consumer: t.consumer({ types: [9], filter }) }, { toHead: true })
    expect(asked).toEqual([])
  })

  test('predicate-error: fails the event, or goes to recover', async () => {
    const broken = new Error('filter')
    const filter = ({ id }: Event): boolean => {
      if (id === '2') throw broken
      return true
    }
    const t = traced(3)
    expect(await errorOf(run({ ...t, consumer: t.consumer({ filter }) }, { toHead: true }))).toMatchObject({
      stage: 'handle',
      eventId: '2',
      cause: broken,
    })
    expect(await t.stored()).toBe('1@1')
    const recovered: unknown[] = []
    const recover = (error: unknown, { id }: Event): void => void recovered.push(error, id)
    await run({ ...t, consumer: t.consumer({ filter, recover }) }, { toHead: true })
    expect(recovered).toEqual([broken, '2'])
    expect(t.handled()).toEqual(['1', '3'])
    expect(await t.stored()).toBe('3@1')
  })
})

describe('recover', () => {
  test('recovery-function: returning swallows the error, throwing replaces it', async () => {
    const first = new Error('first')
    const second = new Error('second')
    for (const asynchronous of [false, true]) {
      const t = traced(4)
      const handle = async ({ id }: Event): Promise<void> => {
        if (asynchronous) await turn()
        if (id === '2' || id === '3') throw first
      }
      const seen: unknown[] = []
      const recover = async (error: unknown, { id }: Event): Promise<void> => {
        seen.push(error)
        if (asynchronous) await turn()
        if (id === '3') throw second
      }
      const error = await errorOf(run({ ...t, consumer: t.consumer({ handle, recover }) }, { toHead: true }))
      expect(error).toMatchObject({ stage: 'handle', eventId: '3', cause: second })
      expect(seen).toEqual([first, first])
      expect(t.handled()).toEqual(['1', '2', '3'])
      expect(await t.stored()).toBe('2@1')
    }
  })

  test('is not called after an abort: what fails then is handled again', async () => {
    const t = traced(3)
    const controller = new AbortController()
    const late = new Error('cancelled')
    let recovered = false
    const consumer = t.consumer({
      handle: async ({ id }) => {
        if (id !== '2') return
        controller.abort()
        await turn()
        throw late
      },
      recover: () => {
        recovered = true
      },
    })
    const result = await run({ ...t, consumer }, { signal: controller.signal })
    expect(recovered).toBe(false)
    expect(result).toEqual({ reason: 'aborted', cursor: '1@1', error: late })
  })
})

describe('delayMs', () => {
  const start = Date.parse('2026-01-01T00:00:00Z')

  test('lag-delays-until-old-enough: each event is as old as asked for when it is handled', async () => {
    for (const delayMs of [1000, 5000]) {
      const t = traced(0)
      const clock = simulatedClock(start)
      for (const age of [9000, 4000, 4000, 500, 0]) t.log.append({ type: 1, foreignId: 'x', timestamp: start - age })
      const ages: number[] = []
      const handle = ({ timestamp }: Event): void => void ages.push(clock.now() - timestamp)
      await clock.until(run({ ...t, consumer: t.consumer({ handle }) }, { toHead: true, delayMs, clock }))
      expect(ages).toEqual([9000, Math.max(4000, delayMs), Math.max(4000, delayMs), delayMs, delayMs])
    }
  })

  test('the delay is ours: nothing of it reaches the source', async () => {
    const t = traced(1)
    const options: object[] = []
    const stream: StreamFunc = (after, o) => {
      options.push(o)
      return t.stream(after, o)
    }
    await run({ ...t, stream, consumer: t.consumer() }, { toHead: true, delayMs: 1000 })
    expect(options).toEqual([{ signal: expect.any(AbortSignal), toHead: true, fromHead: false }])
  })

  test('one that is no number of ms is refused', async () => {
    const t = traced(1)
    for (const delayMs of [-1, Number.NaN]) {
      const error = await errorOf(run({ ...t, consumer: t.consumer() }, { delayMs }))
      expect(error).toMatchObject({ stage: 'start', code: 'OPTION_INVALID', retriable: false })
    }
    expect(t.trace).toEqual([])
  })

  test('timestamps in the future delay a whole batch by no more than delayMs', async () => {
    const t = traced(0)
    const clock = simulatedClock(start)
    for (let i = 0; i < 50; i++) t.log.append({ type: 1, foreignId: 'x', timestamp: start + i * 86_400_000 })
    await clock.until(run({ ...t, consumer: t.consumer() }, { toHead: true, delayMs: 2000, clock }))
    expect(clock.now() - start).toBe(2000)
    expect(t.handled()).toHaveLength(50)
  })

  test('what is done is saved before a delay that would put the save off', async () => {
    const t = traced(0)
    const clock = simulatedClock(start)
    t.log.append(
      { type: 1, foreignId: 'old', timestamp: start - 60_000 },
      { type: 1, foreignId: 'new', timestamp: start },
    )
    const controller = new AbortController()
    const running = run({ ...t, consumer: t.consumer() }, { delayMs: 30_000, clock, signal: controller.signal })
    await clock.advance(10_000)
    expect(await t.stored()).toBe('1@1')
    controller.abort()
    expect(await running).toEqual({ reason: 'aborted', cursor: '1@1' })
    expect(t.handled()).toEqual(['1'])
  })

  test('an abort ends the delay at once, and leaves no timer', async () => {
    const t = traced(0)
    t.log.append({ type: 1, foreignId: 'x' })
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const controller = new AbortController()
    const running = run({ ...t, consumer: t.consumer() }, { delayMs: 3_600_000, signal: controller.signal })
    await turn()
    expect(vi.getTimerCount()).toBe(1)
    controller.abort()
    expect(vi.getTimerCount()).toBe(0)
    expect(await running).toEqual({ reason: 'aborted', cursor: '' })
  })
})

describe('abort', () => {
  test('leaves no timer and no listener, with a stop that is limited in time', async () => {
    const t = traced(2)
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const { signal } = new AbortController()
    await run({ ...t, consumer: t.consumer({ stop: () => {} }) }, { toHead: true, signal })
    expect(vi.getTimerCount()).toBe(0)
    expect(getEventListeners(signal, 'abort')).toEqual([])
  })

  test('before the start, nothing is called at all', async () => {
    const t = traced(3)
    const consumer = t.consumer({ start: () => void t.trace.push('start') })
    expect(await run({ ...t, consumer }, { signal: AbortSignal.abort() })).toEqual({ reason: 'aborted', cursor: '' })
    expect(t.trace).toEqual([])
  })

  test('cancel-unblocks-recv: an idle run ends at once, and its stream is closed', async () => {
    const t = traced(2)
    const controller = new AbortController()
    const running = run({ ...t, consumer: t.consumer() }, { signal: controller.signal })
    await eventually(() => t.saves().length === 1, 1000, 'idle')
    controller.abort(new Error('enough'))
    expect(await within(running, 1000, 'the end')).toEqual({ reason: 'aborted', cursor: '2@1' })
    expect(t.trace.at(-1)).toBe('close')
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  })

  test('inside a handler: it is told by its signal, waited for, and its event counts if it succeeded', async () => {
    for (const outcome of ['returns', 'throws', 'throws the reason']) {
      const t = traced(3)
      const controller = new AbortController()
      const late = new Error('late')
      const consumer = t.consumer({
        handle: async ({ id }, { signal }) => {
          if (id !== '2') return
          controller.abort(new Error('enough'))
          expect(signal.reason).toBe(controller.signal.reason)
          await turn()
          await turn()
          if (outcome === 'throws') throw late
          if (outcome !== 'returns') throw signal.reason
        },
      })
      const result = await run({ ...t, consumer }, { signal: controller.signal })
      const cursor = outcome === 'returns' ? '2@1' : '1@1'
      expect(result).toEqual({ reason: 'aborted', cursor, ...(outcome === 'throws' ? { error: late } : {}) })
      expect(await t.stored()).toBe(cursor)
      expect(t.handled()).toEqual(['1', '2'])
    }
  })

  test('of a store or a source that does not answer: it is not waited for, and what opens later is closed', async () => {
    const t = traced(2)
    const never = new Promise<never>(() => {})
    const opening = Promise.withResolvers<Awaited<ReturnType<StreamFunc>>>()
    for (const spec of [
      { ...t, cursors: { ...t.cursors, get: () => never } },
      { ...t, stream: () => opening.promise },
    ]) {
      const controller = new AbortController()
      const running = run({ ...spec, consumer: t.consumer() }, { signal: controller.signal })
      await turn()
      controller.abort()
      expect(await within(running, 1000, 'the end')).toEqual({ reason: 'aborted', cursor: '' })
    }
    opening.resolve(await t.stream('', {}))
    await turn()
    expect(t.trace.at(-1)).toBe('close')
  })

  test('what is thrown on the way out is the error of the result, and told', async () => {
    const t = traced(1)
    const controller = new AbortController()
    const broken = new Error('cannot stop')
    const told: unknown[] = []
    const consumer = t.consumer({
      handle: () => controller.abort(),
      stop: () => {
        throw broken
      },
    })
    const result = await run(
      { ...t, consumer },
      { signal: controller.signal, observer: { failed: (each) => told.push(each) } },
    )
    expect(result).toEqual({ reason: 'aborted', cursor: '1@1', error: broken })
    expect(told).toEqual([broken])
  })

  test('background work that fails while it is drained after the abort is told in the result', async () => {
    const t = traced(3)
    const controller = new AbortController()
    const broken = new Error('drained badly')
    let fail = (_: unknown): void => {}
    const consumer = t.consumer({
      start: (context) => {
        fail = context.fail
      },
      handle: ({ id }) => {
        if (id === '2') controller.abort()
      },
      settled: () => '1',
      stop: () => fail(broken),
    })
    const result = await run({ ...t, consumer }, { signal: controller.signal })
    expect(result).toEqual({ reason: 'aborted', cursor: '1@1', error: broken })
  })

  test('a save that fails after the abort is told in the result', async () => {
    const t = traced(1)
    const controller = new AbortController()
    const broken = new Error('store gone')
    const cursors = {
      ...t.cursors,
      set: async () => {
        throw broken
      },
    }
    const consumer = t.consumer({ handle: () => controller.abort() })
    expect(await run({ ...t, cursors, consumer }, { signal: controller.signal })).toEqual({
      reason: 'aborted',
      cursor: '',
      error: broken,
    })
  })

  test('inside a synchronous flood: it is acted on, and what was handled is saved', async () => {
    const log = memoryLog({ batchSize: 100_000 })
    for (let i = 0; i < 100_000; i++) log.append({ type: 1, foreignId: 'x', timestamp: 0 })
    const cursors = memoryCursors()
    let handled = 0
    const handle = (): void => {
      handled++
      const until = performance.now() + 0.02
      while (performance.now() < until);
    }
    const result = await run(
      { stream: log.source.stream, cursors, consumer: { name: 'c', handle } },
      { signal: AbortSignal.timeout(60) },
    )
    expect(result).toEqual({ reason: 'aborted', cursor: `${handled}@1` })
    expect(handled).toBeGreaterThan(0)
    expect(handled).toBeLessThan(50_000)
  })
})

describe('yielding', () => {
  test('a synchronous run lets timers and I/O in at least every 10 ms', async () => {
    for (const [batchSize, handlerMs] of [
      [50_000, 0],
      [50_000, 0.05],
      [100, 0.05],
      [1, 0],
    ] as const) {
      const clock = simulatedClock()
      const t = traced(3000, { batchSize })
      let longest = 0
      let last = clock.now()
      const yielding = {
        ...clock,
        yield: async () => {
          longest = Math.max(longest, clock.now() - last)
          last = clock.now()
        },
      }
      const handle = (): void => clock.pass(handlerMs)
      await run({ ...t, consumer: t.consumer({ handle }) }, { toHead: true, clock: yielding })
      expect(longest).toBeLessThanOrEqual(10)
      if (handlerMs > 0) expect(longest).toBeGreaterThan(0)
    }
  })

  test('so does one whose batches are all empty', async () => {
    const log = memoryLog({ batchSize: 1 })
    log.skip(2000)
    const clock = simulatedClock()
    let longest = 0
    let last = clock.now()
    const ticking = {
      ...clock,
      now: () => {
        clock.pass(0.05)
        return clock.now()
      },
      yield: async () => {
        longest = Math.max(longest, clock.now() - last)
        last = clock.now()
      },
    }
    const consumer = { name: 'c', handle: () => {} }
    await run({ stream: log.source.stream, cursors: memoryCursors(), consumer }, { toHead: true, clock: ticking })
    expect(last).toBeGreaterThan(clock.now() - 10)
    expect(longest).toBeGreaterThan(0)
    expect(longest).toBeLessThanOrEqual(10)
  })

  test('the event loop is not kept waiting, by the clock of the machine', async () => {
    const log = memoryLog({ batchSize: 10_000 })
    for (let i = 0; i < 10_000; i++) log.append({ type: 1, foreignId: 'x', timestamp: 0 })
    const handle = (): void => {
      const until = performance.now() + 0.02
      while (performance.now() < until);
    }
    const waits: number[] = []
    for (let attempt = 0; attempt < 3 && !waits.some((ms) => ms < 100); attempt++) {
      let longest = 0
      let last = performance.now()
      let on = true
      const tick = (): void => {
        const now = performance.now()
        longest = Math.max(longest, now - last)
        last = now
        if (on) setImmediate(tick)
      }
      tick()
      await run(
        { stream: log.source.stream, cursors: memoryCursors(), consumer: { name: 'c', handle } },
        { toHead: true },
      )
      on = false
      tick()
      waits.push(longest)
    }
    expect(Math.min(...waits)).toBeLessThan(100) // the whole run takes 200 ms and more
  })
})

describe('back-pressure', () => {
  test('at most one batch is read ahead', async () => {
    let produced = 0
    let ahead = 0
    let handled = 0
    const stream: StreamFunc = async () =>
      eventStream(
        (async function* () {
          while (produced < 20) {
            produced++
            ahead = Math.max(ahead, produced - handled)
            yield { events: [event(String(produced))], cursor: String(produced) }
          }
        })(),
        () => {},
      )
    const handle = async (): Promise<void> => {
      await turn()
      await turn()
      handled++
    }
    await run({ stream, cursors: memoryCursors(), consumer: { name: 'c', handle } }, { toHead: true })
    expect(handled).toBe(20)
    expect(ahead).toBe(2) // the one that is handled, and the next
  })

  test('the handler is never called before it has returned', async () => {
    const t = traced(20, { batchSize: 3 })
    let inside = 0
    const handle = async (): Promise<void> => {
      expect(++inside).toBe(1)
      await turn()
      inside--
    }
    await run({ ...t, consumer: t.consumer({ handle }) }, { toHead: true })
    expect(t.handled()).toHaveLength(20)
  })

  test('a synchronous handler costs no turn of the event loop', async () => {
    const t = traced(1000)
    let turns = 0
    let on = true
    const count = async (): Promise<void> => {
      for (; on; turns++) await turn()
    }
    const counting = count()
    await run({ ...t, consumer: t.consumer() }, { toHead: true, clock: simulatedClock() })
    on = false
    await counting
    expect(turns).toBeLessThan(5)
  })
})

describe('the observer', () => {
  test('is told what happened, in order', async () => {
    const t = traced(3, { batchSize: 2 })
    const told: unknown[] = []
    const observer = {
      opened: (at: object) => told.push({ opened: at }),
      progress: ({ cursor, handled }: { cursor: string; handled: number }) =>
        told.push(`progress ${cursor} ${handled}`),
      saved: (cursor: string) => told.push(`saved ${cursor}`),
    }
    await run({ ...t, consumer: t.consumer() }, { toHead: true, observer })
    expect(told).toEqual([
      { opened: { name: 'c', cursor: '' } },
      'progress 2 2',
      'saved 2@1',
      'progress 3 1',
      'saved 3@1',
      'progress 3 0',
    ])
  })
})

function event(id: string): Event {
  return { id, type: 1, foreignId: 'x', timestamp: 0, metadata: null, headers: {} }
}

async function* batches(...each: Batch[]): AsyncGenerator<Batch> {
  yield* each
}

/** A stream of some batches that then fails. */
function failing(error: Error, ...before: Batch[]): StreamFunc {
  return async () =>
    eventStream(
      (async function* () {
        yield* before
        throw error
      })(),
      () => {},
    )
}

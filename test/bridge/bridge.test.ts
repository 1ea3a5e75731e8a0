import { getEventListeners } from 'node:events'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type BridgeOptions, bridge } from '../../src/bridge/bridge.ts'
import { formatCheckpoint, parseCheckpoint } from '../../src/bridge/checkpoint.ts'
import { readAhead } from '../../src/bridge/read-ahead.ts'
import {
  type Batch,
  codeOf,
  type Event,
  eventStream,
  type Observer,
  ReflexError,
  RunError,
  type RunResult,
  type RunStage,
  type Source,
  supervise,
} from '../../src/core/index.ts'
import { errorOf, eventually, within } from '../tools/reader.ts'
import { simulatedClock } from '../tools/simulated-clock.ts'
import { type Step, type TracedRoute, tracedRoute } from './traced-route.ts'

const toHead = { toHead: true }
const idsTo = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i + 1))
/** Lets everything go on that waits for nothing but its turn. */
const settle = async (): Promise<void> => {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve))
}

/** A hook that waits until it is told to go on. */
function gate(): { readonly hook: () => Promise<void>; readonly reached: Promise<void>; open(): void } {
  const reached = Promise.withResolvers<void>()
  const opened = Promise.withResolvers<void>()
  return {
    reached: reached.promise,
    open: opened.resolve,
    hook: () => {
      reached.resolve()
      return opened.promise
    },
  }
}

describe('forwarding', () => {
  test('reads the checkpoint, opens the sink, then the source; appends, then saves; closes the source, then the sink', async () => {
    const { spec, trace, saved } = tracedRoute(2)
    const controller = new AbortController()
    const running = bridge(spec, controller)
    await eventually(async () => (await saved()) !== undefined, 5000, 'the checkpoint')
    controller.abort()
    expect(await running).toEqual({ reason: 'aborted', cursor: '2@1' })
    expect(trace).toEqual([
      ...['get', 'open sink ', 'open source ', 'read 1,2'],
      ...['append 1,2 2@1', 'save 2@1', 'close source', 'close sink'],
    ])
  })

  test('ends at the head that there was at the start', async () => {
    const { spec, log, hooks, forwarded } = tracedRoute(5)
    hooks.append = () => log.append({ type: 1, foreignId: 'late' })
    expect(await bridge(spec, toHead)).toEqual({ reason: 'head', cursor: '5@1' })
    expect(forwarded()).toEqual(idsTo(5))
  })

  test('goes on with what is appended later', async () => {
    const { spec, log, forwarded } = tracedRoute(1)
    const controller = new AbortController()
    const running = bridge(spec, controller)
    for (let count = 1; count < 4; count++) {
      await eventually(() => forwarded().length === count, 5000, 'the event')
      log.append({ type: 1, foreignId: 'late' })
    }
    await eventually(() => forwarded().length === 4, 5000, 'the last event')
    controller.abort()
    expect(await running).toEqual({ reason: 'aborted', cursor: '4@1' })
  })

  test('moves over positions without an event, and saves that; what moves nothing is not appended', async () => {
    const { spec, log, trace, saved } = tracedRoute(2)
    log.skip(3)
    await bridge(spec, toHead)
    expect(trace.filter((each) => /append|save/.test(each))).toEqual([
      ...['append 1,2 2@1', 'save 2@1', 'append  4@1', 'save 4@1', 'append  5@1', 'save 5@1'],
    ])
    trace.length = 0
    const again = { ...spec.source, stream: () => spec.source.stream('3@1', toHead) } // the same position again, but once
    await bridge({ ...spec, source: again }, toHead)
    expect(trace.filter((each) => /append|save/.test(each))).toEqual([])
    expect(await saved()).toMatchObject({ cursor: '5@1' })
  })

  test('tells the observer', async () => {
    const { spec } = tracedRoute(3)
    const told: unknown[] = []
    const observer: Observer = {
      opened: (at) => told.push(['opened', at]),
      progress: ({ timestamp: _, ...since }) => told.push(['progress', since]),
      saved: (cursor) => told.push(['saved', cursor]),
      repaired: (text) => told.push(['repaired', text]),
      failed: (error) => told.push(['failed', error]),
    }
    await bridge(spec, { ...toHead, observer })
    expect(told).toEqual([
      ['opened', { name: 'r', cursor: '' }],
      ['progress', { cursor: '2@1', handled: 2, skipped: 0 }],
      ['saved', '2@1'],
      ['progress', { cursor: '3@1', handled: 1, skipped: 0 }],
      ['saved', '3@1'],
    ])
  })

  test('reads one batch ahead and no more while the sink stalls', async () => {
    const { spec, trace, hooks } = tracedRoute(10)
    const { hook, reached, open } = gate()
    hooks.append = hook
    const running = bridge(spec, toHead)
    await reached
    await settle()
    expect(trace.filter((each) => each.startsWith('read'))).toEqual(['read 1,2', 'read 3,4'])
    hooks.append = undefined
    open()
    await running
  })

  describe('what comes one by one during an append goes together with the next one', () => {
    /** A bridge whose first append, of four events, waits for `open`. */
    async function stalled({ bytes = 1 }: { bytes?: number } = {}) {
      const route = tracedRoute(4, { batchSize: 4 })
      const { hook, reached, open } = gate()
      route.hooks.append = hook
      const controller = new AbortController()
      const running = bridge(route.spec, controller)
      running.catch(() => {}) // seen at the end
      await reached
      const come = async (): Promise<void> => {
        route.log.append({ type: 1, foreignId: 'a', metadata: new Uint8Array(bytes) })
        await settle()
      }
      const appended = async (count: number): Promise<string[]> => {
        route.hooks.append = undefined
        open()
        await eventually(() => route.forwarded().length === count, 5000, 'the events')
        return route.trace.filter((each) => /^append \d/.test(each)) // not those that only ask whether it is there
      }
      const end = async (): Promise<void> => {
        controller.abort()
        await running
      }
      return { ...route, come, appended, end }
    }

    test('up to as many as came at once before', async () => {
      const { trace, come, appended, end } = await stalled()
      for (let i = 5; i <= 10; i++) await come()
      const read = trace.filter((each) => each.startsWith('read'))
      expect(read).toEqual(['read 1,2,3,4', 'read 5', 'read 6', 'read 7', 'read 8'])
      expect(await appended(10)).toEqual(['append 1,2,3,4 4@1', 'append 5,6,7,8 8@1', 'append 9,10 10@1'])
      await end()
    })

    test('but no more than some payload', async () => {
      const { come, appended, end } = await stalled({ bytes: 200 * 1024 })
      for (let i = 5; i <= 7; i++) await come()
      expect(await appended(7)).toEqual(['append 1,2,3,4 4@1', 'append 5,6 6@1', 'append 7 7@1'])
      await end()
    })

    test('and an error of the source comes after it', async () => {
      const { come, appended, hooks, saved, end } = await stalled()
      await come()
      hooks.read = () => {
        throw new Error('broken')
      }
      await come()
      expect(await appended(5)).toEqual(['append 1,2,3,4 4@1', 'append 5 5@1'])
      expect(await errorOf(end())).toMatchObject({ stage: 'receive' })
      expect(await saved()).toMatchObject({ cursor: '5@1' })
    })
  })

  /** A clock that tells how long there was work since it last yielded. */
  function workClock() {
    const clock = simulatedClock()
    let worked = 0
    return {
      ...clock,
      yield: () => {
        worked = 0
        return clock.yield()
      },
      work: (ms: number, limitMs: number) => {
        clock.pass(ms)
        worked += ms
        expect(worked).toBeLessThanOrEqual(limitMs)
      },
    }
  }

  test('a synchronous source and sink let timers and I/O in every 10 ms, whatever the clock does', async () => {
    const { spec, hooks, forwarded } = tracedRoute(200, { batchSize: 1 })
    const clock = workClock()
    hooks.append = () => {
      if (forwarded().length === 100) clock.pass(-3_600_000)
      clock.work(2, 10)
    }
    await bridge(spec, { ...toHead, clock })
  })

  test('and also between reading, appending and saving, where each of it takes long', async () => {
    const { spec, hooks } = tracedRoute(20)
    const clock = workClock()
    for (const step of ['read', 'append', 'save'] as const) hooks[step] = () => clock.work(8, 16)
    await bridge(spec, { ...toHead, clock })
  })

  test('and also when all that they do is to move over positions', async () => {
    const { spec, log, hooks } = tracedRoute(0, { batchSize: 1 })
    log.skip(50)
    const clock = workClock()
    hooks.read = () => clock.work(5, 15)
    await bridge(spec, { ...toHead, clock })
  })
})

describe('resuming', () => {
  test("from the sink's position, and not from the checkpoint's", async () => {
    const { spec, trace, hooks, forwarded, saved } = tracedRoute(6)
    let saves = 0
    hooks.save = () => {
      if (++saves === 2) throw new Error('broken')
    }
    expect(await errorOf(bridge(spec, toHead))).toMatchObject({ stage: 'commit' })
    expect(await saved()).toMatchObject({ cursor: '2@1' })
    trace.length = 0
    await bridge(spec, toHead)
    expect(trace).toContain('open sink 2@1')
    expect(trace).toContain('open source 4@1 toHead')
    expect(forwarded()).toEqual(idsTo(6))
  })

  test('saves what the sink says before the next event comes', async () => {
    const { spec, hooks, saved } = tracedRoute(2)
    hooks.save = () => {
      throw new Error('broken')
    }
    await errorOf(bridge(spec, toHead))
    hooks.save = undefined
    expect(await saved()).toBeUndefined()
    await bridge(spec, toHead) // there is nothing to read
    expect(await saved()).toMatchObject({ cursor: '2@1', mark: '2/2' })
  })

  test('tells the sink the route, the source and what is saved', async () => {
    const { spec, saved } = tracedRoute(2)
    await bridge(spec, toHead)
    const told: unknown[] = []
    const sink = {
      ...spec.sink,
      open: (to: Parameters<typeof spec.sink.open>[0]) => {
        told.push(to)
        return spec.sink.open(to)
      },
    }
    const { signal } = new AbortController()
    await bridge({ ...spec, sink }, { ...toHead, signal })
    expect(told).toEqual([{ route: 'r', source: 'memory', saved: await saved(), signal }])
  })

  test('a tail that was lost is refilled, and the observer is told', async () => {
    const { spec, destination, forwarded } = tracedRoute(6)
    await bridge(spec, toHead)
    destination.events.splice(-3)
    const repairs: string[] = []
    const observer: Observer = { repaired: (text) => repairs.push(text) }
    await bridge(spec, { ...toHead, observer })
    expect(forwarded()).toEqual(idsTo(6))
    expect(repairs).toEqual([expect.stringMatching(/lost/)])
    await bridge(spec, { ...toHead, observer })
    expect(repairs).toHaveLength(1)
  })

  test('a checkpoint goes back with what was lost before anything is refilled, so that a purge leaves it there', async () => {
    const { spec, destination, trace } = tracedRoute(6)
    await bridge(spec, toHead)
    destination.events.splice(-2)
    trace.length = 0
    await bridge(spec, toHead)
    expect(trace.filter((each) => /append|save/.test(each))).toEqual([
      ...['append  4@1', 'save 4@1', 'append 5,6 6@1', 'save 6@1'],
    ])
  })

  test('a source that was recreated is CURSOR_AHEAD, at stage open', async () => {
    const { spec, log, saved, trace } = tracedRoute(3)
    await bridge(spec, toHead)
    expect(await saved()).toEqual({ cursor: '3@1', mark: '3/3', start: '', first: '1' })
    log.recreate()
    log.append(...idsTo(5).map((foreignId) => ({ type: 1, foreignId })))
    trace.length = 0
    const error = await errorOf(bridge(spec, toHead))
    expect(error).toMatchObject({ code: 'CURSOR_AHEAD', stage: 'open', retriable: false })
    expect(trace.some((each) => each.startsWith('append'))).toBe(false)
  })

  test("a checkpoint that is not a bridge's is CURSOR_INVALID, at stage cursor, and nothing is opened", async () => {
    for (const stored of [
      '7',
      '{}',
      'null',
      '"x"',
      '{"cursor":7,"mark":""}',
      '{"cursor":"","mark":"","start":1}',
      '[',
    ]) {
      const { spec, store, trace } = tracedRoute(1)
      await store.reset('r', stored)
      const error = await errorOf(bridge(spec, toHead))
      expect(error).toMatchObject({ code: 'CURSOR_INVALID', stage: 'cursor', retriable: false })
      expect(trace).toEqual(['get'])
    }
  })

  test('every checkpoint is read as it was written', () => {
    const text = fc.string({ unit: 'grapheme' })
    fc.assert(
      fc.property(text, text, text, fc.option(text), (cursor, mark, start, first) => {
        const checkpoint = { cursor, mark, start, ...(first === null ? {} : { first }) }
        expect(parseCheckpoint('r', formatCheckpoint(checkpoint))).toEqual(checkpoint)
      }),
    )
    expect(formatCheckpoint({ cursor: '7', mark: '1-0', start: '' })).toBe('{"cursor":"7","mark":"1-0"}')
    expect(parseCheckpoint('r', '')).toBeUndefined()
  })
})

describe('fromHead', () => {
  const fromHead = { toHead: true, fromHead: true }

  test('pins a new route to the head, and saves that before anything is appended', async () => {
    const { spec, log, hooks, trace, saved } = tracedRoute(3)
    hooks['open source'] = () => {
      log.append({ type: 1, foreignId: 'a' })
    }
    await bridge(spec, fromHead)
    expect(await saved()).toEqual({ cursor: '4@1', mark: '0/', start: '4@1' })
    hooks['open source'] = undefined
    log.append({ type: 1, foreignId: 'b' })
    await bridge(spec, fromHead)
    expect(trace.filter((each) => /open source|append|save/.test(each))).toEqual([
      ...['open source  fromHead toHead', 'append  4@1', 'save 4@1'],
      ...['open source 4@1 toHead', 'append 5 5@1', 'save 5@1'],
    ])
    expect(await saved()).toEqual({ cursor: '5@1', mark: '1/5', start: '4@1' })
  })

  test('an empty source as well', async () => {
    const { spec, saved } = tracedRoute(0)
    await bridge(spec, fromHead)
    expect(await saved()).toMatchObject({ cursor: '0@1', start: '0@1' })
  })

  for (const keeps of ['position', 'events'] as const) {
    test(`has no effect on a route that has started (the destination keeps its ${keeps})`, async () => {
      const { spec, log, trace, forwarded } = tracedRoute(3, { keeps })
      await bridge(spec, fromHead)
      log.append({ type: 1, foreignId: 'a' }, { type: 1, foreignId: 'b' })
      await bridge(spec, fromHead)
      expect(trace).toContain('open source 3@1 toHead')
      expect(forwarded()).toEqual(['4', '5'])
    })

    test(`a destination that lost everything is refilled from where the route started (it keeps its ${keeps})`, async () => {
      const { spec, log, trace, destination, forwarded } = tracedRoute(3, { keeps })
      await bridge(spec, fromHead)
      log.append({ type: 1, foreignId: 'a' }, { type: 1, foreignId: 'b' })
      await bridge(spec, fromHead)
      destination.wipe()
      trace.length = 0
      await bridge(spec, fromHead)
      expect(trace).toContain('open source 3@1 toHead')
      expect(forwarded()).toEqual(['4', '5'])
    })
  }

  test('a route that started from the earliest is refilled from there', async () => {
    const { spec, destination, forwarded, saved } = tracedRoute(3)
    await bridge(spec, toHead)
    destination.wipe()
    await bridge(spec, fromHead)
    expect(forwarded()).toEqual(idsTo(3))
    expect(await saved()).toMatchObject({ start: '' })
  })

  test('a route whose destination has something to repair is not new', async () => {
    const { spec, trace } = tracedRoute(3)
    const open = async (to: Parameters<typeof spec.sink.open>[0]) => ({
      ...(await spec.sink.open(to)),
      repair: 'all was lost',
    })
    await bridge({ ...spec, sink: { ...spec.sink, open } }, fromHead)
    expect(trace).toContain('open source  toHead')
  })

  test('a checkpoint that was lost does not make a route new', async () => {
    const { spec, store, log, forwarded } = tracedRoute(3)
    await bridge(spec, toHead)
    await store.reset('r', '')
    log.append({ type: 1, foreignId: 'a' })
    await bridge(spec, fromHead)
    expect(forwarded()).toEqual(idsTo(4))
  })
})

describe('an abort', () => {
  const reason = new Error('enough')

  test('before the start calls nothing', async () => {
    const { spec, trace } = tracedRoute(1)
    const result = await bridge(spec, { signal: AbortSignal.abort(reason) })
    expect(result).toEqual({ reason: 'aborted', cursor: '' })
    expect(trace).toEqual([])
  })

  for (const step of ['get', 'open sink', 'open source'] as const) {
    test(`is acted on at once while waiting in "${step}", and what opens later is closed`, async () => {
      const { spec, opened, closed, hooks } = tracedRoute(1)
      const { hook, reached, open } = gate()
      hooks[step] = hook
      const controller = new AbortController()
      const running = bridge(spec, controller)
      await reached
      controller.abort(reason)
      expect(await within(running, 1000, 'the end')).toEqual({ reason: 'aborted', cursor: '' })
      open()
      await settle()
      expect(closed.toSorted()).toEqual(opened.toSorted())
      expect(getEventListeners(controller.signal, 'abort')).toEqual([])
    })
  }

  test('is acted on at once while idle, and leaves no timer and no listener', async () => {
    const { spec, trace, saved } = tracedRoute(2)
    const controller = new AbortController()
    const clock = simulatedClock()
    let timers = 0
    const sleep = clock.sleep
    const counting = {
      ...clock,
      sleep: (ms: number, signal?: AbortSignal) => {
        timers++
        return sleep(ms, signal).finally(() => timers--)
      },
    }
    const running = bridge(spec, { signal: controller.signal, clock: counting })
    await eventually(async () => (await saved()) !== undefined, 5000, 'the checkpoint')
    await settle()
    expect(timers).toBe(1)
    controller.abort(reason)
    expect(await within(running, 1000, 'the end')).toEqual({ reason: 'aborted', cursor: '2@1' })
    expect(trace.slice(-2)).toEqual(['close source', 'close sink'])
    await settle()
    expect(timers).toBe(0)
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  })

  for (const step of ['append', 'save'] as const) {
    test(`during "${step}" waits for it and for its checkpoint; what was read ahead is left`, async () => {
      const { spec, trace, hooks, forwarded, saved } = tracedRoute(6)
      const { hook, reached, open } = gate()
      hooks[step] = hook
      const controller = new AbortController()
      const running = bridge(spec, controller)
      await reached
      await settle()
      expect(trace).toContain('read 3,4')
      controller.abort(reason)
      await settle()
      expect(trace).not.toContain('close sink')
      open()
      expect(await within(running, 1000, 'the end')).toEqual({ reason: 'aborted', cursor: '2@1' })
      expect(forwarded()).toEqual(['1', '2'])
      expect(await saved()).toMatchObject({ cursor: '2@1' })
    })
  }

  for (const step of ['append', 'save', 'close source', 'close sink'] as const) {
    test(`what is thrown after it in "${step}" is in the result, and told`, async () => {
      const { spec, hooks } = tracedRoute(2)
      const controller = new AbortController()
      const broken = new Error('broken')
      hooks.append = () => controller.abort(reason)
      hooks[step] = () => {
        controller.abort(reason)
        throw broken
      }
      const failed: unknown[] = []
      const result = await bridge(spec, {
        signal: controller.signal,
        observer: { failed: (error) => failed.push(error) },
      })
      const cursor = step === 'append' || step === 'save' ? '' : '2@1' // the one that is saved
      expect(result).toMatchObject({ reason: 'aborted', error: broken, cursor })
      expect(failed).toEqual([broken])
    })
  }

  test('that comes after a failure, while closing, does not hide it', async () => {
    const { spec, hooks } = tracedRoute(2)
    const controller = new AbortController()
    hooks.append = () => {
      throw new Error('broken')
    }
    hooks['close source'] = () => controller.abort(reason)
    const failed: unknown[] = []
    const error = await errorOf(
      bridge(spec, { signal: controller.signal, observer: { failed: (each) => failed.push(each) } }),
    )
    expect(error).toMatchObject({ code: 'HANDLE_FAILED', message: expect.stringContaining('broken') })
    expect(failed).toEqual([error])
  })

  test('after any number of steps: nothing is lost, what is appended is saved, what was opened is closed', async () => {
    for (let steps = 0; steps < 150; steps++) {
      const { spec, opened, closed, forwarded, saved } = tracedRoute(7, { batchSize: 3 })
      const controller = new AbortController()
      const running = bridge(spec, { ...toHead, signal: controller.signal })
      for (let i = 0; i < steps; i++) await Promise.resolve()
      controller.abort(reason)
      const { cursor } = await within(running, 5000, `a bridge that was aborted after ${steps} steps`)
      await settle()
      const count = forwarded().length
      expect(forwarded()).toEqual(idsTo(count))
      expect((await saved())?.cursor ?? '').toBe(count === 0 ? '' : `${count}@1`)
      expect(cursor).toBe(count === 0 ? '' : `${count}@1`)
      expect(closed.toSorted()).toEqual(opened.toSorted())
      expect(getEventListeners(controller.signal, 'abort')).toEqual([])
      if (steps === 0) expect(count).toBe(0)
      if (steps === 149) expect(count).toBe(7)
    }
  })
})

describe('a failure', () => {
  const cases: readonly [Step, RunStage, eventId: string | undefined, opens: string[]][] = [
    ['get', 'cursor', undefined, []],
    ['open sink', 'open', undefined, []],
    ['open source', 'open', undefined, ['sink']],
    ['read', 'receive', undefined, ['sink', 'source']],
    ['append', 'handle', '3', ['sink', 'source']],
    ['save', 'commit', undefined, ['sink', 'source']],
    ['close source', 'receive', undefined, ['sink', 'source']],
    ['close sink', 'receive', undefined, ['sink', 'source']],
  ]
  for (const [step, stage, eventId, opens] of cases) {
    test(`of "${step}" is a RunError of stage ${stage}; what was opened is closed, once`, async () => {
      const { spec, closed, hooks, forwarded } = tracedRoute(6)
      const cause = new ReflexError('BROKEN', 'broken', { retriable: false })
      let calls = 0
      hooks[step] = () => {
        if (['read', 'append', 'save'].includes(step) && ++calls < 2) return
        throw cause
      }
      const failed: unknown[] = []
      const error = await errorOf(bridge(spec, { ...toHead, observer: { failed: (each) => failed.push(each) } }))
      expect(error).toBeInstanceOf(RunError)
      expect(error).toMatchObject({ code: 'BROKEN', retriable: false, consumer: 'r', stage, eventId, cause })
      expect(failed).toEqual([error])
      expect(closed.toSorted()).toEqual(opens)
      hooks[step] = undefined
      await bridge(spec, toHead)
      expect(forwarded()).toEqual(idsTo(6))
    })
  }

  test('is not hidden by another one while closing, which is told', async () => {
    const { spec, closed, hooks } = tracedRoute(2)
    const worse = new Error('worse')
    hooks.append = () => {
      throw new Error('broken')
    }
    hooks['close source'] = () => {
      throw worse
    }
    const failed: unknown[] = []
    const error = await errorOf(bridge(spec, { observer: { failed: (each) => failed.push(each) } }))
    expect(error).toMatchObject({ code: 'HANDLE_FAILED', stage: 'handle', eventId: '1' })
    expect(failed).toEqual([worse, error])
    expect(closed.toSorted()).toEqual(['sink', 'source'])
  })

  test('of what was read ahead comes after the batch before it is appended and saved', async () => {
    const { spec, hooks, forwarded, saved } = tracedRoute(6)
    let reads = 0
    hooks.read = () => {
      if (++reads === 2) throw new Error('broken')
    }
    expect(await errorOf(bridge(spec, toHead))).toMatchObject({ stage: 'receive' })
    expect(forwarded()).toEqual(['1', '2'])
    expect(await saved()).toMatchObject({ cursor: '2@1' })
  })

  test('that a stream throws at once, and not in a promise, is an error of the stream as well', async () => {
    const { spec } = tracedRoute(0)
    const broken = new Error('no such thing')
    const next = (): never => {
      throw broken
    }
    const stream: Source['stream'] = async () => ({
      [Symbol.asyncIterator]: () => ({ next }),
      [Symbol.asyncDispose]: async () => {},
    })
    const error = await errorOf(bridge({ ...spec, source: { name: 's', stream } }))
    expect(error).toMatchObject({ stage: 'receive', cause: broken })
  })

  test('a batch that goes on growing lets others in', async () => {
    const clock = simulatedClock()
    const [first, ...others] = Array.from({ length: 200 }, (_, i) => ({
      ...{ id: String(i + 1), type: 1, foreignId: 'a', timestamp: 0, metadata: new Uint8Array(), headers: {} },
    }))
    const many = Array.from({ length: 500 }, () => first as Event)
    async function* batches(): AsyncGenerator<Batch> {
      yield { events: many, cursor: '1' }
      for (const each of others) {
        clock.pass(1)
        yield { events: [each], cursor: each.id }
      }
    }
    const stream = eventStream(batches(), () => {})
    await using ahead = readAhead(stream, { clock, whileIdle: async () => {}, everyMs: 1500 })
    expect((await ahead.next()).value?.events.length).toBe(500)
    await eventually(() => clock.yields >= 199 / 8 - 1, 5000, 'yields')
    expect((await ahead.next()).value?.events.length).toBe(199)
    await stream[Symbol.asyncDispose]()
  })

  test('a stream that ends without having been asked to is STREAM_ENDED', async () => {
    const { spec } = tracedRoute(2)
    const source = { ...spec.source, stream: () => spec.source.stream('', toHead) }
    expect(await errorOf(bridge({ ...spec, source }))).toMatchObject({ code: 'STREAM_ENDED', stage: 'receive' })
  })

  test('a checkpoint that another bridge has saved is a conflict, and is not overwritten', async () => {
    const { spec, store, hooks } = tracedRoute(4)
    const theirs = formatCheckpoint({ cursor: '1@1', mark: '1/1', start: '' })
    hooks.append = () => {
      hooks.append = undefined
      return store.set('r', theirs, '')
    }
    expect(await errorOf(bridge(spec, toHead))).toMatchObject({ code: 'CURSOR_CONFLICT', stage: 'commit' })
    expect(await store.get('r')).toBe(theirs)
  })
})

describe('while the source is idle', () => {
  /** Starts a bridge, and waits until it has forwarded all there is. */
  async function idle(route: TracedRoute, options: BridgeOptions): Promise<{ running: Promise<RunResult> }> {
    const running = bridge(route.spec, options)
    await eventually(async () => (await route.saved()) !== undefined, 5000, 'the checkpoint')
    await settle()
    route.trace.length = 0
    return { running }
  }

  test('the destination is asked with an empty batch; nothing is saved, nothing is told', async () => {
    const route = tracedRoute(2)
    const clock = simulatedClock()
    const controller = new AbortController()
    const told: string[] = []
    const observer = { progress: () => told.push('progress'), saved: () => told.push('saved') }
    const { running } = await idle(route, { clock, signal: controller.signal, observer })
    told.length = 0
    await clock.advance(10_000)
    const asked = route.trace.length
    expect(asked).toBeGreaterThanOrEqual(5)
    expect(asked).toBeLessThan(20)
    expect(new Set(route.trace)).toEqual(new Set(['append  2@1']))
    expect(told).toEqual([])
    route.log.append({ type: 1, foreignId: 'a' })
    await settle()
    expect(route.trace.slice(asked)).toEqual(['read 3', 'append 3 3@1', 'save 3@1'])
    controller.abort()
    expect(await running).toEqual({ reason: 'aborted', cursor: '3@1' })
  })

  test('a destination that is gone is noticed within 5 s, at stage handle', async () => {
    const route = tracedRoute(2)
    const clock = simulatedClock()
    const { running } = await idle(route, { clock })
    route.hooks.append = () => {
      throw new Error('no connection')
    }
    const failing = errorOf(running)
    const before = clock.now()
    expect(await clock.until(failing)).toMatchObject({ stage: 'handle', eventId: undefined })
    expect(clock.now() - before).toBeLessThanOrEqual(2000) // a client needs up to 3 s to notice a frozen server
    expect(route.closed.toSorted()).toEqual(['sink', 'source'])
  })

  test('a lost tail is refilled without waiting for the next event', async () => {
    const route = tracedRoute(6)
    const clock = simulatedClock()
    const controller = new AbortController()
    const running = supervise((o) => bridge(route.spec, o), { signal: controller.signal, clock, random: () => 0.5 })
    await eventually(() => route.forwarded().length === 6, 5000, 'the events')
    await settle()
    route.destination.events.splice(-4)
    await clock.advance(3000)
    expect(route.forwarded()).toEqual(idsTo(6))
    controller.abort()
    expect(await running).toMatchObject({ reason: 'aborted' })
  })

  test('nothing is asked while an append is under way', async () => {
    const route = tracedRoute(2)
    const clock = simulatedClock()
    const { hook, reached, open } = gate()
    route.hooks.append = hook
    const controller = new AbortController()
    const running = bridge(route.spec, { clock, signal: controller.signal })
    await reached
    await clock.advance(10_000)
    expect(route.trace.filter((each) => each.startsWith('append'))).toHaveLength(1)
    controller.abort()
    open()
    await running
  })

  test('an abort while the destination is being asked waits for the answer', async () => {
    const route = tracedRoute(2)
    const clock = simulatedClock()
    const controller = new AbortController()
    const { running } = await idle(route, { clock, signal: controller.signal })
    const { hook, reached, open } = gate()
    route.hooks.append = hook
    await clock.advance(2000)
    await reached
    controller.abort()
    open()
    expect(await running).toEqual({ reason: 'aborted', cursor: '2@1' })
    expect(route.closed.toSorted()).toEqual(['sink', 'source'])
  })
})

describe('under supervise', () => {
  for (const busy of [true, false]) {
    test(`two bridges of one ${busy ? 'busy' : 'idle'} route do not duel for ever: one ends in ANOTHER_RUNNER, nothing is repeated`, async () => {
      const { spec, log, forwarded } = tracedRoute(3)
      const clock = simulatedClock()
      const stopping = new AbortController()
      const ended: unknown[] = []
      const options = { signal: stopping.signal, clock, random: () => 0.5 }
      const runners = [0, 1].map(() => supervise((o) => bridge(spec, o), options).catch((error) => ended.push(error)))
      for (let minute = 0; minute < 10 && ended.length === 0; minute++) {
        if (busy) log.append({ type: 1, foreignId: 'a' })
        await clock.advance(10_000)
        if (busy) log.append({ type: 1, foreignId: 'b' })
        await clock.advance(50_000)
      }
      expect(ended.map(codeOf)).toEqual(['ANOTHER_RUNNER'])
      log.append({ type: 1, foreignId: 'last' })
      await clock.advance(60_000)
      const total = Number(await log.source.head?.())
      expect(forwarded()).toEqual(idsTo(total)) // by the other one
      stopping.abort()
      await Promise.all(runners)
      expect(ended).toHaveLength(1)
    })
  }

  test("an operator's reset is a restart at once, and the destination's position counts", async () => {
    const { spec, store, log, forwarded } = tracedRoute(4)
    const clock = simulatedClock()
    const stopping = new AbortController()
    const restarts: unknown[] = []
    const observer: Observer = { restarting: ({ delayMs, error }) => restarts.push([delayMs, codeOf(error)]) }
    const running = supervise((o) => bridge(spec, o), { signal: stopping.signal, clock, observer })
    await eventually(() => forwarded().length === 4, 5000, 'the events')
    await settle()
    await store.reset('r', formatCheckpoint({ cursor: '2@1', mark: '2/2', start: '' }))
    log.append({ type: 1, foreignId: 'a' })
    await clock.advance(1)
    expect(restarts).toEqual([[0, 'CURSOR_CONFLICT']])
    expect(forwarded()).toEqual(idsTo(5))
    stopping.abort()
    await running
  })

  test('a checkpoint store that cannot be written to repeats nothing', async () => {
    const { spec, hooks, forwarded } = tracedRoute(9)
    const clock = simulatedClock()
    let saves = 0
    hooks.save = () => {
      if (++saves % 3 !== 0) throw new Error('read-only')
    }
    const ended = supervise((o) => bridge(spec, { ...o, ...toHead }), { clock, random: () => 0.5 })
    expect(await clock.until(ended)).toMatchObject({ reason: 'head' })
    expect(forwarded()).toEqual(idsTo(9))
  })
})

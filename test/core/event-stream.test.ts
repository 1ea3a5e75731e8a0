import { getEventListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import {
  type Batch,
  codeOf,
  type Event,
  type EventStream,
  eventStream,
  eventsOf,
  openStream,
  streamOf,
  untilAborted,
} from '../../src/core/index.ts'
import { errorOf, within } from '../tools/reader.ts'

const batch = (...ids: number[]): Batch => ({ events: ids.map((id) => event(id)), cursor: String(ids.at(-1) ?? '') })

function event(id: number): Event {
  return { id: String(id), type: 1, foreignId: 'x', timestamp: 0, metadata: null, headers: {} }
}

async function* produce(...batches: Batch[]): AsyncGenerator<Batch> {
  yield* batches
}

/** A generator that waits for ever, as a blocked read does. */
async function* blocked(): AsyncGenerator<Batch> {
  await new Promise(() => {})
  yield batch(1)
}

/** A stream that counts its closes. */
function counted(
  batches: AsyncIterable<Batch>,
  options: { signal?: AbortSignal; failing?: Error } = {},
): { stream: EventStream; closes(): number } {
  let closes = 0
  const close = async (): Promise<void> => {
    closes++
    await Promise.resolve()
    if (options.failing) throw options.failing
  }
  return { stream: eventStream(batches, close, { signal: options.signal }), closes: () => closes }
}

describe('eventStream', () => {
  test('is closed exactly once: never read, in the middle, at its end, by any number of closes', async () => {
    for (const reads of [0, 1, 2, 3, 4]) {
      const { stream, closes } = counted(produce(batch(1), batch(2), batch(3)))
      const iterator = stream[Symbol.asyncIterator]()
      for (let i = 0; i < reads; i++) expect((await iterator.next()).done ?? false).toBe(i === 3)
      await Promise.all([stream[Symbol.asyncDispose](), stream[Symbol.asyncDispose](), iterator.return?.()])
      await stream[Symbol.asyncDispose]()
      expect(closes()).toBe(1)
      expect(await iterator.next()).toEqual({ done: true, value: undefined })
    }
  })

  test('closes itself at its end, after an error, and when a loop over it is left', async () => {
    const ended = counted(produce(batch(1)))
    for await (const _ of ended.stream);
    expect(ended.closes()).toBe(1)

    const failing = counted(
      (async function* () {
        yield batch(1)
        throw new Error('lost')
      })(),
    )
    const iterator = failing.stream[Symbol.asyncIterator]()
    await iterator.next()
    expect(await errorOf(iterator.next())).toMatchObject({ message: 'lost' })
    expect(failing.closes()).toBe(1)

    const left = counted(produce(batch(1), batch(2)))
    for await (const _ of left.stream) break
    expect(left.closes()).toBe(1)
  })

  test('a second iteration throws', async () => {
    const { stream } = counted(produce(batch(1)))
    stream[Symbol.asyncIterator]()
    expect(() => stream[Symbol.asyncIterator]()).toThrow(TypeError)
    await stream[Symbol.asyncDispose]()
  })

  test('a second reader is refused while a read is pending', async () => {
    const { stream } = counted(blocked())
    const iterator = stream[Symbol.asyncIterator]()
    const first = iterator.next()
    expect(await errorOf(iterator.next())).toBeInstanceOf(TypeError)
    await stream[Symbol.asyncDispose]()
    expect((await first).done).toBe(true)
  })

  test('a pending read ends when the stream is closed', async () => {
    const { stream, closes } = counted(blocked())
    const pending = stream[Symbol.asyncIterator]().next()
    await within(Promise.resolve(stream[Symbol.asyncDispose]()), 1000, 'the close')
    expect(await within(pending, 1000, 'the read')).toEqual({ done: true, value: undefined })
    expect(closes()).toBe(1)
  })

  test('an abort rejects the pending read and every later one with its reason, and closes', async () => {
    const controller = new AbortController()
    const { stream, closes } = counted(blocked(), { signal: controller.signal })
    const iterator = stream[Symbol.asyncIterator]()
    const pending = errorOf(iterator.next())
    const reason = new Error('enough')
    controller.abort(reason)
    expect(await pending).toBe(reason)
    expect(await errorOf(iterator.next())).toBe(reason)
    expect(closes()).toBe(1)
  })

  test('a signal that has aborted already closes at once', async () => {
    const reason = new Error('enough')
    const { stream, closes } = counted(produce(batch(1)), { signal: AbortSignal.abort(reason) })
    expect(closes()).toBe(1)
    expect(await errorOf(stream[Symbol.asyncIterator]().next())).toBe(reason)
    await stream[Symbol.asyncDispose]()
    expect(closes()).toBe(1)
  })

  test('nothing is read after the close, and a batch that comes late is dropped', async () => {
    let produced = 0
    const gate = Promise.withResolvers<void>()
    const { stream } = counted(
      (async function* () {
        await gate.promise
        produced++
        yield batch(1)
        produced++
        yield batch(2)
      })(),
    )
    const pending = stream[Symbol.asyncIterator]().next()
    await stream[Symbol.asyncDispose]()
    gate.resolve()
    expect((await pending).done).toBe(true)
    await new Promise((resolve) => setImmediate(resolve))
    expect(produced).toBe(1)
  })

  test("a generator's own cleanup has been done when the close resolves, unless it is in a read", async () => {
    let cleaned = false
    const { stream } = counted(
      (async function* () {
        try {
          yield batch(1)
          yield batch(2)
        } finally {
          await new Promise((resolve) => setImmediate(resolve))
          cleaned = true
        }
      })(),
    )
    await stream[Symbol.asyncIterator]().next()
    await stream[Symbol.asyncDispose]()
    expect(cleaned).toBe(true)
  })

  test('an error of the close reaches whoever disposes, also when the stream closed itself', async () => {
    const failing = new Error('cannot close')
    const { stream, closes } = counted(produce(), { failing })
    expect((await stream[Symbol.asyncIterator]().next()).done).toBe(true)
    expect(await errorOf(stream[Symbol.asyncDispose]())).toBe(failing)
    expect(await errorOf(stream[Symbol.asyncDispose]())).toBe(failing)
    expect(closes()).toBe(1)
  })

  test('leaves no listener on the signal', async () => {
    const { signal } = new AbortController()
    for (const close of [true, false]) {
      const { stream } = counted(produce(batch(1)), { signal })
      if (close) await stream[Symbol.asyncDispose]()
      else for await (const _ of stream);
    }
    await untilAborted(Promise.resolve(), signal)
    await untilAborted(Promise.reject(new Error('x')), signal).catch(() => {})
    expect(getEventListeners(signal, 'abort')).toEqual([])
  })

  test('carries the incarnation, and has no such key without one', () => {
    expect(eventStream(produce(), () => {}, { incarnation: 'a' }).incarnation).toBe('a')
    expect('incarnation' in eventStream(produce(), () => {})).toBe(false)
  })
})

describe('openStream', () => {
  test('waits no longer than until the abort; a stream that opens later is closed', async () => {
    const opening = Promise.withResolvers<EventStream>()
    const controller = new AbortController()
    const reason = new Error('enough')
    const opened = errorOf(openStream(() => opening.promise, '', { signal: controller.signal }))
    controller.abort(reason)
    expect(await opened).toBe(reason)
    const { stream, closes } = counted(produce(batch(1)))
    opening.resolve(stream)
    await new Promise((resolve) => setImmediate(resolve))
    expect(closes()).toBe(1)
  })

  test('an open that fails later disturbs nobody', async () => {
    const opening = Promise.withResolvers<EventStream>()
    const controller = new AbortController()
    const opened = errorOf(openStream(() => opening.promise, '', { signal: controller.signal }))
    controller.abort()
    await opened
    opening.reject(new Error('late')) // an unhandled rejection would fail this test file
    await new Promise((resolve) => setImmediate(resolve))
  })

  test('rejects when the function throws instead of rejecting', async () => {
    const thrown = new Error('not async')
    const open = openStream(
      () => {
        throw thrown
      },
      '',
      {},
    )
    expect(await errorOf(open)).toBe(thrown)
  })
})

describe('untilAborted', () => {
  test('does not wait for work once the signal has aborted, before or since', async () => {
    const never = new Promise<never>(() => {})
    const reason = new Error('enough')
    expect(await errorOf(untilAborted(never, AbortSignal.abort(reason)))).toBe(reason)
    const controller = new AbortController()
    const waiting = errorOf(untilAborted(never, controller.signal))
    controller.abort(reason)
    expect(await waiting).toBe(reason)
    expect(await untilAborted(Promise.resolve(7), undefined)).toBe(7)
  })
})

describe('eventsOf and streamOf', () => {
  test('a stream of events, one by one, closed at the end and on a break', async () => {
    const whole = counted(produce(batch(1, 2), batch(), batch(3)))
    const ids: string[] = []
    for await (const { id } of eventsOf(whole.stream)) ids.push(id)
    expect(ids).toEqual(['1', '2', '3'])
    expect(whole.closes()).toBe(1)
    const left = counted(produce(batch(1, 2), batch(3)))
    for await (const { id } of eventsOf(left.stream)) if (id === '1') break
    expect(left.closes()).toBe(1)
    const failing = new Error('cannot close')
    const unclosable = eventsOf(counted(produce(batch(1)), { failing }).stream)
    expect((await unclosable.next()).value).toMatchObject({ id: '1' })
    expect(await errorOf(unclosable.next())).toBe(failing)
  })

  test('a generator of events is a stream whose cursors are their ids', async () => {
    const stream = streamOf('numbers', async function* (after) {
      for (let id = Number(after) + 1; id <= 3; id++) yield event(id)
    })
    const batches: Batch[] = []
    for await (const each of await stream('1', {})) batches.push(each)
    expect(batches.map(({ events, cursor }) => [events.map(({ id }) => id), cursor])).toEqual([
      [['2'], '2'],
      [['3'], '3'],
    ])
  })

  test('options that it does not honour are refused', async () => {
    const stream = streamOf('numbers', () => produceEvents(), { honours: ['toHead'] })
    expect(codeOf(await errorOf(stream('', { fromHead: true })))).toBe('OPTION_INVALID')
    expect(codeOf(await errorOf(stream('', { types: [1] })))).toBe('OPTION_INVALID')
    expect(codeOf(await errorOf(stream('5', { fromHead: true })))).toBe('OPTION_INVALID')
    await (await stream('', { toHead: true }))[Symbol.asyncDispose]()
  })

  test('its generator is told of the end by its signal, whether aborted or closed', async () => {
    for (const end of ['abort', 'close']) {
      const controller = new AbortController()
      let told = false
      const stream = await streamOf('idle', async function* (_, { signal }) {
        await new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve()))
        told = true
        yield* produceEvents()
      })('', { signal: controller.signal })
      const pending = stream[Symbol.asyncIterator]()
        .next()
        .catch(() => {})
      if (end === 'abort') controller.abort()
      else await stream[Symbol.asyncDispose]()
      await pending
      await new Promise((resolve) => setImmediate(resolve))
      expect(told).toBe(true)
    }
  })
})

async function* produceEvents(): AsyncGenerator<Event> {}

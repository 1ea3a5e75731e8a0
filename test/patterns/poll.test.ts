import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Clock,
  CursorTrimmedError,
  type Event,
  type MemoryLog,
  memoryCursors,
  memoryLog,
  run,
  type Source,
  type StreamOptions,
} from '../../src/core/index.ts'
import { type FetchPage, type Page, type PollOptions, poll } from '../../src/patterns/index.ts'
import { conformance, type SourceSubject } from '../../src/testing/index.ts'
import { errorOf, reader, within } from '../tools/reader.ts'
import { simulatedClock } from '../tools/simulated-clock.ts'
import { turns } from './turns.ts'

interface Pages extends Required<Pick<Source, 'head' | 'compare'>> {
  readonly log: MemoryLog
  readonly fetchPage: FetchPage
  /** After which cursors a page was asked for. */
  readonly asked: string[]
}

/** A log that is given in pages. */
function pages(): PollOptions & Pages {
  const log = memoryLog({ name: 'pages', batchSize: 1 })
  const asked: string[] = []
  const head = async (): Promise<string> => (await log.source.head?.()) ?? ''
  const fetchPage: FetchPage = async (after, { signal, limit }) => {
    asked.push(after)
    await using stream = await log.source.stream(after, { toHead: true, signal })
    const events: Event[] = []
    let cursor = after === '' && (await head()) !== '0' ? await head() : after
    for await (const batch of stream) {
      events.push(...batch.events)
      cursor = batch.cursor
      if (events.length === limit) break
    }
    return { events, cursor, more: cursor !== '' && cursor !== (await head()) }
  }
  const compare = (a: string, b: string): number => Number(a) - Number(b)
  const { backlog, at } = log.source
  return { log, asked, fetchPage, head, compare, ...(backlog && { backlog }), ...(at && { at }) }
}

describe('a polled source', () => {
  const create = async (): Promise<SourceSubject> => {
    const { log, fetchPage, ...rest } = pages()
    return {
      source: poll('pages', fetchPage, { ...rest, limit: 3, intervalMs: 5 }),
      append: async (events) => log.append(...events).map(({ id }) => id),
      trim: async (id) => log.trim(id),
      remove: async (id) => log.remove(id),
      recreate: async () => log.recreate(),
      rewind: async (id) => log.rewind(id),
      malformed: ['x', '-1', '1.5'],
    }
  }
  conformance({ test, create, runs: 12, seed: 1 })
})

const event = (id: number): Event => ({
  id: String(id),
  type: id % 2,
  foreignId: 'x',
  timestamp: 0,
  metadata: null,
  headers: {},
})
const page = (from: number, to: number, more = false): Page => ({
  events: Array.from({ length: to - from + 1 }, (_, i) => event(from + i)),
  cursor: String(to),
  more,
})
const nothing: FetchPage = async (after) => ({ events: [], cursor: after, more: false })

/** Reads to the end. */
async function all(
  fetchPage: FetchPage,
  options: PollOptions = {},
  how: StreamOptions = { toHead: true },
): Promise<string[]> {
  await using stream = reader(await poll('api', fetchPage, options).stream('', how))
  return (await stream.rest()).map(({ id }) => id)
}

describe('toHead (luno/reflex leaves it out here)', () => {
  test('ends at what was the head when the stream was opened, however long the pages are', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 20 }),
        fc.integer({ min: 1, max: 7 }),
        fc.nat({ max: 5 }),
        async (count, limit, later) => {
          const { log, fetchPage, head, compare } = pages()
          for (let i = 0; i < count; i++) log.append({ type: 1, foreignId: 'x' })
          const { stream } = poll('pages', fetchPage, { limit, head, compare })
          await using open = reader(await stream('', { toHead: true }))
          for (let i = 0; i < later; i++) log.append({ type: 1, foreignId: 'x' })
          expect((await open.rest()).length).toBe(count)
          expect(open.cursor).toBe(count === 0 ? '' : String(count))
        },
      ),
    )
  })

  test('without a head it ends with the first page after which there is no more', async () => {
    const given = [page(1, 3, true), page(4, 5, true), { events: [], cursor: '7', more: true }, page(8, 8)]
    expect(await all(async () => given.shift() as Page)).toEqual(['1', '2', '3', '4', '5', '8'])
    expect(given).toEqual([])
  })

  test('a head that is lost meanwhile is an error, not waited for', async () => {
    const compare = (a: string, b: string): number => Number(a) - Number(b)
    let head = '5'
    const get: FetchPage = async (after) => (after === '' ? page(1, 3) : { events: [], cursor: after, more: false })
    const clock = simulatedClock()
    const reading = all(get, { head: async () => head, compare, clock })
    reading.catch(() => {})
    await turns()
    head = '3'
    await clock.advance(60_000)
    expect(await errorOf(reading)).toMatchObject({ code: 'CURSOR_AHEAD', reason: 'beyond' })
  })
})

describe('an API that repeats itself or shrinks', () => {
  test('is not believed: no event is given twice, with or without compare', async () => {
    const ids = fc.array(fc.integer({ min: 1, max: 6 }), { maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(fc.array(ids, { maxLength: 4 }), async (given) => {
        const pages = given.map((page, i): Page => ({ events: page.map(event), cursor: `c${i}`, more: true }))
        const cursors: string[] = []
        // Each page ends with its last event, so that the next one is asked for after that.
        const answers = pages.map(({ events, more }, i) => ({ events, cursor: events.at(-1)?.id ?? `c${i}`, more }))
        const read: string[] = []
        let code: unknown
        const { stream } = poll('api', async (after) => {
          cursors.push(after)
          return answers[cursors.length - 1] ?? { events: [], cursor: after, more: false }
        })
        try {
          for await (const batch of await stream('', { toHead: true })) {
            const before = cursors.at(-1)
            read.push(...batch.events.map(({ id }) => id))
            expect(new Set(batch.events.map(({ id }) => id)).size).toBe(batch.events.length)
            expect(batch.events.map(({ id }) => id)).not.toContain(before)
          }
        } catch (error) {
          code = (error as { code?: unknown }).code
          if (code === undefined) throw error
        }
        expect([undefined, 'SOURCE_CONTRACT']).toContain(code)
      }),
    )
  })

  test('a cursor beyond its head is an error where the head is known, not the end', async () => {
    const compare = (a: string, b: string): number => Number(a) - Number(b)
    const { stream } = poll('api', nothing, { head: async () => '5', compare })
    expect(await errorOf(stream('9', { toHead: true }))).toMatchObject({ code: 'CURSOR_AHEAD', reason: 'beyond' })
    await using open = reader(await stream('5', { toHead: true }))
    expect(await open.rest()).toEqual([])
  })
})

describe('an idle API', () => {
  test('is asked less and less often, until something comes', async () => {
    const clock = simulatedClock()
    const { log, asked, fetchPage } = pages()
    const { stream } = poll('pages', fetchPage, { intervalMs: 100, maxIntervalMs: 500, clock })
    await using open = reader(await stream('', {}))
    const reading = open.take(1)
    await clock.advance(100 + 200 + 400 + 500 + 500)
    expect(asked.length).toBe(6)
    log.append({ type: 1, foreignId: 'x' })
    await clock.advance(500)
    expect((await reading).length).toBe(1)
    const before = asked.length
    const next = open.take(1)
    await clock.advance(100)
    expect(asked.length).toBe(before + 1) // after the shortest wait again
    log.append({ type: 1, foreignId: 'x' })
    await clock.advance(200)
    expect((await next).length).toBe(1)
  })

  test('is not asked any more once the stream is closed, and no timer is left', async () => {
    const time = simulatedClock()
    let asleep = 0
    const sleep: Clock['sleep'] = (ms, signal) => {
      asleep++
      return time.sleep(ms, signal).finally(() => asleep--)
    }
    const clock = { ...time, sleep }
    const { asked, fetchPage } = pages()
    const open = reader(await poll('pages', fetchPage, { clock }).stream('', {}))
    const reading = errorOf(open.take(1))
    await turns()
    expect(asleep).toBe(1) // until it asks again
    await open[Symbol.asyncDispose]()
    await turns()
    expect(String(await reading)).toContain('the stream ended')
    expect(asleep).toBe(0)
    await clock.advance(60_000)
    expect(asked.length).toBe(1)
  })
})

describe('an abort', () => {
  test('ends the wait for a page, or for the next one, at once and with its reason; the request is told', async () => {
    let requested: AbortSignal | undefined
    const hangs: FetchPage = (_, { signal }) => {
      requested = signal
      return new Promise(() => {})
    }
    for (const fetchPage of [hangs, nothing]) {
      const controller = new AbortController()
      const reason = new Error('stop')
      const reading = errorOf(all(fetchPage, { clock: simulatedClock() }, { signal: controller.signal }))
      await turns()
      controller.abort(reason)
      expect(await within(reading, 5000, 'the end')).toBe(reason)
    }
    expect(requested?.aborted).toBe(true)
  })
})

describe('an error', () => {
  test('of a request ends the stream, with the name of the source; one with a code keeps it', async () => {
    const failing: FetchPage = async () => {
      throw new Error('502')
    }
    const error = await errorOf(all(failing))
    expect(error).toMatchObject({ code: 'POLL_FAILED', retriable: true })
    expect(String(error)).toContain('api: the page after "" failed: 502')
    const trimmed = new CursorTrimmedError('api', { cursor: '1' })
    expect(await errorOf(all(() => Promise.reject(trimmed)))).toBe(trimmed)
  })

  test('is it when an answer is late, and the request is told', async () => {
    const clock = simulatedClock()
    let requested: AbortSignal | undefined
    const reading = errorOf(
      all(
        (_, { signal }) => {
          requested = signal
          return new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('aborted'))))
        },
        { clock, timeoutMs: 3000 },
      ),
    )
    await clock.advance(3000)
    expect(await reading).toMatchObject({ code: 'POLL_FAILED', retriable: true })
    expect(String(await reading)).toContain('within 3000 ms')
    expect(requested?.aborted).toBe(true)
  })

  test('is it when the head, the backlog or a position by time is not told in time, or fails', async () => {
    for (const member of ['head', 'backlog', 'at'] as const) {
      const clock = simulatedClock()
      const hangs = (): Promise<never> => new Promise(() => {})
      const fails = (): Promise<never> => Promise.reject(new Error('502'))
      const call = (answer: () => Promise<never>): Promise<unknown> => {
        const source = poll('api', nothing, { [member]: answer, compare: () => 0, clock, timeoutMs: 3000 })
        if (member === 'at') return Promise.resolve(source.at?.(1))
        return Promise.resolve(member === 'head' ? source.head?.() : source.backlog?.('1'))
      }
      const late = errorOf(call(hangs))
      await clock.advance(3000)
      expect(await late).toMatchObject({ code: 'POLL_FAILED', retriable: true })
      expect(String(await errorOf(call(fails)))).toContain('failed: 502')
    }
  })

  const wrong: [string, unknown, string][] = [
    ['has more events than asked for', page(1, 4), 'expected at most 3 events, but found 4'],
    ['does not move on although it has events', { ...page(1, 2), cursor: '' }, 'a cursor that moves on'],
    ['does not move on although there is more', { events: [], cursor: '', more: true }, 'a cursor that moves on'],
    ['has no cursor', { events: [], more: false }, 'expected events, a cursor and more'],
  ]
  test.each(wrong)('is it when a page %s', async (_, given, message) => {
    const error = await errorOf(all(async () => given as Page, { limit: 3 }))
    expect(error).toMatchObject({ code: 'SOURCE_CONTRACT', retriable: false })
    expect(String(error)).toContain(message)
  })

  const compare = (a: string, b: string): number => Number(a) - Number(b)
  const backwards: [string, Page[], string][] = [
    ['goes back', [page(1, 5, true), page(3, 4, true)], 'expected a cursor that moves on, but 4 is before it'],
    ['goes back without an event', [page(1, 5, true), { events: [], cursor: '2', more: false }], 'but 2 is before it'],
    ['repeats what was given', [page(1, 5, true), page(5, 8)], 'expected an event after 5, but found 5'],
    [
      'is out of order',
      [{ events: [event(2), event(1)], cursor: '2', more: false }],
      'expected an event after 2, but found 1',
    ],
    [
      'has an event beyond its cursor',
      [{ ...page(1, 5), cursor: '4' }],
      'expected a cursor at or after the last event, 5, but found 4',
    ],
    [
      'is at the same place in other words',
      [page(1, 5, true), { events: [], cursor: '05', more: true }],
      'it is the same, with 0 events and more: true',
    ],
  ]
  test.each(backwards)('is it when a page %s, where cursors can be compared', async (_, given, message) => {
    const left = [...given]
    const error = await errorOf(all(async () => left.shift() as Page, { compare }))
    expect(error).toMatchObject({ code: 'SOURCE_CONTRACT', retriable: false })
    expect(String(error)).toContain(message)
  })

  test('is it when a page has an id that is no cursor', async () => {
    const numeric = (a: string, b: string): number => Number(BigInt(a) - BigInt(b))
    const given = [page(1, 2, true), { events: [{ ...event(3), id: 'x' }], cursor: '3', more: false }]
    const error = await errorOf(all(async () => given.shift() as Page, { compare: numeric }))
    expect(error).toMatchObject({ code: 'SOURCE_CONTRACT', retriable: false })
    expect(String(error)).toContain('expected cursors that can be compared')
  })

  test('is it wherever an API goes back, is out of order or repeats itself; every event is given once before, and in order', async () => {
    const step = fc.record({
      from: fc.integer({ min: -4, max: 4 }),
      count: fc.nat({ max: 3 }),
      cursor: fc.integer({ min: -4, max: 3 }),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 8 }), async (steps) => {
        let at = 0 // where the source has to be by now
        let isRight = true
        const expected: string[] = []
        const left = [...steps]
        const get: FetchPage = async (after) => {
          expect(after).toBe(at === 0 ? '' : String(at))
          const next = left.shift()
          if (next === undefined) return { events: [], cursor: after, more: false }
          const first = Math.max(1, at + 1 + next.from)
          const events = Array.from({ length: next.count }, (_, i) => event(first + i))
          const last = next.count === 0 ? at : first + next.count - 1
          const cursor = Math.max(1, last + next.cursor)
          const isOn = next.count === 0 ? cursor > at : first > at && cursor >= last
          if (!isOn) isRight = false
          else {
            expected.push(...events.map(({ id }) => id))
            at = cursor
          }
          return { events, cursor: String(cursor), more: true }
        }
        const given: string[] = []
        let error: unknown
        try {
          await using stream = await poll('api', get, { compare }).stream('', { toHead: true })
          for await (const { events } of stream) given.push(...events.map(({ id }) => id))
        } catch (thrown) {
          error = thrown
        }
        expect(given).toEqual(expected)
        if (isRight) expect(error).toBe(undefined)
        else expect(error).toMatchObject({ code: 'SOURCE_CONTRACT' })
      }),
      { numRuns: 300 },
    )
  })

  test.each([
    ['no page', undefined, 'expected events, a cursor and more'],
    ['no event', { events: [null], cursor: '1', more: false }, 'an id that is a string'],
    [
      'an id that is a number',
      { events: [{ ...event(1), id: 1 }], cursor: '1', more: false },
      'an id that is a string',
    ],
  ])('is %s for a page', async (_what, page, expected) => {
    const error = await errorOf(
      (async () => {
        await using stream = await poll('api', async () => page as unknown as Page, { compare }).stream('', {
          toHead: true,
        })
        for await (const _ of stream);
      })(),
    )
    expect(error).toMatchObject({ code: 'SOURCE_CONTRACT' })
    expect(String(error)).toContain(expected)
  })

  test('are cursors that compare finds no order for: they are not the head', async () => {
    const source = poll('api', nothing, { compare, head: async () => '10' })
    const reading = async (): Promise<void> => {
      await using stream = await source.stream('5@x', { toHead: true })
      for await (const _ of stream);
    }
    expect(await errorOf(reading())).toMatchObject({ code: 'SOURCE_CONTRACT' })
  })

  test('are its options those of a class: its methods are called as such', async () => {
    class Api {
      readonly #head = '5'
      async head(): Promise<string> {
        return this.#head
      }
      compare(a: string, b: string): number {
        return Number(a) - Number(b) + 0 * this.#head.length
      }
    }
    const source = poll('api', async () => ({ events: [], cursor: '5', more: false }), new Api())
    await using stream = await source.stream('1', { toHead: true })
    for await (const { cursor } of stream) expect(cursor).toBe('5')
    expect([await source.head?.(), source.compare?.('1', '2')]).toEqual(['5', -1])
  })

  test('is it to ask for what cannot be honoured', async () => {
    expect(await errorOf(poll('api', nothing).stream('', { fromHead: true }))).toMatchObject({ code: 'OPTION_INVALID' })
    expect(() => poll('api', nothing, { head: async () => '1' })).toThrow('head needs compare')
    expect(() => poll('api', nothing, { intervalMs: 50, maxIntervalMs: 49 })).toThrow(
      'maxIntervalMs must be intervalMs',
    )
    for (const option of ['limit', 'intervalMs', 'maxIntervalMs', 'timeoutMs'])
      expect(() => poll('api', nothing, { [option]: 0 })).toThrow(`${option} must be`)
  })
})

test('events of other types move the cursor of a run over them', async () => {
  const cursors = memoryCursors()
  const given = [page(1, 3, true), page(4, 4)]
  const handled: string[] = []
  const { stream } = poll('api', async () => given.shift() as Page)
  const consumer = { name: 'c', types: [1], handle: ({ id }: Event) => void handled.push(id) }
  await run({ stream, cursors, consumer }, { toHead: true })
  expect(handled).toEqual(['1', '3'])
  expect(await cursors.get('c')).toBe('4')
})

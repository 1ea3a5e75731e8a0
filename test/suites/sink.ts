import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { codeOf, ReflexError } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import type { Checkpoint, Sink, SinkWriter } from '../../src/core/sink.ts'
import { wireNames } from '../../src/core/wire.ts'
import { arbitraryEvent, comparable, type Fidelity } from './arbitrary-event.ts'
import { errorOf, within } from './reader.ts'

/** A fresh, empty destination and what can be done to it. What is left out is skipped, and reported as skipped. */
export interface SinkFixture extends AsyncDisposable {
  readonly sink: Sink
  /** A second writer of the same destination, as another process would make it; ends with the fixture. */
  another(): Promise<Sink>
  /** All events of the destination in order, with the headers of the wire. */
  read(): Promise<readonly Event[]>
  /** The destination loses its last `count` events, as a broker does that is restored from an older copy. */
  loseTail?(count: number): Promise<void>
  /** The destination loses everything. */
  wipe?(): Promise<void>
  /** The destination answers every append with an error (read-only, quota, no permission) until this is disposed of. */
  refuse?(): Promise<AsyncDisposable>
}

/** What differs between sinks. */
export interface SinkSuiteOptions extends Fidelity {
  /** Whether a crash between append and checkpoint leaves no duplicate. False: at-least-once, none is lost. Default: true. */
  readonly effectivelyOnce?: boolean | undefined
  /** When an older writer is fenced off: once a newer one has opened, or once that has appended. Default: `at open`. */
  readonly fences?: 'at open' | 'at append' | 'never' | undefined
}

const SOURCE = 'shop.events'

/** Registers the tests that every sink passes; `create` is called once per test. */
export function sinkSuite(name: string, create: () => Promise<SinkFixture>, options: SinkSuiteOptions = {}): void {
  const { effectivelyOnce = true, fences = 'at open' } = options

  async function fixture(): Promise<
    SinkFixture & { open(saved?: Checkpoint, sink?: Sink): Promise<SinkWriter>; route: string }
  > {
    const made = await create()
    onTestFinished(() => made[Symbol.asyncDispose]())
    const route = `route-${Math.random().toString(36).slice(2)}`
    const open = async (saved?: Checkpoint, sink = made.sink): Promise<SinkWriter> => {
      const writer = await within(sink.open({ route, source: SOURCE, saved }), 10_000, 'opening')
      onTestFinished(() => writer[Symbol.asyncDispose]())
      return writer
    }
    return { ...made, [Symbol.asyncDispose]: () => made[Symbol.asyncDispose](), route, open }
  }

  /** What a pump does: reads the source, which holds `events`, from `resumeFrom` up to `end`, and appends it. */
  async function pump(
    writer: SinkWriter,
    events: readonly Event[],
    end = events.length,
    batch = 3,
  ): Promise<Checkpoint | undefined> {
    let at = indexAfter(events, writer.resumeFrom)
    let saved: Checkpoint | undefined
    while (at < end) {
      const part = events.slice(at, Math.min(at + batch, end))
      at += part.length
      const cursor = part.at(-1)?.id as string
      saved = { cursor, mark: await writer.append(part, cursor) }
    }
    return saved
  }
  const sourceIds = async (from: SinkFixture): Promise<unknown[]> =>
    (await from.read()).map(({ headers }) => headers[wireNames.sourceId])
  const idsOf = (events: readonly Event[]): string[] => events.map(({ id }) => id)

  /** Each once, in order. A sink that is at-least-once may repeat, but after the repetition goes on from there. */
  async function expectAll(from: SinkFixture, events: readonly Event[]): Promise<void> {
    const found = await sourceIds(from)
    if (effectivelyOnce) expect(found).toEqual(idsOf(events))
    else expect([...new Set(found)]).toEqual(idsOf(events))
  }

  describe(`sink ${name}`, () => {
    test('appends in order, with the name of the source and the id there as headers', async () => {
      const destination = await fixture()
      const writer = await destination.open()
      expect(writer.resumeFrom).toBe('')
      expect(writer.repair).toBeUndefined()
      const events = numberedEvents(10)
      await pump(writer, events)
      const read = await destination.read()
      expect(read.map(comparable)).toEqual(events.map(comparable))
      expect(read.map(({ headers }) => headers[wireNames.source])).toEqual(events.map(() => SOURCE))
      await expectAll(destination, events)
      expect(new Set(idsOf(read)).size).toBe(10)
    })

    test('every event is read as it was appended, but for its id', async () => {
      const destination = await fixture()
      const writer = await destination.open()
      const sent: Event[] = []
      await fc.assert(
        fc.asyncProperty(fc.array(arbitraryEvent(options), { minLength: 1, maxLength: 10 }), async (bodies) => {
          const events = bodies.map((body, i) => ({ ...body, id: String(sent.length + i + 1) }))
          const before = sent.length
          sent.push(...events)
          await writer.append(events, String(sent.length))
          expect((await destination.read()).slice(before).map(comparable)).toEqual(events.map(comparable))
        }),
        { numRuns: 20, endOnFailure: true },
      )
      await expectAll(destination, sent)
    })

    test('an event that came over another bridge gets this source and this id', async () => {
      const destination = await fixture()
      const writer = await destination.open()
      const headers = { [wireNames.source]: 'elsewhere', [wireNames.sourceId]: '99' }
      await writer.append(
        [{ ...(numberedEvents(1)[0] as Event), headers: options.headers === 'none' ? {} : headers }],
        '1',
      )
      const [read] = await destination.read()
      expect(read?.headers).toMatchObject({ [wireNames.source]: SOURCE, [wireNames.sourceId]: '1' })
    })

    test('opened again with what was saved, it resumes there and has nothing to repair', async () => {
      const destination = await fixture()
      const events = numberedEvents(12)
      let saved: Checkpoint | undefined
      for (const end of [4, 8, 12]) {
        await using writer = await destination.open(saved)
        expect(writer.resumeFrom).toBe(saved?.cursor ?? '')
        expect(writer.repair).toBeUndefined()
        saved = await pump(writer, events, end)
      }
      await expectAll(destination, events)
    })

    test('an empty batch moves the cursor and appends nothing', async () => {
      const destination = await fixture()
      const events = numberedEvents(6)
      const first = await destination.open()
      const empty = { cursor: '2', mark: await first.append([], '2') }
      expect(await destination.read()).toEqual([])
      await first[Symbol.asyncDispose]()
      const second = await destination.open(empty)
      expect(second.resumeFrom).toBe('2')
      await second.append(events.slice(2, 4), '4')
      const moved = { cursor: '5', mark: await second.append([], '5') }
      await second[Symbol.asyncDispose]()
      const third = await destination.open(moved)
      expect(third.resumeFrom).toBe('5')
      expect(third.repair).toBeUndefined()
      await third.append(events.slice(5), '6')
      expect(await sourceIds(destination)).toEqual(['3', '4', '6'])
    })

    test('after any crashes between append and checkpoint, every event is there, once and in order', async () => {
      const steps = fc.array(
        fc.record({ size: fc.integer({ min: 0, max: 4 }), save: fc.boolean(), crash: fc.boolean() }),
        { minLength: 1, maxLength: 8 },
      )
      await fc.assert(
        fc.asyncProperty(steps, async (schedule) => {
          const destination = await fixture()
          const events = numberedEvents(schedule.reduce((sum, { size }) => sum + size, 0) + 2)
          let saved: Checkpoint | undefined
          let writer = await destination.open()
          let at = 0
          for (const { size, save, crash } of schedule) {
            const part = events.slice(at, at + size)
            at += part.length
            const cursor = part.at(-1)?.id ?? events[at - 1]?.id
            if (cursor !== undefined) {
              const mark = await writer.append(part, cursor)
              if (save) saved = { cursor, mark }
            }
            if (!crash) continue
            await writer[Symbol.asyncDispose]()
            writer = await destination.open(saved)
            expect(indexAfter(events, writer.resumeFrom)).toBeGreaterThanOrEqual(
              indexAfter(events, saved?.cursor ?? ''),
            )
            if (effectivelyOnce) expect(indexAfter(events, writer.resumeFrom)).toBeLessThanOrEqual(at)
            at = indexAfter(events, writer.resumeFrom)
          }
          await writer[Symbol.asyncDispose]()
          await pump(await destination.open(saved), events)
          await expectAll(destination, events)
        }),
        { numRuns: 8 },
      )
    })

    describe.skipIf(fences === 'never')('two writers', () => {
      test.skipIf(fences !== 'at open')(
        'the older one is fenced as soon as the other has opened, and appends nothing more',
        async () => {
          const destination = await fixture()
          const events = numberedEvents(9)
          const older = await destination.open()
          const saved = await pump(older, events, 3)
          const newer = await destination.open(saved, await destination.another())
          expect(codeOf(await errorOf(older.append(events.slice(3, 6), '6')))).toBe('FENCED')
          expect(codeOf(await errorOf(older.append([], '6')))).toBe('FENCED')
          expect(await sourceIds(destination)).toEqual(['1', '2', '3'])
          const next = await pump(newer, events, 6)
          expect(codeOf(await errorOf(older.append(events.slice(3, 6), '6')))).toBe('FENCED')
          const again = await destination.open(next)
          expect(again.resumeFrom).toBe('6')
          expect(codeOf(await errorOf(newer.append(events.slice(6), '9')))).toBe('FENCED')
          await pump(again, events)
          await expectAll(destination, events)
        },
      )

      test.skipIf(fences !== 'at append')(
        'the older one is fenced as soon as the other has appended, and appends nothing more',
        async () => {
          const destination = await fixture()
          const events = numberedEvents(9)
          const older = await destination.open()
          const idle = await destination.open()
          const saved = await pump(older, events, 3)
          expect(codeOf(await errorOf(idle.append([], '')))).toBe('FENCED')
          const newer = await destination.open(saved, await destination.another())
          const next = await pump(newer, events, 6)
          expect(codeOf(await errorOf(older.append(events.slice(3, 6), '6')))).toBe('FENCED')
          expect(codeOf(await errorOf(older.append([], '6')))).toBe('FENCED')
          expect(await sourceIds(destination)).toEqual(idsOf(events.slice(0, 6)))
          const again = await destination.open(next)
          expect(again.resumeFrom).toBe('6')
          await pump(again, events)
          expect(codeOf(await errorOf(newer.append([], '6')))).toBe('FENCED')
          await expectAll(destination, events)
        },
      )

      test('that append and take over at the same time lose and repeat nothing', async () => {
        const destination = await fixture()
        const sinks = [destination.sink, await destination.another()]
        const events = numberedEvents(12)
        let saved: Checkpoint | undefined
        for (let round = 0; round < 4; round++) {
          const outcomes = await Promise.allSettled(
            sinks.map(async (sink) => {
              const writer = await destination.open(saved, sink)
              return pump(writer, events, Math.min(indexAfter(events, writer.resumeFrom) + 3, events.length), 2)
            }),
          )
          for (const outcome of outcomes) {
            if (outcome.status === 'fulfilled') saved = later(saved, outcome.value)
            else expect(codeOf(outcome.reason)).toBeDefined()
          }
        }
        await pump(await destination.open(saved), events)
        await expectAll(destination, events)
      })
    })

    test('a lost tail is refilled, and says so', async ({ skip }) => {
      const destination = await fixture()
      if (destination.loseTail === undefined) skip('cannot lose its tail')
      const events = numberedEvents(10)
      const writer = await destination.open()
      const saved = await pump(writer, events, 8)
      await writer[Symbol.asyncDispose]()
      await destination.loseTail?.(3)
      expect(await sourceIds(destination)).toEqual(idsOf(events.slice(0, 5)))
      const again = await destination.open(saved)
      expect(again.repair).toMatch(/\S/)
      await pump(again, events)
      await expectAll(destination, events)
    })

    test('a destination that lost everything is refilled and says so, or is refused', async ({ skip }) => {
      const destination = await fixture()
      if (destination.wipe === undefined) skip('cannot be wiped')
      const events = numberedEvents(7)
      const writer = await destination.open()
      const saved = await pump(writer, events, 5)
      await writer[Symbol.asyncDispose]()
      await destination.wipe?.()
      const outcome = await destination.open(saved).catch((error: unknown) => error)
      if (outcome instanceof Error) {
        expect(outcome).toBeInstanceOf(ReflexError)
        return
      }
      const again = outcome as SinkWriter
      expect(again.repair).toMatch(/\S/)
      await pump(again, events)
      await expectAll(destination, events)
    })

    test('a batch with an event that cannot be written appends nothing', async () => {
      const destination = await fixture()
      const events = numberedEvents(6)
      const writer = await destination.open()
      const saved = await pump(writer, events, 2)
      const broken = events.slice(2, 5).map((event, i) => (i === 1 ? { ...event, foreignId: 'a\ud800b' } : event))
      expect(codeOf(await errorOf(writer.append(broken, '5')))).toBe('EVENT_UNENCODABLE')
      expect(await sourceIds(destination)).toEqual(['1', '2'])
      await writer[Symbol.asyncDispose]()
      const again = await destination.open(saved)
      expect(again.resumeFrom).toBe('2')
      await pump(again, events)
      await expectAll(destination, events)
    })

    test('an error reply appends nothing and moves nothing', async ({ skip }) => {
      const destination = await fixture()
      if (destination.refuse === undefined) skip('cannot be made to refuse')
      const events = numberedEvents(6)
      const writer = await destination.open()
      const saved = await pump(writer, events, 2)
      {
        await using _refusing = await destination.refuse?.()
        expect(await errorOf(writer.append(events.slice(2, 4), '4'))).toBeInstanceOf(Error)
        expect(await errorOf(writer.append([], '4'))).toBeInstanceOf(Error)
      }
      expect(await sourceIds(destination)).toEqual(['1', '2'])
      await writer[Symbol.asyncDispose]()
      const again = await destination.open(saved)
      expect(again.resumeFrom).toBe('2')
      await pump(again, events)
      await expectAll(destination, events)
    })

    test('a writer is closed any number of times, used or not; an open whose signal has aborted rejects with the reason', async () => {
      const destination = await fixture()
      const writer = await destination.open()
      await within(Promise.all([writer[Symbol.asyncDispose](), writer[Symbol.asyncDispose]()]), 5000, 'the close')
      await writer[Symbol.asyncDispose]()
      const reason = new Error('enough')
      const { sink, route } = destination
      expect(await errorOf(sink.open({ route, source: SOURCE, signal: AbortSignal.abort(reason) }))).toBe(reason)
      const events = numberedEvents(2)
      await pump(await destination.open(), events)
      await expectAll(destination, events)
    })
  })
}

/** The events of a source whose ids are 1, 2, … */
function numberedEvents(count: number): Event[] {
  return Array.from({ length: count }, (_, i) => ({
    id: String(i + 1),
    type: (i % 3) + 1,
    foreignId: `e${i % 4}`,
    timestamp: 1_767_225_600_000 + i * 1000 + 0.125,
    metadata: Buffer.from(`payload ${i}`),
    headers: {},
  }))
}

/** How many of the events a cursor of theirs covers. */
function indexAfter(events: readonly Event[], cursor: string): number {
  return cursor === '' ? 0 : events.findIndex(({ id }) => id === cursor) + 1
}

function later(a: Checkpoint | undefined, b: Checkpoint | undefined): Checkpoint | undefined {
  if (a === undefined || b === undefined) return a ?? b
  return BigInt(b.cursor) > BigInt(a.cursor) ? b : a
}

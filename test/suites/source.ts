import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { codeOf } from '../../src/core/errors.ts'
import type { Cursor, Event, NewEvent } from '../../src/core/event.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { run } from '../../src/core/run.ts'
import type { EventStream, Source, StreamOptions } from '../../src/core/stream.ts'
import { arbitraryEvent, comparable, type Fidelity } from './arbitrary-event.ts'
import { errorOf, eventually, type Reader, reader, within } from './reader.ts'

/** A fresh, empty log and what can be done to it. What is left out is skipped, and reported as skipped. */
export interface SourceFixture extends AsyncDisposable {
  readonly source: Source
  /** Appends in order; resolves, with the ids in order, once every event is readable. Works again after a restart of the server. */
  append(events: readonly NewEvent[]): Promise<readonly string[]>
  /** Retention: everything before `id` goes. */
  trim?(id: string): Promise<void>
  /** One entry goes, out of the middle. */
  remove?(id: string): Promise<void>
  /** The log is deleted and made again under the same name, empty. */
  recreate?(): Promise<void>
  /** Everything after `id` is lost, as on a server that was restored from an older copy. */
  rewind?(id: string): Promise<void>
  /** Only of a fixture that has a server to itself. */
  readonly server?: ServerFaults | undefined
  /** How many connections of `source` the server counts now; those of the fixture itself may be among them. */
  sockets?(): Promise<number>
  /** Cursors that are not of this log. */
  readonly malformed: readonly Cursor[]
}

/** Faults of a server that the fixture started; a `ServerProcess` is one. */
export interface ServerFaults {
  kill(): Promise<void>
  freeze(): void
  thaw(): void
  start(): Promise<void>
}

/** Makes a fixture; `batchSize` is the most events a batch may have. */
export type CreateSource = (options: { readonly batchSize?: number }) => Promise<SourceFixture>

/** What differs between logs. */
export interface SourceSuiteOptions extends Fidelity {
  /** Stream options that this source refuses with an `OptionError`. Default: none. */
  readonly refuses?: readonly ('toHead' | 'fromHead' | 'types')[] | undefined
  /** Makes a fixture with a server to itself, for the tests that kill and freeze it. Default: they are skipped. */
  readonly withServer?: CreateSource | undefined
}

/** A dead or frozen peer is noticed within this (rule 3). */
const NOTICE_MS = 5000
/** Our own waiting after an abort (rule 6). */
const ABORT_MS = 50

/** Registers the tests that every source passes; `create` is called once per test. */
export function sourceSuite(name: string, create: CreateSource, options: SourceSuiteOptions = {}): void {
  const { refuses = [], withServer } = options

  /** A fixture that ends with the test. */
  async function fixture(o: { batchSize?: number } = {}, make: CreateSource = create): Promise<SourceFixture> {
    const made = await make(o)
    onTestFinished(() => made[Symbol.asyncDispose]())
    return made
  }
  async function open({ source }: SourceFixture, after: Cursor, o: StreamOptions = {}): Promise<Reader> {
    const opened = reader(await within(source.stream(after, o), 10_000, 'opening'), after)
    onTestFinished(() => opened[Symbol.asyncDispose]())
    return opened
  }
  /** All events after a cursor, and the position after them. */
  async function readAll(
    { source }: SourceFixture,
    after: Cursor,
    o: StreamOptions = {},
  ): Promise<{ events: Event[]; cursor: Cursor }> {
    await using all = reader(await source.stream(after, { ...o, toHead: true }), after)
    return { events: await all.rest(), cursor: all.cursor }
  }
  const ids = (events: readonly Event[]): string[] => events.map(({ id }) => id)

  describe(`source ${name}`, () => {
    describe('reading', () => {
      test('"" yields every event from the earliest, in the order of the log, with the ids they were given', async () => {
        const log = await fixture({ batchSize: 7 })
        const appended = await log.append(numbered(50))
        const { events } = await readAll(log, '')
        expect(events.map(({ foreignId }) => foreignId)).toEqual(numbered(50).map(({ foreignId }) => foreignId))
        expect(ids(events)).toEqual(appended)
        expect(new Set(appended).size).toBe(50)
      })

      test('a batch has no more events than batchSize, and its cursor is a position after its last event', async () => {
        const log = await fixture({ batchSize: 4 })
        const appended = await log.append(numbered(10))
        await using stream = await log.source.stream('', { toHead: true })
        let seen = 0
        const cursors: [Cursor, number][] = []
        for await (const { events, cursor } of stream) {
          expect(events.length).toBeLessThanOrEqual(4)
          seen += events.length
          cursors.push([cursor, seen])
        }
        for (const [cursor, before] of cursors)
          expect(ids((await readAll(log, cursor)).events)).toEqual(appended.slice(before))
      })

      test('resuming is exclusive at every event, by its id', async () => {
        const log = await fixture({ batchSize: 3 })
        const appended = await log.append(numbered(8))
        for (const [index, id] of appended.entries())
          expect(ids((await readAll(log, id)).events)).toEqual(appended.slice(index + 1))
      })

      test('any split of the reading, at any cursors, is one full read', async () => {
        const log = await fixture({ batchSize: 5 })
        const appended = await log.append(numbered(24))
        const cuts = fc.array(fc.integer({ min: 0, max: 24 }), { maxLength: 6 })
        await fc.assert(
          fc.asyncProperty(cuts, async (unsorted) => {
            const read: string[] = []
            let cursor = ''
            for (const cut of unsorted.toSorted((a, b) => a - b)) {
              await using part = reader(await log.source.stream(cursor, {}), cursor)
              read.push(...ids(await part.take(cut - read.length)))
              cursor = part.cursor
            }
            read.push(...ids((await readAll(log, cursor)).events))
            expect(read).toEqual(appended)
          }),
          { numRuns: 12 },
        )
      })

      test('the same event has the same id on every read', async () => {
        const log = await fixture({ batchSize: 6 })
        await log.append(numbered(20))
        const first = await readAll(log, '')
        await log.append(numbered(3))
        const again = await readAll(log, '')
        expect(ids(again.events).slice(0, 20)).toEqual(ids(first.events))
      })

      test('readers at different positions are independent', async () => {
        const log = await fixture({ batchSize: 2 })
        const appended = await log.append(numbered(9))
        const slow = await open(log, '')
        const middle = await open(log, appended[3] as string)
        const head = await open(log, appended[8] as string)
        const waiting = head.take(1)
        expect(ids(await slow.take(2))).toEqual(appended.slice(0, 2))
        expect(ids(await middle.take(5))).toEqual(appended.slice(4))
        await middle[Symbol.asyncDispose]()
        const [added] = await log.append(numbered(1))
        expect(ids(await waiting)).toEqual([added])
        expect(ids(await slow.take(8))).toEqual([...appended.slice(2), added])
      })

      test('an idle stream waits, and delivers what is appended later', async () => {
        const log = await fixture()
        const idle = await open(log, '')
        for (let round = 0; round < 3; round++) {
          const waiting = idle.take(2)
          const appended = await log.append(numbered(2))
          expect(ids(await within(waiting, NOTICE_MS, 'the delivery of what was appended'))).toEqual(appended)
        }
      })

      test('every event comes back as it was appended', async () => {
        const log = await fixture()
        const sent: NewEvent[] = []
        await fc.assert(
          fc.asyncProperty(fc.array(arbitraryEvent(options), { minLength: 1, maxLength: 10 }), async (events) => {
            const last = sent.length
            sent.push(...events)
            const appended = await log.append(events)
            const { events: read } = await readAll(log, '')
            expect(read.slice(last).map(comparable)).toEqual(events.map(comparable))
            expect(ids(read).slice(last)).toEqual(appended)
          }),
          { numRuns: 20, endOnFailure: true }, // the log has grown: a smaller example would be read after it
        )
        expect((await readAll(log, '')).events.map(comparable)).toEqual(sent.map(comparable))
      })

      test('payloads of every byte, none and 100 kB survive', async () => {
        const log = await fixture()
        const bytes = Uint8Array.from({ length: 256 }, (_, i) => i)
        const large = Uint8Array.from({ length: 100_000 }, (_, i) => (i * 31) % 251)
        const payloads = [bytes, large, ...(options.nulls === false ? [] : [new Uint8Array(0), null])]
        await log.append(payloads.map((metadata) => ({ type: 1, foreignId: 'x', metadata })))
        const { events } = await readAll(log, '')
        expect(events.map(({ metadata }) => metadata && Buffer.from(metadata).toString('hex'))).toEqual(
          payloads.map((metadata) => metadata && Buffer.from(metadata).toString('hex')),
        )
      })
    })

    describe.skipIf(refuses.includes('toHead'))('toHead', () => {
      test('ends at once on an empty log, and at its end on another', async () => {
        const log = await fixture({ batchSize: 3 })
        expect((await readAll(log, '')).events).toEqual([])
        const appended = await log.append(numbered(6))
        const first = await readAll(log, '')
        expect(ids(first.events)).toEqual(appended)
        expect((await readAll(log, first.cursor)).events).toEqual([])
        const more = await log.append(numbered(4))
        expect(ids((await readAll(log, first.cursor)).events)).toEqual(more)
      })

      test('ends at the head of the moment it was opened, whatever is appended since', async () => {
        const log = await fixture({ batchSize: 4 })
        const appended = await log.append(numbered(6))
        const stream = await open(log, '', { toHead: true })
        const empty = await open(log, appended[5] as string, { toHead: true })
        const late = await log.append(numbered(5))
        expect(ids(await stream.rest())).toEqual(appended)
        expect(await empty.rest()).toEqual([])
        expect(ids((await readAll(log, stream.cursor)).events)).toEqual(late)
      })

      test.skipIf(refuses.includes('types'))('reaches the head over trailing events of other types', async () => {
        const log = await fixture({ batchSize: 3 })
        const appended = await log.append([...numbered(2), ...numbered(7, { type: 2 })])
        const { events, cursor } = await readAll(log, '', { types: [1] })
        expect(ids(events)).toEqual(appended.slice(0, 2))
        expect((await readAll(log, cursor)).events).toEqual([])
        const nothing = await readAll(log, '', { types: [3] })
        expect(nothing.events).toEqual([])
        expect((await readAll(log, nothing.cursor)).events).toEqual([])
      })
    })

    describe.skipIf(refuses.includes('fromHead'))('fromHead', () => {
      for (const count of [0, 5]) {
        test(`pins the head of a log with ${count} events in a first, empty batch`, async () => {
          const log = await fixture({ batchSize: 2 })
          await log.append(numbered(count))
          const stream = await open(log, '', { fromHead: true })
          const between = await log.append(numbered(3)) // between open and the first read
          const first = await stream.batch()
          expect(first.events).toEqual([])
          expect(first.cursor).not.toBe('')
          const pinned = stream.cursor
          expect(ids(await stream.take(3))).toEqual(between)
          expect(ids((await readAll(log, pinned)).events)).toEqual(between) // a restart before the first event skips nothing
          const later = await log.append(numbered(1))
          expect(ids(await stream.take(1))).toEqual(later)
        })
      }

      test('is refused together with a cursor', async () => {
        const log = await fixture()
        const [id] = await log.append(numbered(2))
        expect(codeOf(await errorOf(log.source.stream(id as string, { fromHead: true })))).toBe('OPTION_INVALID')
      })

      test.skipIf(refuses.includes('toHead'))('with toHead ends after the pinned position', async () => {
        const log = await fixture()
        await log.append(numbered(3))
        const stream = await open(log, '', { fromHead: true, toHead: true })
        await log.append(numbered(2))
        expect(await stream.rest()).toEqual([])
        expect((await readAll(log, stream.cursor)).events).toHaveLength(2)
      })
    })

    describe.skipIf(refuses.includes('types'))('types', () => {
      test('only these come, and the cursor moves over the others', async () => {
        const log = await fixture({ batchSize: 4 })
        const appended = await log.append(numbered(20).map((event, i) => ({ ...event, type: i % 3 })))
        expect(ids((await readAll(log, '', { types: [0, 2] })).events)).toEqual(appended.filter((_, i) => i % 3 !== 1))
        expect(ids((await readAll(log, appended[4] as string, { types: [1] })).events)).toEqual(
          appended.filter((_, i) => i > 4 && i % 3 === 1),
        )
      })

      test('an idle stream moves its cursor over events of other types', async () => {
        const log = await fixture()
        const stream = await open(log, '', { types: [1] })
        await log.append(numbered(6, { type: 2 }))
        for (;;) {
          expect((await stream.batch()).events).toEqual([])
          if ((await readAll(log, stream.cursor)).events.length === 0) break
        }
        const later = await log.append(numbered(1))
        expect(ids(await stream.take(1))).toEqual(later)
      })

      test('that are not integers are refused', async () => {
        const log = await fixture()
        expect(codeOf(await errorOf(log.source.stream('', { types: [1.5] })))).toBe('OPTION_INVALID')
      })
    })

    for (const option of refuses) {
      test(`${option} is refused, not ignored`, async () => {
        const log = await fixture()
        const value = option === 'types' ? [1] : true
        expect(codeOf(await errorOf(log.source.stream('', { [option]: value })))).toBe('OPTION_INVALID')
      })
    }

    describe('cursors that cannot be honoured', () => {
      test('malformed ones are errors that name the cursor', async () => {
        const log = await fixture()
        await log.append(numbered(2))
        for (const cursor of log.malformed) {
          const error = await errorOf(log.source.stream(cursor, {}), NOTICE_MS, `refusing ${JSON.stringify(cursor)}`)
          expect(codeOf(error)).toBe('CURSOR_INVALID')
          expect((error as { cursor?: string }).cursor).toBe(cursor)
        }
      })

      test('a trimmed one is an error on open; "" and what is left are not', async ({ skip }) => {
        const log = await fixture()
        if (log.trim === undefined) skip('no retention')
        const appended = await log.append(numbered(10))
        const early = await open(log, '') // opened before the trim, not read yet
        await log.trim?.(appended[5] as string)
        for (const cursor of appended.slice(0, 4)) {
          const error = await errorOf(log.source.stream(cursor, {}))
          expect(codeOf(error)).toBe('CURSOR_TRIMMED')
        }
        const atTheEdge = await log.source.stream(appended[4] as string, { toHead: true }).then(
          async (stream) => ids(await reader(stream).rest()),
          (error: unknown) => codeOf(error),
        )
        expect([appended.slice(5), 'CURSOR_TRIMMED']).toContainEqual(atTheEdge) // a log may not be able to prove it
        for (const index of [5, 6, 9])
          expect(ids((await readAll(log, appended[index] as string)).events)).toEqual(appended.slice(index + 1))
        expect(ids((await readAll(log, '')).events)).toEqual(appended.slice(5))
        const [first] = await early.take(1)
        expect([appended[0], appended[5]]).toContain(first?.id) // "" is never trimmed
      })

      test('trimmed under a slow reader, it is an error and never a jump', async ({ skip }) => {
        const log = await fixture({ batchSize: 2 })
        if (log.trim === undefined) skip('no retention')
        const appended = await log.append(numbered(200))
        const slow = await open(log, '')
        const read = ids(await slow.take(2))
        await log.trim?.(appended[199] as string)
        const outcome = await drain(slow, read, 200)
        expect(read).toEqual(appended.slice(0, read.length))
        if (read.length < 200) expect(codeOf(outcome)).toBe('CURSOR_TRIMMED')
      })

      test('one entry out of the middle is passed over', async ({ skip }) => {
        const log = await fixture({ batchSize: 2 })
        if (log.remove === undefined) skip('no single removal')
        const appended = await log.append(numbered(7))
        await log.remove?.(appended[3] as string)
        const left = appended.filter((_, i) => i !== 3)
        expect(ids((await readAll(log, '')).events)).toEqual(left)
        expect(ids((await readAll(log, appended[2] as string)).events)).toEqual(appended.slice(4))
        const atTheHole = await log.source.stream(appended[3] as string, { toHead: true }).then(
          async (stream) => ids(await reader(stream).rest()),
          (error: unknown) => codeOf(error),
        )
        expect([appended.slice(4), 'CURSOR_TRIMMED']).toContainEqual(atTheHole)
      })

      test('one beyond the end is an error on open', async ({ skip }) => {
        const log = await fixture()
        if (log.rewind === undefined) skip('cannot lose its tail')
        const appended = await log.append(numbered(10))
        const { cursor } = await readAll(log, '')
        await log.rewind?.(appended[4] as string)
        for (const each of [cursor, appended[9] as string, appended[5] as string]) {
          const error = await errorOf(log.source.stream(each, {}))
          expect(codeOf(error)).toBe('CURSOR_AHEAD')
          expect((error as { reason?: string }).reason).toBe('beyond')
        }
        expect((await readAll(log, appended[4] as string)).events).toEqual([])
      })

      test('a log that loses its tail under a reader is an error, never another event at the same position', async ({
        skip,
      }) => {
        const log = await fixture()
        if (log.rewind === undefined) skip('cannot lose its tail')
        const appended = await log.append(numbered(10))
        const stream = await open(log, '')
        await stream.take(10)
        const waiting = stream.take(1)
        waiting.catch(() => {}) // seen below; it may fail before the fault is over
        await log.rewind?.(appended[4] as string)
        await log.append(numbered(2, { offset: 100 }))
        expect(codeOf(await errorOf(waiting, NOTICE_MS, 'noticing the lost tail'))).toMatch(/^CURSOR_(AHEAD|TRIMMED)$/)
      })

      test('a log that loses its tail under a reader that goes to its head does not keep it waiting', async ({
        skip,
      }) => {
        const log = await fixture({ batchSize: 2 })
        if (log.rewind === undefined) skip('cannot lose its tail')
        const appended = await log.append(numbered(10))
        const stream = await open(log, '', { toHead: true })
        const read = ids(await stream.take(2))
        await log.rewind?.(appended[4] as string)
        const outcome = await within(
          stream.rest().then(ids, (error: unknown) => codeOf(error)),
          NOTICE_MS,
          'the end',
        )
        // An error, what was left, or what had been read ahead: no other event, and no endless wait.
        if (typeof outcome === 'string') expect(outcome).toMatch(/^CURSOR_(AHEAD|TRIMMED)$/)
        else expect([...read, ...(outcome ?? [])]).toEqual(appended.slice(0, 2 + (outcome?.length ?? 0)))
      })

      test('one of an earlier log of the same name is an error', async ({ skip }) => {
        const log = await fixture()
        if (log.recreate === undefined) skip('cannot be recreated')
        await log.append(numbered(5))
        await using before = await log.source.stream('', {})
        const { cursor } = await readAll(log, '')
        await log.recreate?.()
        expect(codeOf(await errorOf(log.source.stream(cursor, {})))).toBe('CURSOR_AHEAD')
        const appended = await log.append(numbered(8, { offset: 100 }))
        if (before.incarnation !== undefined) {
          const error = await errorOf(log.source.stream(cursor, {}))
          expect(codeOf(error)).toBe('CURSOR_AHEAD')
          expect((error as { reason?: string }).reason).toBe('recreated')
          // A bare position carries no incarnation and is taken as it is.
          const bare = cursor.slice(0, cursor.lastIndexOf('@'))
          expect(ids((await readAll(log, bare)).events)).toEqual(appended.slice(5))
        }
        expect(ids((await readAll(log, '')).events)).toEqual(appended)
      })

      test('recreated under a reader, it is an error and never an event of the new log', async ({ skip }) => {
        const log = await fixture()
        if (log.recreate === undefined) skip('cannot be recreated')
        await log.append(numbered(5))
        await using stream = await log.source.stream('', {})
        if (stream.incarnation === undefined) skip('the log has no incarnation')
        const idle = reader(stream)
        await idle.take(5)
        const waiting = idle.take(1)
        waiting.catch(() => {}) // seen below; it may fail before the fault is over
        await log.recreate?.()
        await log.append(numbered(8, { offset: 100 })).catch(() => {}) // a log that is not there yet may refuse
        await errorOf(waiting, NOTICE_MS, 'noticing the new log')
      })
    })

    describe('abort and close', () => {
      test('an abort ends a pending read at once, with its reason', async () => {
        const log = await fixture()
        const took: number[] = []
        for (let attempt = 0; attempt < 3 && !took.some((ms) => ms < ABORT_MS); attempt++) {
          const controller = new AbortController()
          const stream = await open(log, '', { signal: controller.signal })
          const waiting = errorOf(stream.take(1))
          await settle()
          const reason = new Error('enough')
          const from = performance.now()
          controller.abort(reason)
          expect(await waiting).toBe(reason)
          took.push(performance.now() - from)
          expect(await errorOf(stream.take(1))).toBe(reason) // nothing comes afterwards
        }
        expect(Math.min(...took)).toBeLessThan(ABORT_MS)
      })

      test('an abort before, during and right after open leaves nothing behind', async () => {
        const log = await fixture()
        const before = await log.sockets?.()
        const reason = new Error('enough')
        expect(await errorOf(log.source.stream('', { signal: AbortSignal.abort(reason) }))).toBe(reason)
        for (const steps of [0, 1, 3, 10]) {
          const controller = new AbortController()
          const opening = log.source.stream('', { signal: controller.signal })
          opening.catch(() => {})
          for (let i = 0; i < steps; i++) await Promise.resolve()
          controller.abort(reason)
          await within(
            opening.then(
              async (stream) => {
                expect(await errorOf(stream[Symbol.asyncIterator]().next())).toBe(reason)
                await stream[Symbol.asyncDispose]()
              },
              (error: unknown) => expect(error).toBe(reason),
            ),
            NOTICE_MS,
            'the abort of an open',
          )
        }
        await noSocketLeft(log, before)
      })

      const states: Record<string, (log: SourceFixture, stream: EventStream) => Promise<void>> = {
        'that was never read': async () => {},
        'in the middle': async (_, stream) => {
          await reader(stream).take(1)
        },
        'with a read pending': async (_, stream) => {
          const idle = reader(stream)
          await idle.take(3)
          const pending = idle.rest()
          await settle()
          queueMicrotask(() => void stream[Symbol.asyncDispose]())
          expect(await pending).toEqual([])
        },
      }
      for (const [state, reach] of Object.entries(states)) {
        test(`a stream ${state} is closed once and for all, by any number of closes`, async () => {
          const log = await fixture({ batchSize: 1 })
          await log.append(numbered(3))
          const before = await log.sockets?.()
          const stream = await log.source.stream('', {})
          await reach(log, stream)
          const closes = [1, 2, 3].map(() => stream[Symbol.asyncDispose]())
          await within(Promise.all(closes), NOTICE_MS, 'the close')
          await within(Promise.resolve(stream[Symbol.asyncDispose]()), 1000, 'the second close')
          await noSocketLeft(log, before)
        })
      }

      test.skipIf(refuses.includes('toHead'))(
        'a stream that has ended is closed, and a second iteration throws',
        async () => {
          const log = await fixture()
          await log.append(numbered(2))
          const before = await log.sockets?.()
          const stream = await log.source.stream('', { toHead: true })
          expect(await reader(stream).rest()).toHaveLength(2)
          expect(() => stream[Symbol.asyncIterator]()).toThrow(TypeError)
          await stream[Symbol.asyncDispose]()
          await stream[Symbol.asyncDispose]()
          await noSocketLeft(log, before)
        },
      )

      test('a refused cursor leaves nothing behind', async () => {
        const log = await fixture()
        const before = await log.sockets?.()
        for (const cursor of log.malformed) await errorOf(log.source.stream(cursor, {}))
        await noSocketLeft(log, before)
      })
    })

    describe.skipIf(withServer === undefined)('a server', () => {
      test('that is killed ends the stream with an error; after its restart nothing is missing', async () => {
        const log = await fixture({ batchSize: 2 }, withServer)
        const appended = await log.append(numbered(5))
        const stream = await open(log, '')
        const read = await stream.take(3)
        const cursor = stream.cursor
        await stream.take(2)
        const pending = stream.take(1)
        pending.catch(() => {}) // seen below; the server may be gone before `kill` says so
        await log.server?.kill()
        expectNoticed(await errorOf(pending, NOTICE_MS, 'noticing the dead server'))
        await within(stream[Symbol.asyncDispose](), NOTICE_MS, 'closing at a dead server')
        expectNoticed(await errorOf(log.source.stream('', {}), NOTICE_MS, 'opening at a dead server'))
        await log.server?.start()
        const more = await log.append(numbered(2, { offset: 5 }))
        expect([...ids(read), ...ids((await readAll(log, cursor)).events)]).toEqual([...appended, ...more])
      })

      test('that is frozen is noticed, by a read and by an open', async () => {
        const log = await fixture({}, withServer)
        await log.append(numbered(2))
        const stream = await open(log, '')
        const [, last] = await stream.take(2)
        const pending = errorOf(stream.take(1), NOTICE_MS, 'noticing the frozen server')
        log.server?.freeze()
        try {
          const opening = errorOf(log.source.stream('', {}), NOTICE_MS, 'opening at a frozen server')
          expectNoticed(await pending)
          expectNoticed(await opening)
          await within(stream[Symbol.asyncDispose](), NOTICE_MS, 'closing at a frozen server')
        } finally {
          log.server?.thaw()
        }
        const appended = await log.append(numbered(1, { offset: 2 }))
        expect(ids((await readAll(log, last?.id as string)).events)).toEqual(appended)
      })
    })

    describe('what it can tell', () => {
      test('head is the cursor after the newest event', async ({ skip }) => {
        const log = await fixture()
        if (log.source.head === undefined) skip('no head')
        await log.append(numbered(4))
        const head = (await log.source.head?.()) ?? ''
        const added = await log.append(numbered(2))
        expect(ids((await readAll(log, head)).events)).toEqual(added)
        expect(await errorOf(log.source.head?.({ signal: AbortSignal.abort(added) }) ?? skip())).toBe(added)
      })

      test('backlog counts what follows a cursor', async ({ skip }) => {
        const log = await fixture()
        if (log.source.backlog === undefined) skip('no backlog')
        const { backlog } = log.source as Required<Source>
        expect((await backlog('')).count).toBe(0n)
        const appended = await log.append(numbered(9))
        const counts = await Promise.all(['', ...appended].map(async (cursor) => backlog(cursor)))
        if (counts[0]?.unit === 'events')
          expect(counts.map(({ count }) => count)).toEqual([9n, 8n, 7n, 6n, 5n, 4n, 3n, 2n, 1n, 0n])
        for (const [i, { count }] of counts.entries()) expect(count).toBeGreaterThanOrEqual(9n - BigInt(i))
        expect(counts.at(-1)?.count).toBe(0n)
        const filtered = await readAll(log, '')
        expect((await backlog(filtered.cursor)).count).toBe(0n)
        for (const cursor of log.malformed) expect(codeOf(await errorOf(backlog(cursor)))).toBe('CURSOR_INVALID')
      })

      test('at is the cursor before the first event of that time', async ({ skip }) => {
        const log = await fixture()
        if (log.source.at === undefined) skip('no lookup by time')
        const { at } = log.source as Required<Source>
        const start = Date.parse('2026-01-01T00:00:00Z')
        const appended = await log.append(numbered(5).map((event, i) => ({ ...event, timestamp: start + i * 1000 })))
        const after = async (timestamp: number): Promise<string[]> =>
          ids((await readAll(log, await at(timestamp))).events)
        const all = await readAll(log, '')
        for (const { id, timestamp } of all.events)
          expect(await after(timestamp)).toEqual(appended.slice(appended.indexOf(id)))
        expect(await after(0)).toEqual(appended)
        expect(await after(Date.now() + 3_600_000)).toEqual([])
      })

      test('compare orders cursors as the log does', async ({ skip }) => {
        const log = await fixture({ batchSize: 3 })
        if (log.source.compare === undefined) skip('no compare')
        const { compare } = log.source as Required<Source>
        const appended = await log.append(numbered(12))
        const { cursor } = await readAll(log, '')
        for (const [i, a] of appended.entries())
          for (const [j, b] of appended.entries()) expect(Math.sign(compare(a, b))).toBe(Math.sign(i - j))
        expect(compare('', appended[0] as string)).toBeLessThan(0)
        expect(compare(cursor, cursor)).toBe(0)
        expect(compare(cursor, appended[10] as string)).toBeGreaterThan(0)
      })
    })

    describe.skipIf(refuses.includes('toHead'))('run over it', () => {
      test('handles every event at least once and in order, whatever fails, and its cursor is never ahead', async () => {
        const log = await fixture({ batchSize: 5 })
        const appended = await log.append(numbered(30))
        const failures = fc.array(fc.integer({ min: 0, max: 29 }), { maxLength: 6 })
        await fc.assert(
          fc.asyncProperty(failures, async (planned) => {
            const cursors = memoryCursors()
            const saves: { cursor: Cursor; done: number }[] = []
            const left = [...planned]
            const segments: string[][] = []
            let done = 0
            const handled = new Set<string>()
            const consumer = {
              name: 'suite',
              handle: ({ id }: Event): void => {
                const at = left.indexOf(appended.indexOf(id))
                if (at >= 0) {
                  left.splice(at, 1)
                  throw new Error(`planned at ${id}`)
                }
                segments.at(-1)?.push(id)
                handled.add(id)
                done = Math.max(done, appended.indexOf(id) + 1)
              },
            }
            const observed = {
              ...cursors,
              set: async (who: string, cursor: Cursor, expected: Cursor): Promise<void> => {
                saves.push({ cursor, done })
                await cursors.set(who, cursor, expected)
              },
            }
            for (let failed = true; failed; ) {
              segments.push([])
              failed = await run({ stream: log.source.stream, cursors: observed, consumer }, { toHead: true }).then(
                () => false,
                () => true,
              )
            }
            expect(handled.size).toBe(30)
            expect(segments.flat()).toEqual(appended) // no duplicate either: every failure was followed by a save
            for (const { cursor, done: at } of saves) {
              const { events } = await readAll(log, cursor)
              expect(30 - events.length).toBeLessThanOrEqual(at)
            }
          }),
          { numRuns: 8 },
        )
      })

      test('stops for an abort with what was handled saved, and goes on from there', async () => {
        const log = await fixture({ batchSize: 4 })
        const appended = await log.append(numbered(11))
        const cursors = memoryCursors()
        const seen: string[] = []
        for (const stopAt of [3, 4, 9]) {
          const controller = new AbortController()
          const handle = ({ id }: Event): void => {
            seen.push(id)
            if (seen.length === stopAt) controller.abort()
          }
          const result = await run(
            { stream: log.source.stream, cursors, consumer: { name: 'suite', handle } },
            { signal: controller.signal },
          )
          expect(result.reason).toBe('aborted')
          expect(seen).toEqual(appended.slice(0, stopAt))
          expect(ids((await readAll(log, result.cursor)).events)).toEqual(appended.slice(stopAt))
        }
      })
    })
  })
}

/** Distinct small events: the foreign ids are `e0`, `e1`, … */
export function numbered(count: number, { type = 1, offset = 0 }: { type?: number; offset?: number } = {}): NewEvent[] {
  return Array.from({ length: count }, (_, i) => ({
    type,
    foreignId: `e${offset + i}`,
    metadata: Buffer.from(`payload ${offset + i}`),
  }))
}

/** Takes event after event into `read` until there are `count` or the reading fails; resolves with that error. */
async function drain(from: Reader, read: string[], count: number): Promise<unknown> {
  try {
    while (read.length < count) for (const { id } of await from.take(1)) read.push(id)
    return undefined
  } catch (error) {
    return error
  }
}

/** Long enough for a read to have reached the server. Nothing is lost if it has not: the read is then aborted earlier. */
async function settle(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 30))
}

async function noSocketLeft(log: SourceFixture, before: number | undefined): Promise<void> {
  if (before === undefined) return
  await eventually(async () => ((await log.sockets?.()) ?? 0) <= before, 1000, 'no connection is left after the close')
}

/** Our own impatience is not the stream's error. */
function expectNoticed(error: unknown): void {
  expect(error).toBeInstanceOf(Error)
  expect(String(error)).not.toMatch(/took longer than|the stream ended/)
}

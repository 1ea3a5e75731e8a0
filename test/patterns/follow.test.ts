import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type MemoryLog, memoryCursors, memoryLog, type Observer, run, supervise } from '../../src/core/index.ts'
import { type Followed, follow } from '../../src/patterns/index.ts'
import { simulation } from '../../src/testing/simulation/simulation.ts'
import { errorOf } from '../tools/reader.ts'
import { thrownBy } from './thrown-by.ts'
import { turns } from './turns.ts'

function logOf(count: number): MemoryLog {
  const log = memoryLog({ batchSize: 2 })
  for (let i = 1; i <= count; i++) log.append({ type: 1, foreignId: `e${i}` })
  return log
}

/** What became of a promise by now. */
async function stateOf(promise: Promise<unknown>): Promise<'pending' | 'resolved' | 'rejected'> {
  const settled = promise.then(
    () => 'resolved' as const,
    () => 'rejected' as const,
  )
  return Promise.race([settled, new Promise<'pending'>((resolve) => setImmediate(resolve, 'pending'))])
}

describe('follow', () => {
  test('resolves each wait as soon as what it waits for is saved, and none before, whenever it begins, over failures and restarts', async () => {
    const plan = fc.record({
      decisions: fc.array(fc.nat({ max: 6 }), { maxLength: 120 }),
      fails: fc.array(fc.boolean(), { maxLength: 12 }),
      waits: fc.array(fc.record({ turns: fc.nat({ max: 12 }), forId: fc.option(fc.integer({ min: 1, max: 8 })) }), {
        minLength: 1,
        maxLength: 5,
      }),
      skips: fc.nat({ max: 2 }),
    })
    await fc.assert(
      fc.asyncProperty(plan, async ({ decisions, fails, waits, skips }) => {
        const world = simulation(decisions)
        const log = logOf(4)
        const stop = new AbortController()
        const store = memoryCursors()
        let saved = 0
        let saves = 0
        let head = 4
        const cursors = {
          ...store,
          set: async (consumer: string, cursor: string, expected: string) => {
            await world.turn()
            if (fails[saves++]) throw new Error('no connection')
            await store.set(consumer, cursor, expected)
            saved = Number.parseInt(cursor, 10)
          },
        }
        const consumer = { name: 'c', handle: () => world.turn() }
        const followed = follow(log.source, (observer) =>
          supervise((o) => run({ stream: log.source.stream, cursors, consumer }, o), {
            signal: stop.signal,
            clock: world.clock,
            observer,
            random: () => 0,
          }),
        )
        const wait = async ({ turns, forId }: { turns: number; forId: number | null }): Promise<void> => {
          for (let i = 0; i < turns; i++) await world.turn()
          const target = forId ?? head
          await (forId === null ? followed.whenCaughtUp() : followed.whenProcessed(String(forId)))
          expect(saved).toBeGreaterThanOrEqual(target)
        }
        const grow = async (): Promise<void> => {
          for (let i = 0; i < 4; i++) {
            await world.turn()
            log.append({ type: 1, foreignId: 'x' })
            head++
          }
          log.skip(skips) // the head is then no event
          head += skips
        }
        await world.run(Promise.all([grow(), ...waits.map(wait)]))
        await world.run(followed.whenCaughtUp())
        expect(saved).toBe(head)
        stop.abort()
        await world.run(followed.ended)
      }),
      { numRuns: 200 },
    )
  })

  test('does not wait for what is there already, and rejects what never comes when the run has ended', async () => {
    const log = logOf(3)
    const spec = { stream: log.source.stream, cursors: memoryCursors(), consumer: { name: 'c', handle: () => {} } }
    const followed = follow(log.source, (observer) => run(spec, { toHead: true, observer }))
    const beyond = errorOf(followed.whenProcessed('4'))
    expect(await followed.ended).toMatchObject({ reason: 'head' })
    expect(await beyond).toMatchObject({ code: 'RUN_ENDED' })
    await followed.whenProcessed('3')
    await followed.whenCaughtUp()
    log.append({ type: 1, foreignId: 'a' })
    expect(await errorOf(followed.whenCaughtUp())).toMatchObject({ code: 'RUN_ENDED' })
  })

  test('has caught up with a log that holds no event, of which no cursor is stored', async () => {
    for (const positions of [0, 3]) {
      const log = memoryLog()
      log.skip(positions)
      const stop = new AbortController()
      const spec = { stream: log.source.stream, cursors: memoryCursors(), consumer: { name: 'c', handle: () => {} } }
      const followed = follow(log.source, (observer) => run(spec, { observer, signal: stop.signal }))
      await followed.whenCaughtUp()
      stop.abort()
      await followed.ended
    }
  })

  test('rejects as the run does, before and after it has failed', async () => {
    const log = logOf(3)
    const handle = ({ id }: { id: string }): void => {
      if (id === '2') throw new Error('no')
    }
    const spec = { stream: log.source.stream, cursors: memoryCursors(), consumer: { name: 'c', handle } }
    const followed = follow(log.source, (observer) => run(spec, { observer }))
    const waiting = errorOf(followed.whenCaughtUp())
    const error = await errorOf(followed.ended)
    expect(error).toMatchObject({ stage: 'handle', eventId: '2' })
    expect(await waiting).toBe(error)
    expect(await errorOf(followed.whenProcessed('2'))).toBe(error)
    await followed.whenProcessed('1')
  })

  describe('a run that fails', () => {
    const broken = new Error('broken')
    const unhandled: unknown[] = []
    const onUnhandled = (error: unknown): void => void unhandled.push(error)
    let others: NodeJS.UnhandledRejectionListener[] = []
    beforeEach(() => {
      unhandled.length = 0
      others = process.listeners('unhandledRejection')
      process.removeAllListeners('unhandledRejection')
      process.on('unhandledRejection', onUnhandled)
    })
    afterEach(() => {
      process.off('unhandledRejection', onUnhandled)
      for (const each of others) process.on('unhandledRejection', each)
    })
    /** A run that fails when it is told to, over a source that answers when it is told to. */
    function scene() {
      const { source } = logOf(3)
      const [run, head] = [Promise.withResolvers<void>(), Promise.withResolvers<string>()]
      const observers: Observer[] = []
      const followed = follow({ ...source, head: () => head.promise }, (observer) => {
        observers.push(observer)
        return run.promise
      })
      return {
        followed,
        head,
        save: (cursor: string) => observers[0]?.saved?.(cursor),
        fails: async () => {
          run.reject(broken)
          await turns()
        },
      }
    }

    test('in silence is an unhandled rejection; who reads ended later is told as well', async () => {
      const { followed, fails } = scene()
      await fails()
      expect(unhandled).toEqual([broken])
      expect(await errorOf(followed.ended)).toBe(broken)
    })

    test('tells who reads ended in time, and nobody else', async () => {
      const { followed, fails } = scene()
      const ended = errorOf(followed.ended)
      await fails()
      expect([await ended, unhandled]).toEqual([broken, []])
    })

    test('tells a wait that is under way, also one that still asks the source; ended is then read whenever it is convenient', async () => {
      for (const begin of [
        (followed: Followed<void>) => followed.whenProcessed('9'),
        (followed: Followed<void>) => followed.whenCaughtUp(),
      ]) {
        const { followed, fails } = scene()
        const waiting = errorOf(begin(followed))
        await turns()
        await fails()
        expect([await waiting, unhandled]).toEqual([broken, []])
        expect(await errorOf(followed.ended)).toBe(broken)
        expect(unhandled).toEqual([])
      }
    })

    test('is not told by a wait that ends well, or by its own signal', async () => {
      const reached = scene()
      reached.save('2')
      await reached.followed.whenProcessed('2')
      await reached.fails()
      const given = scene()
      const enough = new AbortController()
      const waits = [
        errorOf(given.followed.whenCaughtUp({ signal: enough.signal })),
        errorOf(given.followed.whenProcessed('9', { signal: enough.signal })),
      ]
      const failing = given.fails() // in the same turn
      enough.abort('enough')
      await failing
      expect([await Promise.all(waits), unhandled]).toEqual([
        ['enough', 'enough'],
        [broken, broken],
      ])
      for (const { followed } of [reached, given]) expect(await errorOf(followed.ended)).toBe(broken)
    })

    test('is what a later wait rejects with, unless what it waits for was reached', async () => {
      const { followed, fails, head, save } = scene()
      followed.ended.catch(() => {})
      save('2')
      await fails()
      head.resolve('2')
      await followed.whenCaughtUp()
      await followed.whenProcessed('1')
      expect(await errorOf(followed.whenProcessed('3'))).toBe(broken)
      expect(unhandled).toEqual([])
    })
  })

  describe('a source that does not answer', () => {
    const silent = (): Promise<never> => new Promise(() => {})

    /** A run over a source that is asked for its head, or for its oldest event, and says nothing; ended and failed as is said. */
    function scene({ asked, ends }: { asked: 'head' | 'oldest'; ends: 'well' | 'badly' }) {
      const world = simulation([])
      const signals: (AbortSignal | undefined)[] = []
      const running = Promise.withResolvers<void>()
      const { source } = logOf(0)
      const followed = follow(
        {
          ...source,
          head: async ({ signal } = {}) => {
            if (asked === 'oldest') return '3'
            signals.push(signal)
            return silent()
          },
          stream: async (_, { signal }) => {
            signals.push(signal)
            return silent()
          },
        },
        () => running.promise,
        { clock: world.clock },
      )
      followed.ended.catch(() => {})
      return {
        world,
        signals,
        followed,
        end: ends === 'well' ? running.resolve : () => running.reject(new Error('broken')),
      }
    }

    test.each(['head', 'oldest'] as const)(
      'is waited for as long as any source may take to answer once the run is over, and no longer: %s',
      async (asked) => {
        for (const begins of ['before the end', 'after it'] as const) {
          for (const ends of ['well', 'badly'] as const) {
            const { world, signals, followed, end } = scene({ asked, ends })
            if (begins === 'after it') end()
            await turns()
            const waiting = errorOf(followed.whenCaughtUp())
            await turns()
            if (begins === 'before the end') end()
            await turns()
            const isAtOnce = ends === 'badly' && begins === 'before the end'
            expect(signals.map((signal) => signal?.aborted)).toEqual([isAtOnce])
            const beganAt = world.clock.now()
            const error = await world.run(waiting)
            expect(error).toMatchObject(ends === 'well' ? { code: 'RUN_ENDED' } : { message: 'broken' })
            expect(world.clock.now() - beganAt).toBe(isAtOnce ? 0 : 5000)
            expect(signals.map((signal) => signal?.aborted)).toEqual([true])
          }
        }
      },
    )

    test('may answer after the end of the run', async () => {
      const head = Promise.withResolvers<string>()
      const { source } = logOf(1)
      const followed = follow({ ...source, head: () => head.promise }, async (observer) => observer.saved?.('1'))
      const waiting = followed.whenCaughtUp()
      await followed.ended
      await turns()
      head.resolve('1')
      await waiting
    })
  })

  test('waits for what is settled, not for what was only begun', async () => {
    const log = logOf(2)
    const stop = new AbortController()
    let settled: string | undefined = ''
    const consumer = { name: 'c', handle: () => {}, settled: () => settled }
    const spec = { stream: log.source.stream, cursors: memoryCursors(), consumer }
    const followed: Followed<unknown> = follow(log.source, (observer) => run(spec, { observer, signal: stop.signal }))
    const waiting = followed.whenProcessed('2')
    expect(await stateOf(waiting)).toBe('pending')
    settled = undefined
    log.skip() // the next batch saves
    await waiting
    stop.abort()
    await followed.ended
  })

  test('ends the wait by its signal alone', async () => {
    const log = logOf(1)
    const stop = new AbortController()
    const spec = { stream: log.source.stream, cursors: memoryCursors(), consumer: { name: 'c', handle: () => {} } }
    const followed = follow(log.source, (observer) => run(spec, { observer, signal: stop.signal }))
    const enough = new AbortController()
    const waiting = errorOf(followed.whenProcessed('9', { signal: enough.signal }))
    enough.abort('enough')
    expect(await waiting).toBe('enough')
    expect(await errorOf(followed.whenCaughtUp({ signal: enough.signal }))).toBe('enough')
    expect(await stateOf(followed.ended)).toBe('pending')
    expect(await errorOf(followed.whenProcessed('no cursor'))).toMatchObject({ code: 'CURSOR_INVALID' })
    stop.abort()
    await followed.ended
  })

  test('refuses a source that cannot tell', () => {
    const { compare: _compare, ...source } = logOf(1).source
    expect(thrownBy(() => follow(source, () => Promise.resolve()))).toMatchObject({ code: 'OPTION_INVALID' })
  })
})

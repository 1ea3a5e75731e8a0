import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type CursorConflictError,
  type CursorStore,
  codeOf,
  memoryCursors,
  memoryLog,
  run,
} from '../../src/core/index.ts'
import { readThroughCursors } from '../../src/patterns/index.ts'
import { conformance } from '../../src/testing/conformance/index.ts'
import { simulation } from '../../src/testing/simulation/simulation.ts'
import { errorOf } from '../tools/reader.ts'

describe('is a cursor store', () => {
  const create = (): { cursors: CursorStore; another(): CursorStore } => {
    const [from, to] = [memoryCursors(), memoryCursors()]
    return { cursors: readThroughCursors({ from, to }), another: () => readThroughCursors({ from, to }) }
  }
  conformance({ of: 'cursors', create, test, runs: 50, seed: 1, timeLimitMs: 10_000 })
})

describe('is a cursor store when a consumer has been moved by half', () => {
  /** Names are moved or not; the old store holds something that must not show through. */
  const create = async (): Promise<{ cursors: CursorStore; another(): CursorStore }> => {
    const [from, to] = [memoryCursors(), memoryCursors()]
    for (const name of ['p', 'q', 'a']) {
      await from.set(name, 'old', '')
      await to.set(name, 'new', '')
    }
    const cursors = readThroughCursors({ from, to })
    for (const name of ['p', 'q', 'a']) await cursors.set(name, '', 'new')
    return { cursors, another: () => readThroughCursors({ from, to }) }
  }
  conformance({ of: 'cursors', create, test, runs: 50, seed: 1, timeLimitMs: 10_000 })
})

test('reads from the old store until the first save, which goes to the new one alone', async () => {
  const [from, to] = [memoryCursors(), memoryCursors()]
  await from.set('c', '5', '')
  const cursors = readThroughCursors({ from, to })
  expect(await cursors.get('c')).toBe('5')
  await cursors.set('c', '6', '5')
  expect([await cursors.get('c'), await to.get('c'), await from.get('c')]).toEqual(['6', '6', '5'])
})

test('a save over what is not there is a conflict that names what is, also before anything was moved', async () => {
  const [from, to] = [memoryCursors(), memoryCursors()]
  await from.set('c', '5', '')
  for (const expected of ['', '4']) {
    const error = (await errorOf(readThroughCursors({ from, to }).set('c', '6', expected))) as CursorConflictError
    expect(error).toMatchObject({ code: 'CURSOR_CONFLICT', expected, actual: '5', reset: false })
  }
  expect(await to.get('c')).toBe('')
})

test('reset, to a position or to the earliest, counts for both stores; a runner at work meets it as a reset', async () => {
  for (const target of ['2', '']) {
    const [from, to] = [memoryCursors(), memoryCursors()]
    await from.set('c', '5', '')
    const runner = readThroughCursors({ from, to })
    await runner.get('c')
    await readThroughCursors({ from, to }).reset('c', target)
    expect(await runner.get('c')).toBe(target)
    expect(await errorOf(runner.set('c', '6', '5'))).toMatchObject({ code: 'CURSOR_CONFLICT', reset: true })
  }
})

test('lists the cursors of both, each as get tells it; not where one of them cannot', async () => {
  const [from, to] = [memoryCursors(), memoryCursors()]
  for (const [store, name, cursor] of [
    [from, 'old', '1'],
    [from, 'moved', '2'],
    [to, 'moved', '3'],
    [to, 'new', '4'],
  ] as const)
    await store.set(name, cursor, '')
  const cursors = readThroughCursors({ from, to })
  expect(await cursors.list?.()).toEqual(
    new Map([
      ['old', '1'],
      ['moved', '3'],
      ['new', '4'],
    ]),
  )
  const { list: _list, ...mute } = memoryCursors()
  expect(readThroughCursors({ from: mute, to }).list).toBeUndefined()
})

test('loses no event and no update, whatever runners of the old and the new store do at once, in any order, and wherever they fail', async () => {
  const plan = fc.record({
    decisions: fc.array(fc.nat({ max: 5 }), { maxLength: 80 }),
    runners: fc.array(fc.constantFrom('old', 'new'), { minLength: 1, maxLength: 4 }),
    faults: fc.array(fc.constantFrom(undefined, undefined, 'before', 'after'), { maxLength: 30 }),
  })
  await fc.assert(
    fc.asyncProperty(plan, async ({ decisions, runners, faults }) => {
      const world = simulation(decisions)
      const log = memoryLog({ batchSize: 1 })
      for (let i = 0; i < 5; i++) log.append({ type: 1, foreignId: 'a' })
      let calls = 0
      const slow = <T>(work: () => Promise<T>): Promise<T> =>
        (async () => {
          const fault = faults[calls++]
          await world.turn()
          if (fault === 'before') throw new Error('no connection')
          const result = await work()
          if (fault === 'after') throw new Error('lost reply')
          await world.turn()
          return result
        })()
      const remote = (store: CursorStore): CursorStore => ({
        get: (...about) => slow(() => store.get(...about)),
        set: (...about) => slow(() => store.set(...about)),
        reset: (...about) => slow(() => store.reset(...about)),
      })
      const [from, to] = [memoryCursors(), memoryCursors()]
      await from.set('c', '1@1', '')
      const handled = new Set<string>()
      /** What is stored in the new store never goes back: two sets by the same expectation never both succeed. */
      const saves = new Set<string>()
      const watched: CursorStore = {
        ...to,
        set: async (consumer, cursor, expected) => {
          const stored = await to.get(consumer)
          await to.set(consumer, cursor, expected)
          if (stored === cursor) return
          expect(saves).not.toContain(expected)
          saves.add(expected)
          for (let id = 2; id <= Number.parseInt(cursor, 10); id++) expect(handled).toContain(String(id))
        },
      }
      const live = async (kind: string): Promise<void> => {
        const cursors = kind === 'old' ? remote(from) : readThroughCursors({ from: remote(from), to: remote(watched) })
        const handle = async ({ id }: { id: string }): Promise<void> => {
          await world.turn()
          handled.add(id)
        }
        await run(
          { stream: log.source.stream, cursors, consumer: { name: 'c', handle } },
          { toHead: true, clock: world.clock },
        ).catch((error: unknown) => {
          if (codeOf((error as Error).cause) !== 'CURSOR_CONFLICT' && !/no connection|lost reply/.test(String(error)))
            throw error
        })
      }
      await world.run(Promise.all(runners.map(live)))
      faults.length = 0
      await world.run(live('new'))
      expect([await readThroughCursors({ from, to }).get('c'), handled]).toEqual(['5@1', new Set(['2', '3', '4', '5'])])
    }),
    { numRuns: 300 },
  )
})

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { topicCursors } from '../../src/adapters/kafka/topic-cursors.ts'
import type { CursorStore } from '../../src/core/cursor.ts'
import { codeOf, isRetriable } from '../../src/core/errors.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { errorOf } from '../tools/reader.ts'

const ID = 'id'
const name = (partition: number): string => `c/t/${partition}`

/** A topic that begins at 10 and ends at 100, as one start with `fromHead` finds it. */
async function start(
  cursors: CursorStore,
  { partitions, started = 0, known = partitions }: { partitions: number; started?: number; known?: number },
): Promise<void> {
  const of = topicCursors({ log: 't', topic: 't', cursors, consumer: 'c' })
  const bounds = async () => Array.from({ length: known }, () => ({ low: 10n, high: 100n }))
  await of.pin(await of.all({ id: ID, partitions }), { id: ID, started, bounds })
}
const stored = async (cursors: CursorStore, partitions: number): Promise<string[]> =>
  Promise.all(Array.from({ length: partitions }, (_, each) => cursors.get(name(each))))

const HEAD = '99@id'
const BEGINNING = '9@id'

describe('with fromHead', () => {
  test('a partition that was added goes on at its beginning, also if it is seen by the next start only', async () => {
    const cursors = memoryCursors()
    await start(cursors, { partitions: 3 })
    expect(await stored(cursors, 3)).toEqual([HEAD, HEAD, HEAD])
    await start(cursors, { partitions: 5, started: 3 })
    await start(cursors, { partitions: 6 })
    expect(await stored(cursors, 6)).toEqual([HEAD, HEAD, HEAD, BEGINNING, BEGINNING, BEGINNING])
  })

  test('a partition without a cursor below one that was added, and has one, is not passed over', async () => {
    const cursors = memoryCursors()
    for (const each of [0, 1, 2, 4]) await cursors.set(name(each), '50@id', '')
    await start(cursors, { partitions: 5 })
    expect(await stored(cursors, 5)).toEqual(['50@id', '50@id', '50@id', BEGINNING, '50@id'])
  })

  test('a partition that was reset to the beginning is read from there, and one that is at work is left alone', async () => {
    const cursors = memoryCursors()
    await start(cursors, { partitions: 3 })
    await cursors.reset(name(1), '')
    await start(cursors, { partitions: 3 })
    expect(await stored(cursors, 3)).toEqual([HEAD, BEGINNING, HEAD])
    await cursors.reset(name(0), '')
    await start(cursors, { partitions: 4, started: 3 })
    expect(await stored(cursors, 4)).toEqual(['', BEGINNING, HEAD, BEGINNING])
  })

  test('over any growth, early ends and resets, only what was there at first is passed over', async () => {
    const step = fc.record({
      grow: fc.nat(2),
      dies: fc.option(fc.nat(4), { nil: undefined }), // after so many stores
      reset: fc.option(fc.integer({ min: 1, max: 6 }), { nil: undefined }),
      isOneProcess: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.array(step, { maxLength: 8 }), async (first, steps) => {
        const cursors = memoryCursors()
        let partitions = first
        let started = 0
        let old: number | undefined // how many there were at the first store
        let isPinned = false // all of these
        const fromBeginning = new Set<number>()
        const last: Partial<(typeof steps)[number]> = {}
        for (const { grow = 0, dies = Number.POSITIVE_INFINITY, reset, isOneProcess } of [...steps, last]) {
          partitions += grow
          if (isPinned && reset !== undefined && reset < partitions) {
            await cursors.reset(name(reset), '')
            fromBeginning.add(reset)
          }
          let left = dies
          const mortal: CursorStore = {
            ...cursors,
            set: async (...o) => {
              if (left-- <= 0) throw new Error('it dies')
              old ??= partitions
              await cursors.set(...o)
            },
          }
          const ended = await start(mortal, { partitions, started: isOneProcess === true ? started : 0 }).catch(
            () => 'died',
          )
          started = ended === undefined ? partitions : 0
          isPinned ||= (await cursors.get(name(0))) !== ''
        }
        const all = await stored(cursors, partitions)
        for (const [each, cursor] of all.entries())
          expect(cursor).toBe(each < Number(old) && !fromBeginning.has(each) ? HEAD : BEGINNING)
      }),
      { numRuns: 500 },
    )
  })

  test('nothing is stored for a partition that a broker has not heard of, which is looked for again', async () => {
    const cursors = memoryCursors()
    const error = await errorOf(start(cursors, { partitions: 3, known: 2 }))
    expect([codeOf(error), isRetriable(error)]).toEqual(['KAFKA_UNKNOWN_TOPIC_OR_PARTITION', true])
    expect(await stored(cursors, 3)).toEqual(['', '', ''])
  })
})

test('a broker that has not heard of a partition which has a cursor already is asked again, and no reason to give up', async () => {
  const cursors = memoryCursors()
  await start(cursors, { partitions: 3 })
  const error = await errorOf(start(cursors, { partitions: 2 }))
  expect([codeOf(error), isRetriable(error)]).toEqual(['KAFKA_UNKNOWN_TOPIC_OR_PARTITION', true])
  await cursors.reset(name(2), '5@another')
  expect(codeOf(await errorOf(start(cursors, { partitions: 2 })))).toBe('CURSOR_AHEAD')
})

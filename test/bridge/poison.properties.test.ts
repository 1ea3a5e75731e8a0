import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { errorKind, ReflexError, type Sink } from '../../src/core/index.ts'
import { type Flaws, fates, type Played, playFate } from './poison-play.ts'

const numRuns = 2000

/** Plays many schedules. Resolves with how many came to what. */
async function playAll(diverts: boolean): Promise<Record<keyof Played, number>> {
  const counts = { delivered: 0, putAside: 0, skipped: 0, stands: 0 }
  await fc.assert(
    fc.asyncProperty(fates, async (fate) => {
      const played = await playFate(fate, { diverts })
      for (const what of Object.keys(counts) as (keyof Played)[]) if (played[what]) counts[what]++
    }),
    { numRuns },
  )
  return counts
}

test('without dead letters, a route stops right at an event that cannot be sent; all before it is sent, nothing is put aside', async () => {
  const { delivered, putAside, skipped, stands } = await playAll(false)
  expect(putAside).toBe(0)
  for (const count of [delivered, skipped, stands]) expect(count).toBeGreaterThan(numRuns / 50)
})

test('with dead letters, each event is in the destination once, or there once, or the route stands at it; keys keep their order', async () => {
  const counts = await playAll(true)
  for (const count of Object.values(counts)) expect(count).toBeGreaterThan(numRuns / 50)
})

describe('a broken implementation is found out', () => {
  /** An append that fails with an error of `kind` is blamed on its first event. */
  const blaming =
    (kind: string) =>
    (sink: Sink): Sink => ({
      ...sink,
      open: async (to) => {
        const writer = await sink.open(to)
        return {
          ...writer,
          append: (events, cursor) =>
            writer.append(events, cursor).catch((error: unknown) => {
              if (errorKind(error) !== kind || events[0] === undefined) throw error
              throw new ReflexError('EVENT_UNENCODABLE', 'no', { kind: 'poison', eventId: events[0].id })
            }),
        }
      },
    })
  const flawed: Readonly<Record<string, readonly [what: RegExp, flaws: Flaws]>> = {
    'that puts events aside for want of a permission': [
      /was put aside|is in the destination, and in the dead letters/,
      { sink: blaming('auth') },
    ],
    'that puts aside what is too large': [/was put aside/, { sink: blaming('oversize') }],
    'that goes on when a letter could not be written': [
      /has passed event \d+, which is nowhere/,
      { deadLetters: (letters) => ({ ...letters, record: (...args) => letters.record(...args).catch(() => {}) }) },
    ],
    'that says a letter is written before it is': [
      /has passed event \d+, which is nowhere|was sent before event \d+ of its foreignId/,
      {
        deadLetters: (letters) => {
          let pending = async (): Promise<void> => {} // dies with its process
          return {
            ...letters,
            record: async (...args) => {
              await pending()
              pending = () => letters.record(...args)
            },
          }
        },
      },
    ],
    'that does not ask which keys have letters': [
      /was sent before event \d+ of its foreignId|in the destination, and in the dead letters/,
      { deadLetters: (letters) => ({ ...letters, list: async () => [] }) },
    ],
  }
  test.each(Object.entries(flawed))('%s', async (_, [what, flaws]) => {
    const { failed, errorInstance } = await fc.check(
      fc.asyncProperty(fates, async (fate) => {
        await playFate(fate, { diverts: true, flaws })
      }),
      { numRuns, endOnFailure: true },
    )
    expect([failed, String(errorInstance)]).toEqual([true, expect.stringMatching(what)])
  })
})

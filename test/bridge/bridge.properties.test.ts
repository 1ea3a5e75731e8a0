import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { flawedPump, flaws } from './flawed-pump.ts'
import { live, world } from './simulated-route.ts'

const RUNS = Number(process.env['RUNS'] ?? 1200)

describe('a bridge, whatever happens to it', () => {
  test('loses nothing, repeats nothing, reorders nothing, and never saves what is not appended', async () => {
    await fc.assert(
      fc.asyncProperty(world, (each) => live(each)),
      { numRuns: RUNS },
    )
  })
})

describe('the simulation sees it when', () => {
  const seen = async (property: fc.IAsyncProperty<unknown>): Promise<boolean> =>
    (await fc.check(property, { numRuns: RUNS, endOnFailure: true })).failed

  for (const flaw of flaws) {
    test(`a pump ${flaw}`, async () => {
      expect(await seen(fc.asyncProperty(world, (each) => live(each, { pump: flawedPump(flaw) })))).toBe(true)
    })
  }

  test('a destination does not fence', async () => {
    expect(await seen(fc.asyncProperty(world, (each) => live(each, { fences: false })))).toBe(true)
  })

  test('a pump has no flaw, and says nothing', async () => {
    expect(await seen(fc.asyncProperty(world, (each) => live(each, { pump: flawedPump(undefined) })))).toBe(false)
  })
})

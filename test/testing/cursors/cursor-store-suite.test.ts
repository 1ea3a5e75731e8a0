import { expect, test } from 'vitest'
import { checkProperty, type PropertyResult } from '../../../src/testing/conformance/check-property.ts'
import { cursorStoreSuite } from '../../../src/testing/cursors/cursor-store-suite.ts'
import { type CursorCase, cursorCases, cursorCorrect } from '../../zoo/cursor-cases.ts'

async function check(
  { create }: CursorCase,
  { only, ...options }: { readonly runs: number; readonly seed: number; readonly only?: string },
): Promise<PropertyResult[]> {
  const results: PropertyResult[] = []
  for (const property of cursorStoreSuite.properties) {
    if (only !== undefined && property.id !== only) continue
    const limits = { timeLimitMs: 10_000, limitMs: 100 }
    results.push(await checkProperty(cursorStoreSuite, property, create, { ...options, ...limits }))
    if (results.at(-1)?.outcome === 'failed') break
  }
  return results
}

test('a store without list and faults has those properties untested, and says why', async () => {
  const results = await check(cursorCorrect[2] as CursorCase, { runs: 20, seed: 1 })
  const untested = results.filter(({ outcome }) => outcome === 'untested').map(({ id, reason }) => [id, reason])
  expect(untested).toEqual([
    ['C7', 'the subject refuses, or does without: list'],
    ['C12', 'it needs restart, which create() does not return'],
    ['C13', 'it needs freeze, which create() does not return'],
    ['C14', 'it needs cut, which create() does not return'],
  ])
})

/** What each property finds by itself. */
const findings = {
  C1: 'an unknown consumer is at "0"',
  C2: 'each client has a cache',
  C3: 'all consumers share a cursor',
  C4: 'last write wins',
  C5: 'what is there already is a conflict',
  C6: 'a reset is told for ever',
  C7: 'the list lacks what was reset',
  C8: 'compares and sets in two requests',
  C9: 'names in capitals and not are one',
  C10: 'cursors are cut after 255 characters',
  C11: 'a get does not heed its signal',
  C12: 'a restart loses what was set',
  C13: 'waits for ever for a server that stands still',
  C14: 'a lost connection is never replaced',
} as const

test('every property finds something by itself', async () => {
  expect(Object.keys(findings)).toEqual(cursorStoreSuite.properties.map(({ id }) => id))
  for (const [id, name] of Object.entries(findings)) {
    const broken = cursorCases.find((each) => each.name === name) as CursorCase
    const [result] = await check(broken, { runs: 100, seed: 2, only: id })
    expect([id, result?.outcome]).toEqual([id, 'failed'])
  }
})

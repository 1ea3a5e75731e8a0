import { expect, test } from 'vitest'
import { checkProperty, type PropertyResult } from '../../../src/testing/conformance/check-property.ts'
import { keptSteps } from '../../../src/testing/conformance/steps.ts'
import type { Violation } from '../../../src/testing/conformance/violation.ts'
import { sinkSuite } from '../../../src/testing/sink/sink-suite.ts'
import { type SinkCase, sinkCases, sinkCorrect } from '../../zoo/sink-cases.ts'

async function check(
  { create }: SinkCase,
  { runs, seed, only }: { readonly runs: number; readonly seed: number; readonly only?: string },
): Promise<PropertyResult[]> {
  const results: PropertyResult[] = []
  for (const property of sinkSuite.properties) {
    if (only !== undefined && property.id !== only) continue
    results.push(await checkProperty(sinkSuite, property, create, { runs, seed, timeLimitMs: 10_000, limitMs: 100 }))
    if (results.at(-1)?.outcome === 'failed') break
  }
  return results
}

/** What each property finds by itself. */
const findings = {
  B1: 'resumes one event too far',
  B3: 'appends failed events after later ones',
  B5: 'appends again what was not saved',
  B6: 'takes an error for success',
  B7: 'replaces what it cannot encode',
  B8: 'has no fence',
  B9: 'refills a lost tail without a word',
  B12: 'drops an event that is too large',
  B15: 'keeps the first value of a header',
  B16: 'is repaired at every start',
  B17: 'forgets the cursor of an empty batch',
  B18: 'goes on where it was after everything was lost',
  B19: 'appends behind a tail that was lost under it',
  B20: 'counts what others have appended as its own',
  Y1: 'hangs on the second close',
  Y2: 'takes the route over although the open was aborted',
  Y3: 'loses what was not synchronised',
  Y6: 'waits for ever for an answer',
  Y7: 'sends again over a new connection what was cut off',
  Y8: 'sends again what was not answered',
  Y9: 'leaves the connection of an aborted open',
} as const

test('every property finds something by itself', async () => {
  expect(Object.keys(findings)).toEqual(sinkSuite.properties.map(({ id }) => id))
  for (const [id, name] of Object.entries(findings)) {
    const broken = sinkCases.find((each) => each.name === name) as SinkCase
    const [result] = await check(broken, { runs: 100, seed: 2, only: id })
    expect([id, result?.outcome]).toEqual([id, 'failed'])
  }
})

test('a schedule breaks the same property each time it is played', async () => {
  const { create } = sinkCases.find(({ name }) => name === 'looks whether it is fenced, and then appends') as SinkCase
  const { failure } = (await check({ name: '', of: 'sink', create }, { runs: 100, seed: 1 })).at(-1) as PropertyResult
  for (let i = 0; i < 100; i++) {
    const steps = keptSteps()
    const playing = sinkSuite.play(create(), failure?.schedule as never, steps, { limitMs: 100 })
    const error = await playing.catch((error: unknown) => error as Violation)
    expect([error?.property, steps.lines]).toEqual([failure?.property, failure?.steps])
  }
})

test('where events may come twice, the properties that forbid it are untested, and the others are tested', async () => {
  const atLeastOnce = sinkCorrect.find(({ name }) => name === 'a server, at least once') as SinkCase
  const results = await check(atLeastOnce, { runs: 10, seed: 1 })
  const untested = results.filter(({ outcome }) => outcome === 'untested').map(({ id, reason }) => [id, reason])
  expect(untested).toEqual([
    ['B5', 'the subject refuses, or does without: effectively once'],
    ['B8', 'the subject refuses, or does without: effectively once'],
    ['B19', 'it needs losesWhileOpen, which create() does not return'],
  ])
})

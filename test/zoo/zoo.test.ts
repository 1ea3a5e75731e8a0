import { describe, expect, test } from 'vitest'
import { describeFailure } from '../../src/testing/conformance/describe-failure.ts'
import { suiteOf } from '../../src/testing/conformance/suites.ts'
import { correctCases, zooCases } from './cases.ts'
import { findFalseAlarm, hunt } from './hunt.ts'

/** More than any takes on a machine that is busy with other things. */
const LONG_MS = 60_000
/** So many that the schedules of all correct implementations together are more than this. */
const SEEDS = 90
const SIMULATED = 50_000

const kinds = ['source', 'cursors', 'sink', 'run', 'bridge'] as const

describe.each(kinds)('every broken %s is found', (kind) => {
  const commands: number[] = []
  test.each(zooCases.filter(({ of }) => of === kind))('$name', { timeout: LONG_MS }, async (zooCase) => {
    const { failure } = await hunt(zooCase, 1)
    expect(failure, 'no property is broken: the suite has a hole').toBeDefined()
    const known = suiteOf(kind).properties.map(({ id }) => id)
    if (kind !== 'source' && kind !== 'run') expect(known).toContain(failure?.property)
    commands.push(failure?.schedule.length ?? Number.POSITIVE_INFINITY)
  })

  test('with a schedule of six commands at most, in the median', () => {
    const sorted = commands.sort((a, b) => a - b)
    expect(sorted.length).toBeGreaterThan(25)
    expect(sorted[sorted.length >> 1]).toBeLessThanOrEqual(6)
  })
})

describe('no correct implementation is accused', () => {
  let played = 0
  test.each(correctCases)('$of: $name', { timeout: LONG_MS * 3 }, async (zooCase) => {
    const { alarm, schedules } = await findFalseAlarm(zooCase, { seeds: SEEDS, runs: 1 })
    played += schedules
    if (alarm === undefined) return
    const rule = suiteOf(zooCase.of).properties.find(({ id }) => id === alarm.failure.property)
    expect.unreachable(describeFailure(zooCase.of, alarm.failure, rule ?? { title: '?', why: '?' }))
  })

  test(`in ${SIMULATED.toLocaleString('en')} simulated schedules and more`, () => {
    console.log(`${played} simulated schedules of ${correctCases.length} correct implementations`)
    expect(played).toBeGreaterThanOrEqual(SIMULATED)
  })
})

test('each case has a name of its own', () => {
  const names = [...zooCases, ...correctCases].map(({ of, name }) => `${of}: ${name}`)
  expect(new Set(names).size).toBe(names.length)
})

import { expect, test } from 'vitest'
import { checkProperty } from '../../src/testing/conformance/check-property.ts'
import { describeFailure } from '../../src/testing/conformance/describe-failure.ts'
import { suiteOf } from '../../src/testing/conformance/suites.ts'
import { bridgeCorrect } from '../zoo/bridge-cases.ts'

const SCHEDULES = 10_000
/** In memory nothing takes time; a machine that stands still for a moment accuses nobody. */
const LIMIT_MS = 5000

/** One for each kind of sink. That the suite finds what is broken the zoo shows; the brokers' own sinks take part in suites.test.ts. */
const kinds = bridgeCorrect.filter(
  ({ name }) => name.startsWith('this bridge, onto') || name === 'this bridge, at least once',
)

test('there is one for sinks that keep a position, one for those of events alone, and one for at-least-once', () => {
  expect(kinds).toHaveLength(3)
})

test.each(kinds)(
  `$name: ${SCHEDULES} schedules of crashes, faults and second runners`,
  async ({ create }) => {
    const suite = suiteOf('bridge')
    let played = 0
    for (let seed = 1; played < SCHEDULES; seed++)
      for (const property of suite.properties) {
        const options = { runs: 100, seed, timeLimitMs: 60_000, limitMs: LIMIT_MS }
        const { schedules, failure } = await checkProperty(suite, property, create, options)
        if (failure !== undefined) expect.unreachable(describeFailure('bridge', failure, property))
        played += schedules
      }
  },
  300_000,
)

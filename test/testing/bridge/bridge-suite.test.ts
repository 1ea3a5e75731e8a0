import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bridgeSuite } from '../../../src/testing/bridge/bridge-suite.ts'
import { simulatedRoute } from '../../../src/testing/bridge/simulated-route.ts'
import { checkProperty } from '../../../src/testing/conformance/check-property.ts'
import { keptSteps } from '../../../src/testing/conformance/steps.ts'
import { bridgeCases } from '../../zoo/bridge-cases.ts'

const RUNS = Number(process.env['RUNS'] ?? 25)
const LIMIT_MS = 1000

const testable = bridgeSuite.properties.filter(({ schedules }) => schedules !== undefined)

describe('a schedule', () => {
  const outcome = async (create: () => ReturnType<typeof simulatedRoute>, schedule: never): Promise<string> => {
    const steps = keptSteps()
    const end = await bridgeSuite.play(create(), schedule, steps, { limitMs: LIMIT_MS }).then(
      () => 'holds',
      (error: Error) => `${error.name}: ${error.message}`,
    )
    return [...steps.lines, end].join('\n')
  }

  test('is played in the same way 100 times of 100', async () => {
    const all = fc.oneof(...testable.flatMap(({ schedules }) => (schedules === undefined ? [] : [schedules])))
    const broken = bridgeCases.filter(({ name }) => /does not fence|appends again|remembers/.test(name))
    const creates = [() => simulatedRoute(), ...broken.map(({ create }) => create)]
    const schedules = fc.sample(all, { numRuns: 4, seed: 7 })
    for (const create of creates) {
      for (const schedule of schedules) {
        const outcomes = new Set<string>()
        for (let i = 0; i < 100; i++) outcomes.add(await outcome(create, schedule as never))
        expect(outcomes.size).toBe(1)
      }
    }
  })

  test('of any commands, in any order, holds on a correct route', async () => {
    const any = fc.oneof(...testable.flatMap(({ schedules }) => (schedules === undefined ? [] : [schedules])))
    const mixed = fc
      .tuple(any, any, any)
      .map((parts) => fc.sample(fc.shuffledSubarray(parts.flat()), { numRuns: 1, seed: 1 })[0])
    await fc.assert(
      fc.asyncProperty(mixed, async (schedule) => {
        await bridgeSuite.play(simulatedRoute(), (schedule ?? []).slice(0, 14), keptSteps(), { limitMs: LIMIT_MS })
      }),
      { numRuns: RUNS * 4, seed: 3 },
    )
  })
})

describe('what a subject cannot do', () => {
  test('is listed as untested', async () => {
    const create = () => {
      const { source, append, sink, read, checkpoints } = simulatedRoute()
      return { simulated: true, source, append, sink, read, checkpoints, delivery: 'at-least-once' as const }
    }
    const untested: string[] = []
    for (const property of bridgeSuite.properties) {
      const options = { runs: 5, seed: 1, timeLimitMs: 5000, limitMs: LIMIT_MS }
      const { id, outcome } = await checkProperty(bridgeSuite, property, create, options)
      expect(outcome).not.toBe('failed')
      if (outcome === 'untested') untested.push(id)
    }
    expect(untested.join(' ')).toBe('B4 B5 B9 B10 B11 B12 B13 B16 B17 B19 B20 B21 B22 B23 B24 B25')
  })
})

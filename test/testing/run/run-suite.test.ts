import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkProperty } from '../../../src/testing/conformance/check-property.ts'
import { keptSteps } from '../../../src/testing/conformance/steps.ts'
import type { RunCommand } from '../../../src/testing/run/run-command.ts'
import type { RunSubject } from '../../../src/testing/run/run-subject.ts'
import { runSuite } from '../../../src/testing/run/run-suite.ts'
import { miniRun, type RunFlaw } from '../../zoo/mini-run.ts'
import { miniSupervise, type SuperviseFlaw } from '../../zoo/mini-supervise.ts'

const tested = runSuite.properties.filter(({ schedules }) => schedules !== undefined)

describe('what is broken', () => {
  const breaks: Readonly<Record<string, RunFlaw | SuperviseFlaw>> = {
    L1: 'handles the newest event first',
    L2: 'saves before it handles',
    L3: 'names every stage receive',
    L4: 'saves the event at hand',
    L5: 'hands the last event of a batch out again with the next one',
    L6: 'goes on after a save that failed',
    L7: 'an abort skips the last save',
    L8: 'never stops the consumer',
    L9: 'handles every type',
    L10: 'handles a batch at once',
    L11: 'hides what is thrown after the abort',
    L12: 'overwrites whatever is stored',
    L13: 'ends well when its stream ends',
    L14: 'starts from the head whatever is stored',
    L15: 'saves positions without the incarnation',
    L16: 'never yields',
    L17: 'reads ahead without a bound',
    L18: 'saves at the end of a batch only',
    L21: 'takes every option as it is',
    O4: 'starts from the earliest, whatever is stored',
    S16: 'does not delay',
    Y1: 'leaves the stream open when it fails',
    V1: 'an attempt that throws ends it',
    V2: 'waits without jitter',
    V3: 'progress does not end the back-off',
    V4: 'tries again what cannot be mended',
    V5: 'duels for ever',
    V6: 'waits after a reset',
    V7: 'sleeps through an abort',
    V8: 'waits for an attempt that hangs',
  }
  test.each(tested.map(({ id }) => id))('breaks %s under its own schedules', async (id) => {
    const flaw = breaks[id] as RunFlaw & SuperviseFlaw
    const property = tested.find((each) => each.id === id) as (typeof tested)[number]
    const create = (): RunSubject => (id.startsWith('V') ? { supervise: miniSupervise(flaw) } : { run: miniRun(flaw) })
    const { failure } = await checkProperty(runSuite, property, create, {
      runs: 1000,
      seed: 1,
      timeLimitMs: 10_000,
      limitMs: 1000,
    })
    expect(failure?.property).toBe(id)
  })
})

describe('a schedule', () => {
  const steps = async (schedule: readonly RunCommand[], subject: RunSubject = {}): Promise<readonly string[]> => {
    const kept = keptSteps()
    await runSuite.play(subject, schedule, kept, { limitMs: 1000 }).catch((error: Error) => kept.step(error.message))
    return kept.lines
  }

  test('makes the same steps, a hundred times of a hundred', async () => {
    const schedules = tested.flatMap(({ schedules }) =>
      fc.sample(schedules as NonNullable<typeof schedules>, { numRuns: 1, seed: 7 }),
    )
    for (const schedule of schedules) {
      const first = await steps(schedule)
      for (let i = 0; i < 99; i++) expect(await steps(schedule)).toEqual(first)
    }
  })

  test('may hold commands that are impossible where they stand', async () => {
    expect(
      await steps([
        { do: 'trim', event: 3 },
        { do: 'rewind', event: 2 },
        { do: 'reset', cursor: 9 },
        { do: 'run both', life: {}, rival: {} },
      ]),
    ).toHaveLength(5)
  })

  test('is the same from its JSON', async () => {
    for (const { schedules } of tested) {
      for (const schedule of fc.sample(schedules as NonNullable<typeof schedules>, { numRuns: 10, seed: 3 })) {
        const copy = JSON.parse(JSON.stringify(schedule)) as readonly RunCommand[]
        expect(await steps(copy)).toEqual(await steps(schedule))
      }
    }
  })
})

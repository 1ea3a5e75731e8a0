import { expect, test } from 'vitest'
import type { Command } from '../../../src/testing/conformance/property.ts'
import { keptSteps } from '../../../src/testing/conformance/steps.ts'
import { formatToken, parseToken } from '../../../src/testing/conformance/token.ts'
import type { SourceCommand } from '../../../src/testing/source/source-command.ts'
import { sourceSuite } from '../../../src/testing/source/source-suite.ts'
import { hunt } from '../../zoo/hunt.ts'
import { type SourceCase, sourceCases } from '../../zoo/source-cases.ts'

const REPLAYS = 100

async function play({ create }: SourceCase, schedule: readonly Command[]): Promise<string> {
  const steps = keptSteps()
  const played = sourceSuite.play(create(), schedule as readonly SourceCommand[], steps, { limitMs: 5 })
  const outcome = await played.then(
    () => 'nothing is broken',
    (error: unknown) => String(error),
  )
  return [...steps.lines, outcome].join('\n')
}

for (const name of [
  'resumes at its cursor, not after it',
  'a trimmed cursor is moved to the earliest',
  'the position does not move over events of other types',
  'streams share what they have read',
  'what comes between the look and the wait is missed',
  'of several headers of a name the last is kept',
  'after a lost connection it repeats one',
]) {
  test(`the schedule that finds "${name}" gives the same steps and message ${REPLAYS} of ${REPLAYS} times`, async () => {
    const each = sourceCases.find((one) => one.name === name) as SourceCase
    const { failure } = await hunt(each, 1)
    const { property, schedule } = failure ?? expect.fail('no property is broken')
    const replay = parseToken(formatToken({ of: 'source', property, schedule }))
    const first = await play(each, replay.schedule)
    expect(first).toContain('Violation')
    for (let i = 1; i < REPLAYS; i++) expect(await play(each, replay.schedule)).toBe(first)
  })
}

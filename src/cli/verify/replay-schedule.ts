import { messageOf, OptionError } from '../../core/errors.ts'
import { maskPasswords } from '../../service/mask-passwords.ts'
import { testOf } from '../../testing/conformance/describe-failure.ts'
import type { Command, Subject, Suite } from '../../testing/conformance/property.ts'
import { keptSteps } from '../../testing/conformance/steps.ts'
import type { Kind } from '../../testing/conformance/suites.ts'
import { Violation } from '../../testing/conformance/violation.ts'
import type { Replayed } from './message.ts'
import { plainError } from './plain-error.ts'

/** What is played again. */
export interface ReplayOf {
  readonly of: Kind
  /** The property that it broke. */
  readonly property: string
  readonly schedule: readonly Command[]
  readonly limitMs: number
}

/** Plays one schedule on a fresh subject, and keeps its steps whatever becomes of it. Throws if no subject can be made, or if it lacks what the property needs. */
export async function replaySchedule(
  suite: Suite<never>,
  create: () => Promise<Subject>,
  { of, property, schedule, limitMs }: ReplayOf,
): Promise<Replayed> {
  const { title = '', needs = [] } = suite.properties.find(({ id }) => id === property) ?? {}
  const subject = (await create()) as Subject & Readonly<Record<string, unknown>>
  const steps = keptSteps()
  let broken: Replayed['broken']
  try {
    const missing = needs.filter((need) => subject[need] === undefined)
    if (missing.length > 0)
      throw new OptionError(`${property} needs ${missing.join(' and ')}, which create() does not return`)
    broken = await suite.play(subject as never, schedule as never, steps, { limitMs }).then(
      () => undefined,
      (error: unknown) => brokenBy(error, property),
    )
  } finally {
    await subject[Symbol.asyncDispose]?.()
  }
  return {
    of,
    property,
    title,
    steps: steps.lines.map(maskPasswords),
    ...(broken === undefined ? {} : { broken }),
    test: testOf(of, property, schedule),
  }
}

function brokenBy(error: unknown, property: string): Replayed['broken'] {
  if (error instanceof Violation) return { property: error.property, message: maskPasswords(error.message) }
  const message = maskPasswords(`the schedule could not be played: ${messageOf(error)}`)
  return { property, message, stack: plainError(error).stack }
}

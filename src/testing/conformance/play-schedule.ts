import { OptionError } from '../../core/errors.ts'
import type { Command, Patience, Subject, Suite } from './property.ts'
import { type KeptSteps, keptSteps } from './steps.ts'
import { type Outcome, outcomeOf } from './within.ts'

/** What came of a schedule. */
export interface Played extends Pick<KeptSteps, 'lines' | 'refusals'> {
  /** What it broke with; undefined if it went well. */
  readonly error: unknown
  /** What the subject lacks, so that nothing was played. */
  readonly missing: readonly string[]
}

/** To make a subject or to end it may take as long as a server takes to start. */
const SUBJECT_MS = 60_000

/** Plays a schedule on a fresh subject. Rejects only if that cannot be made, or cannot be disposed of. */
export async function playSchedule<S extends Subject, C extends Command>(
  suite: Suite<S, C>,
  create: () => PromiseLike<S> | S,
  schedule: readonly C[],
  { limitMs, needs = [] }: Patience & { readonly needs?: readonly (keyof S & string)[] | undefined },
): Promise<Played> {
  const subject = ended(await outcomeOf((async () => create())(), SUBJECT_MS), 'create()')
  if (typeof subject !== 'object' || subject === null)
    throw new OptionError(`create() must return what is under test, an object, but returned ${String(subject)}`)
  const steps = keptSteps()
  const missing = needs.filter((need) => subject[need] === undefined)
  let error: unknown
  try {
    if (missing.length === 0) await suite.play(subject, schedule, steps, { limitMs })
  } catch (thrown) {
    error = thrown ?? new Error('the schedule was broken by undefined, thrown')
  }
  const dispose = subject[Symbol.asyncDispose]?.bind(subject)
  if (dispose !== undefined) ended(await outcomeOf((async () => dispose())(), SUBJECT_MS), 'the dispose of a subject')
  return { lines: steps.lines, refusals: steps.refusals, error, missing }
}

function ended<T>(outcome: Outcome<T>, what: string): T {
  if (outcome.is === 'value') return outcome.value
  if (outcome.is === 'error') throw outcome.error
  throw new OptionError(`${what} has not ended within ${SUBJECT_MS / 1000} s`)
}

import fc from 'fast-check'
import { messageOf } from '../../core/errors.ts'
import { playSchedule } from './play-schedule.ts'
import type { Command, Grade, Patience, Property, Subject, Suite } from './property.ts'
import { Violation } from './violation.ts'

/** What became of one property. */
export interface PropertyResult {
  readonly id: string
  readonly grade: Grade
  readonly title: string
  readonly outcome: 'passed' | 'failed' | 'untested'
  /** How many schedules were played, shrinking included. */
  readonly schedules: number
  readonly elapsedMs: number
  /** Why it is untested. */
  readonly reason?: string
  /** Options and events that the subject refused, so that nothing is known about them. */
  readonly refusals: readonly string[]
  readonly failure?: Failure
}

/** The shortest schedule that was found to break a property. */
export interface Failure {
  /** The property that is broken, which may be another than the one that was looked at. */
  readonly property: string
  readonly message: string
  readonly schedule: readonly Command[]
  /** What was done, in words, up to the step at which it broke. */
  readonly steps: readonly string[]
  readonly seed: number
  /** How many commands the schedule had when it was found. */
  readonly foundWith: number
  readonly cause?: unknown
}

/** How a property is checked. */
export interface CheckOptions extends Patience {
  /** The most schedules. */
  readonly runs: number
  readonly seed: number
  /** No schedule is begun after this; with a failure, shrinking ends then. In ms. */
  readonly timeLimitMs: number
  readonly signal?: AbortSignal | undefined
}

/** Plays schedules on fresh subjects until one breaks the property, which is then shrunk. Rejects only if a subject cannot be made. */
export async function checkProperty<S extends Subject, C extends Command>(
  suite: Suite<S, C>,
  property: Property<S, C>,
  create: () => PromiseLike<S> | S,
  { runs, seed, timeLimitMs, limitMs, signal }: CheckOptions,
): Promise<PropertyResult> {
  const { id, grade, title, schedules, needs = [], option } = property
  const startedAt = performance.now()
  const refusals = new Set<string>()
  let schedulesPlayed = 0
  let missing: readonly string[] = []
  let found: Found | undefined
  let unplayable: { readonly error: unknown } | undefined
  const result = (rest: Pick<PropertyResult, 'outcome' | 'reason' | 'failure'>): PropertyResult => {
    const elapsedMs = performance.now() - startedAt
    return { id, grade, title, schedules: schedulesPlayed, elapsedMs, refusals: [...refusals], ...rest }
  }
  if (schedules === undefined) return result({ outcome: 'untested', reason: 'it cannot be seen from outside' })

  const isOver = (): boolean =>
    performance.now() - startedAt > timeLimitMs || signal?.aborted === true || unplayable !== undefined
  /** What a schedule breaks; undefined if nothing, or if it was not played. */
  async function violationOf(schedule: readonly C[]): Promise<Found | undefined> {
    // A schedule that was begun is played to its end, since what it has frozen has to thaw; none is begun after the limit.
    if (isOver()) return undefined
    try {
      const played = await playSchedule(suite, create, schedule, { limitMs, needs })
      missing = played.missing
      if (missing.length > 0) return undefined
      schedulesPlayed++
      for (const refusal of played.refusals) refusals.add(refusal)
      const { error: cause, lines: steps } = played
      if (cause === undefined || (option !== undefined && refusals.has(option))) return undefined
      const violated = cause instanceof Violation ? cause : undefined
      const message = violated?.message ?? `the schedule could not be played: ${messageOf(cause)}`
      return { property: violated?.property ?? id, message, schedule, steps, cause }
    } catch (error) {
      unplayable = { error }
      return undefined
    }
  }

  let foundWith = 0
  const play = async (schedule: readonly C[]): Promise<boolean> => {
    const broken = await violationOf(schedule)
    if (broken === undefined) {
      fc.pre(!isOver() && missing.length === 0) // else there is no use in the next one
      return true
    }
    if (found === undefined) foundWith = schedule.length
    found = broken // the last that breaks is the shortest: the others were tried on the way
    return false
  }
  await fc.check(fc.asyncProperty(schedules, play), { numRuns: runs, seed, maxSkipsPerRun: 0 })
  if (unplayable !== undefined) throw unplayable.error
  if (missing.length > 0) {
    return result({ outcome: 'untested', reason: `it needs ${missing.join(' and ')}, which create() does not return` })
  }
  if (found !== undefined) {
    const shortest = await withoutIdleCommands(found, violationOf)
    return result({ outcome: 'failed', failure: { ...shortest, foundWith, seed } })
  }
  if (option !== undefined && refusals.has(option))
    return result({ outcome: 'untested', reason: `the subject refuses, or does without: ${option}` })
  if (schedulesPlayed === 0)
    return result({ outcome: 'untested', reason: 'no schedule was begun within the time limit' })
  return result({ outcome: 'passed' })
}

type Found = Omit<Failure, 'foundWith' | 'seed'>

/** fast-check makes commands simpler, but leaves some that do nothing: each is left out in turn, as long as the same property breaks. */
async function withoutIdleCommands<C extends Command>(
  found: Found,
  violationOf: (schedule: readonly C[]) => Promise<Found | undefined>,
): Promise<Found> {
  let shortest = found
  for (let i = found.schedule.length - 1; i >= 0; i--) {
    const shorter = await violationOf(shortest.schedule.toSpliced(i, 1) as C[])
    if (shorter?.property === found.property) shortest = shorter
  }
  return shortest
}

import type { Failure, PropertyResult } from '../../testing/conformance/check-property.ts'
import type { Kind } from '../../testing/conformance/suites.ts'

/** What became of a property, as plain data: it comes from the thread in which the module runs. */
export interface Finding extends Omit<PropertyResult, 'failure'> {
  readonly failure?: FoundFailure
}

/** A failure with all that is told of it. */
export interface FoundFailure extends Omit<Failure, 'cause'> {
  /** The rule that is broken. */
  readonly rule: string
  /** What breaks for a user where it does not hold. */
  readonly why: string
  readonly token: string
  /** A test to copy. */
  readonly test: string
  /** All of it, for people. */
  readonly text: string
  /** Of what was thrown, if it was no violation. */
  readonly stack?: string | undefined
}

/** All that was found. */
export interface Findings {
  /** As it was given. */
  readonly module: string
  readonly of: Kind
  readonly seed: number
  /** The most schedules per property. */
  readonly runs: number
  readonly properties: readonly Finding[]
  /** Ids of those that were not looked at, since it was stopped or could not go on. */
  readonly left: readonly string[]
  readonly schedules: number
  readonly elapsedMs: number
}

/** How many properties came out how. */
export function countsOf({ properties }: Pick<Findings, 'properties'>): Record<Finding['outcome'], number> {
  const counts = { passed: 0, failed: 0, untested: 0 }
  for (const { outcome } of properties) counts[outcome]++
  return counts
}

/** What was refused, and while which properties were looked at. */
export function refusalsOf({ properties }: Pick<Findings, 'properties'>): ReadonlyMap<string, readonly string[]> {
  const refusals = new Map<string, string[]>()
  for (const { id, refusals: some } of properties) {
    for (const refusal of some) refusals.set(refusal, [...(refusals.get(refusal) ?? []), id])
  }
  return refusals
}

/** A failure, and all properties at which the same schedule was found. */
export interface Together {
  readonly failure: FoundFailure
  readonly ids: readonly string[]
}

/** Each schedule that breaks something once, since it may have been found at several properties. */
export function foundTogether({ properties }: Pick<Findings, 'properties'>): Together[] {
  const found = new Map<string, { failure: FoundFailure; ids: string[] }>()
  for (const { id, failure } of properties) {
    if (failure === undefined) continue
    const before = found.get(failure.token)
    if (before === undefined) found.set(failure.token, { failure, ids: [id] })
    else before.ids.push(id)
  }
  return [...found.values()]
}

/** What is to be said of an outcome beside the rule. */
export function whyOf({ id, outcome, reason, failure }: Finding): string | undefined {
  if (failure !== undefined) return failure.property === id ? undefined : `broken: ${failure.property}, ${failure.rule}`
  return reason === undefined ? undefined : `${outcome}: ${reason}`
}

import fc from 'fast-check'
import type { Property } from '../conformance/property.ts'
import type { LifePlan, RunCommand } from './run-command.ts'
import type { RunSubject } from './run-subject.ts'

/** A rule of run loops and supervisors. */
export type RunProperty = Property<RunSubject, RunCommand>

/** One that every implementation must have. */
export function required(id: string, rest: Required<Pick<RunProperty, 'title' | 'why' | 'schedules'>>): RunProperty {
  return { id, grade: 'required', ...rest }
}

/** One that cannot be seen from outside. */
export function untested(id: string, rest: Pick<RunProperty, 'title' | 'why'>): RunProperty {
  return { id, grade: 'untested', ...rest }
}

/** Commands that are more likely than others. */
export function often<T>(arbitrary: fc.Arbitrary<T>, weight = 3): { arbitrary: fc.Arbitrary<T>; weight: number } {
  return { arbitrary, weight }
}

/** A fault, or none now and then. */
export function maybe(fault: fc.Arbitrary<NonNullable<LifePlan['fault']>>): fc.Arbitrary<LifePlan['fault']> {
  return fc.option(fault, { nil: undefined, freq: 4 })
}

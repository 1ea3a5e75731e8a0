import type fc from 'fast-check'
import type { Steps } from './steps.ts'

/**
 * How sure a property is, after the reactive-streams TCK. `required`: every implementation must have it. `capability`: it is tested
 * where the fault it needs can be staged. `stochastic`: it is about time, so the limits are wide. `untested`: it cannot be seen from
 * outside; it is listed so that nobody takes it for tested.
 */
export type Grade = 'required' | 'capability' | 'stochastic' | 'untested'

/** One step of a schedule: plain data, so that a schedule can be shrunk, printed, and played again from a token. */
export interface Command {
  readonly do: string
}

/** What is under test, fresh. A suite says what else it must and may have. */
export interface Subject {
  /** Called when the schedule is over, whatever became of it. */
  [Symbol.asyncDispose]?(): PromiseLike<void> | void
}

/** A rule that can be broken, and the schedules that are likely to break it. */
export interface Property<S extends Subject, C extends Command> {
  /** Stable; the letters are those of the suites: S and O for streams, L for the run loop, C for cursor stores, B for sinks and bridges, Y for lifetimes. */
  readonly id: string
  readonly grade: Grade
  /** The rule. */
  readonly title: string
  /** What breaks for a user where it does not hold; one sentence. */
  readonly why: string
  /** Members of the subject without which it cannot be tested. */
  readonly needs?: readonly (keyof S & string)[]
  /** What a note of the schedules must not say for the property to count as tested, as `toHead`: see `Steps.refused`. */
  readonly option?: string
  /** Not there for what is untested. */
  readonly schedules?: fc.Arbitrary<readonly C[]>
}

/** How long is waited. */
export interface Patience {
  /** What takes longer than this has not ended. In ms. */
  readonly limitMs: number
}

/** The properties of one kind of subject, over one model. */
export interface Suite<S extends Subject = Subject, C extends Command = Command> {
  readonly properties: readonly Property<S, C>[]
  /**
   * Takes a fresh subject through a schedule, holds it against the model after every step, and throws a `Violation` at the first
   * difference. Leaves nothing open but the subject itself. A command that is impossible where it stands does nothing.
   */
  play(subject: S, schedule: readonly C[], steps: Steps, patience: Patience): Promise<void>
}

import type { Kind, Subjects } from '../../src/testing/conformance/suites.ts'

/** An implementation with a bug that a real one could have, or has had. */
export interface ZooCase<K extends Kind = Kind> {
  /** The bug, in words; unique within its kind. */
  readonly name: string
  readonly of: K
  /** A fresh one. */
  create(): Subjects[K] | PromiseLike<Subjects[K]>
  /** Where the bug is known from. */
  readonly cites?: string
}

import type { run } from '../../core/run.ts'
import type { supervise } from '../../core/supervise.ts'
import type { Subject } from '../conformance/property.ts'

/**
 * A run loop, a supervisor, or both; what is left out is this package's own. They are given a simulated log, a simulated store
 * and a virtual clock, so everything they wait for has to come from those.
 *
 * @example conformance({ test, of: 'run', create: () => ({ run: myRun }) })
 */
export interface RunSubject extends Subject {
  readonly run?: typeof run
  readonly supervise?: typeof supervise
}

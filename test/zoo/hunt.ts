import { checkProperty, type Failure } from '../../src/testing/conformance/check-property.ts'
import type { Subject } from '../../src/testing/conformance/property.ts'
import { suiteOf } from '../../src/testing/conformance/suites.ts'
import type { ZooCase } from './zoo-case.ts'

/** What became of a case. */
export interface Hunted {
  readonly case: ZooCase
  /** Undefined if it survived. */
  readonly failure: Failure | undefined
  readonly schedules: number
  readonly elapsedMs: number
}

/** A bug that takes longer to be found is a hole in the suite. */
const WITHIN_MS = 10_000
/** In memory, nothing takes time but what hangs. */
const LIMIT_MS = 50
/** A machine that stands still for a moment accuses nobody. */
const PATIENT_MS = 900
/** Schedules per property, round after round: most bugs are found by the first few of the right property. */
const ROUNDS = [20, 100, 500, 2500]

/** Holds a case against its suite until a property breaks. */
export async function hunt(zooCase: ZooCase, seed: number): Promise<Hunted> {
  const suite = suiteOf(zooCase.of)
  const startedAt = performance.now()
  let schedules = 0
  for (const runs of ROUNDS) {
    for (const property of suite.properties) {
      const timeLimitMs = Math.ceil(WITHIN_MS - (performance.now() - startedAt))
      if (timeLimitMs <= 0) break
      const options = { runs, seed: seed + runs, timeLimitMs, limitMs: LIMIT_MS }
      const result = await checkProperty(suite, property, zooCase.create as () => Subject, options)
      schedules += result.schedules
      const { failure } = result
      if (failure !== undefined) return { case: zooCase, failure, schedules, elapsedMs: performance.now() - startedAt }
    }
  }
  return { case: zooCase, failure: undefined, schedules, elapsedMs: performance.now() - startedAt }
}

/** A correct implementation that was accused. */
export interface FalseAlarm {
  readonly case: ZooCase
  readonly seed: number
  readonly failure: Failure
}

/** Holds a correct implementation against every property, with one seed after the other; stops at the first alarm. */
export async function findFalseAlarm(
  zooCase: ZooCase,
  { seeds, runs }: { readonly seeds: number; readonly runs: number },
): Promise<{ readonly alarm: FalseAlarm | undefined; readonly schedules: number }> {
  const suite = suiteOf(zooCase.of)
  let schedules = 0
  for (let seed = 1; seed <= seeds; seed++) {
    for (const property of suite.properties) {
      const options = { runs, seed, timeLimitMs: WITHIN_MS, limitMs: PATIENT_MS }
      const result = await checkProperty(suite, property, zooCase.create as () => Subject, options)
      schedules += result.schedules
      if (result.failure !== undefined) return { alarm: { case: zooCase, seed, failure: result.failure }, schedules }
    }
  }
  return { alarm: undefined, schedules }
}

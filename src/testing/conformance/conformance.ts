import { checkProperty, type PropertyResult } from './check-property.ts'
import { describeFailure } from './describe-failure.ts'
import type { Subject } from './property.ts'
import { selectProperties } from './select-properties.ts'
import { type Kind, suiteOf } from './suites.ts'
import { checkCreate, checkOptions, type VerifyOptions } from './verify.ts'
import { Violation } from './violation.ts'

/** A runner's function that registers a test: vitest's, node:test's, or one of the shape that jest and mocha have. */
export type RegisterTest = (title: string, body: () => Promise<void>, timeoutMs?: number) => unknown

/** What `conformance` is given. */
export interface ConformanceOptions<K extends Kind = 'source'> extends Omit<VerifyOptions<K>, 'signal' | 'onProperty'> {
  readonly test: RegisterTest
  /** Is told of each property how it went, schedules included. Default: nobody. */
  onResult?(result: PropertyResult): void
}

/** A test is given this much longer than its schedules, for the last of them and its shrinking. */
const MORE_MS = 60_000

/**
 * Registers a test for each property with the runner that is passed in. A property that cannot be tested is skipped where the
 * runner knows how to (vitest, node:test, mocha); its title says why elsewhere.
 *
 * @example
 * conformance({ test, create: () => ({ source: mySource(file), append: (events) => write(file, events) }) })
 */
export function conformance<K extends Kind = 'source'>(options: ConformanceOptions<K>): void {
  const { of = 'source', test, create, only, onResult } = options
  const suite = suiteOf(of)
  checkCreate(create)
  const checked = checkOptions(options)
  for (const property of selectProperties(of, only)) {
    const { id, title, grade } = property
    // No parameter: jest and mocha would take it for a callback that has to be called.
    const body = async function (this: unknown, ...context: readonly unknown[]): Promise<void> {
      const runner = (context[0] ?? this) as RunnerContext | undefined
      if (typeof runner?.timeout === 'function') runner.timeout(checked.timeLimitMs + MORE_MS)
      const result = await checkProperty(suite, property, create as () => Subject, checked)
      onResult?.(result)
      if (result.outcome === 'untested') runner?.skip?.(result.reason)
      const { failure } = result
      if (failure === undefined) return
      const broken = suite.properties.find((each) => each.id === failure.property) ?? property
      throw new Violation(failure.property, describeFailure(of, failure, broken), failure.cause)
    }
    test(`${id} (${grade}) ${title}`, body, checked.timeLimitMs + MORE_MS)
  }
}

/** What runners give a test, each of them a part. */
interface RunnerContext {
  skip?(reason?: string): void
  timeout?(ms: number): void
}

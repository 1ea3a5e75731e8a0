import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** The files that take longest begin first, so that none of them is left over at the end, with one worker idle. */
const slow = [
  'test/bridge/real.test.ts',
  'test/kafka/sink-faults.test.ts',
  'test/mysql/concurrent-writers.test.ts',
  'test/mysql/gap-attacks.test.ts',
  'test/bridge/simulated.test.ts',
]

/** The order of the test files. */
export class SlowFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const index = slow.findIndex((name) => moduleId.endsWith(name))
      return index < 0 ? slow.length : index
    }
    const sorted = await super.sort(files)
    return sorted.toSorted((a, b) => rank(a) - rank(b))
  }
}

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { partitionBatches } from '../../src/adapters/kafka/partition-batches.ts'
import { begin, options, readInParts, step } from './partition-properties.ts'
import { type RealStep, realPartitions } from './real-partition.ts'

/** Two dozen seconds; a simulated log is read thousands of times. */
const RUNS = 25

test('of a real log, every committed record comes once and in order, from every position, however the reading is split', async () => {
  const take = await realPartitions()
  const real = step.filter((each): each is RealStep => ['append', 'end', 'trim', 'nothing'].includes(each.op))
  const arbitrary = fc.record({
    ...{ ...options, begin },
    before: fc.array(real, { maxLength: 16, size: 'max' }),
    during: fc.array(real, { maxLength: 8, size: 'max' }),
    splits: fc.array(fc.nat({ max: 8 }), { maxLength: 4 }),
  })
  const ends = new Set<string>()
  await fc.assert(
    fc.asyncProperty(arbitrary, async ({ before, during, ...o }) => {
      await using partition = await take({ before, during })
      await readInParts(partition, o, { batchesOf: partitionBatches, count: (end) => ends.add(end) })
    }),
    { numRuns: RUNS, endOnFailure: true }, // to shrink it would take minutes: the seed is printed
  )
  expect([...ends]).toEqual(expect.arrayContaining(['waiting', 'stopped']))
}, 180_000)

import { memoryCursors, memoryLog, run } from 'reflex-bridge'
import { compare, type Result, rate } from '../measure.ts'

const COUNT = 1_000_000
const BATCH = 1000

/** The run loop over the in-memory log, against a bare loop over the same events in arrays of 1,000. */
export async function runLoop(): Promise<Result[]> {
  const log = memoryLog({ batchSize: BATCH })
  const events = log.append(...Array.from({ length: 1000 }, () => ({ type: 1, foreignId: 'a', timestamp: 1 })))
  while (events.length < COUNT)
    events.push(...log.append(...Array.from({ length: 1000 }, () => ({ type: 1, foreignId: 'a', timestamp: 1 }))))
  const batches = Array.from({ length: COUNT / BATCH }, (_, i) => events.slice(i * BATCH, (i + 1) * BATCH))
  const { stream } = log.source

  let handled = 0
  const synchronous = (): void => {
    handled++
  }
  const asynchronous = async (): Promise<void> => {
    handled++
  }
  const ours = (handle: () => void | Promise<void>) => () =>
    rate(COUNT, () => run({ stream, cursors: memoryCursors(), consumer: { name: 'bench', handle } }, { toHead: true }))
  const results = [
    await compare({
      case: 'run loop, synchronous handler',
      unit: 'events/s',
      referenceName: 'for … of over arrays',
      ours: ours(synchronous),
      reference: () =>
        rate(COUNT, async () => {
          for (const batch of batches) for (const _ of batch) synchronous()
        }),
    }),
    await compare({
      case: 'run loop, asynchronous handler',
      unit: 'events/s',
      referenceName: 'for … of with await over arrays',
      ours: ours(asynchronous),
      reference: () =>
        rate(COUNT, async () => {
          for (const batch of batches) for (const _ of batch) await asynchronous()
        }),
    }),
  ]
  if (handled === 0) throw new Error('nothing was handled')
  return results
}

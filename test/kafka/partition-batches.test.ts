import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { partitionBatches } from '../../src/adapters/kafka/partition-batches.ts'
import type { Event } from '../../src/core/event.ts'
import { errorOf } from '../tools/reader.ts'
import { options, partitionAfter, partitionProperties, readPartition, step, toEvent } from './partition-properties.ts'
import type { SimulatedPartition } from './simulated-partition.ts'

describe('partitionBatches, over any history of a log', () => {
  test('every committed record comes once and in order, from every position, however the reading is split', async () => {
    const ends = await partitionProperties.splits(partitionBatches)
    expect(ends['waiting']).toBeGreaterThan(1000)
    expect(ends['trimmed']).toBeGreaterThan(100)
    expect(ends['moved']).toBeGreaterThan(100)
    expect(ends).not.toHaveProperty('ahead')
  })

  test('toHead ends at the position that was the head at open', async () => {
    const ends = await partitionProperties.toHead(partitionBatches)
    expect(ends['ended']).toBeGreaterThan(1000)
    expect(ends['trimmed']).toBeGreaterThan(50)
    expect(Object.keys(ends).toSorted()).toEqual(['ended', 'moved', 'trimmed'])
  })

  test('a lost tail is an error where it can be known, and nothing of the log that replaces it is taken for what followed', async () => {
    const ends = await partitionProperties.lossy(partitionBatches)
    expect(ends['ahead, lost']).toBeGreaterThan(100)
  })
})

describe('a record that cannot be read', () => {
  const all = { batchSize: 1000, batchBytes: 100_000, types: undefined, upTo: Number.POSITIVE_INFINITY }

  test('ends the reading with its position, after all that comes before it', async () => {
    const arbitrary = fc.record({
      ...options,
      before: fc.array(step, { minLength: 1, maxLength: 30, size: 'max' }),
      nth: fc.nat(),
    })
    await fc.assert(
      fc.asyncProperty(arbitrary, async ({ before, nth, ...o }) => {
        const expected = await readPartition(partitionAfter({ before, during: [] }), {
          ...o,
          ...all,
          after: '',
          toHead: true,
        })
        const bad = expected.events[nth % expected.events.length]
        fc.pre(bad !== undefined)
        const partition = partitionAfter({ before, during: [] })
        const events: Event[] = []
        let cursor = -1n
        const reading = partitionBatches(partition, {
          ...{ ...o, log: 'log', from: partition.low, proven: false, end: undefined },
          toEvent: (record) => {
            if (record.offset === bad.id) throw new TypeError('poison')
            return toEvent(record)
          },
        })
        const drain = async (): Promise<void> => {
          for await (const batch of reading) {
            events.push(...batch.events)
            expect(BigInt(batch.cursor)).toBeGreaterThan(cursor)
            cursor = BigInt(batch.cursor)
          }
        }
        expect(await errorOf(drain())).toMatchObject({ code: 'EVENT_UNDECODABLE', position: bad.id, retriable: false })
        const earlier = expected.events.slice(0, expected.events.indexOf(bad))
        expect(events).toEqual(earlier.filter(({ type }) => o.types?.includes(type) !== false))
        expect(cursor).toBeLessThan(BigInt(bad.id))
        const last = earlier.at(-1)
        if (last !== undefined) expect(cursor).toBeGreaterThanOrEqual(BigInt(last.id))
      }),
      { numRuns: 1000 },
    )
  })

  /** Three batches of two records each; that at offset 2 cannot be unpacked. */
  function withBadBatch(): Pick<SimulatedPartition, 'bounds' | 'fetch'> {
    const partition = partitionAfter({
      before: [1, 2, 3].map(() => ({ op: 'append', producer: 4, types: [1, 1] })),
      during: [],
    })
    return {
      bounds: () => partition.bounds(),
      fetch: async (o) => {
        const reply = await partition.fetch(o)
        const records = (): never => {
          throw new RangeError('of no known compression')
        }
        const batches = reply.batches.map((batch) => (batch.baseOffset === 2n ? { ...batch, records } : batch))
        return { ...reply, batches }
      },
    }
  }
  const reading = { ...all, log: 'log', from: 0n, proven: true, toEvent }

  test('as a whole batch, ends the reading after the batches before it', async () => {
    const batches = partitionBatches(withBadBatch(), { ...reading, end: undefined })
    expect(await batches.next()).toMatchObject({ value: { events: [{ id: '0' }, { id: '1' }], cursor: '1' } })
    expect(String(await errorOf(batches.next()))).toContain('of no known compression')
  })

  test('behind the end of the reading is not touched', async () => {
    const batches = partitionBatches(withBadBatch(), { ...reading, end: 2n })
    expect(await batches.next()).toMatchObject({ value: { events: [{ id: '0' }, { id: '1' }], cursor: '1' } })
    expect(await batches.next()).toMatchObject({ done: true })
  })
})

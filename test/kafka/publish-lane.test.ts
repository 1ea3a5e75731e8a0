import fc from 'fast-check'
import { expect, it } from 'vitest'
import { type NewRecord, sizeOfRecord } from '../../src/adapters/kafka/protocol/new-record-batch.ts'
import { publishLane } from '../../src/adapters/kafka/publish-lane.ts'

const record = (i: number, size: number): NewRecord => ({
  key: Buffer.from(String(i)),
  value: Buffer.alloc(size),
  headers: [],
})

it('sends in order, one request at a time within its bounds, and tells each where it stands, or what has become of it', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(fc.record({ size: fc.constantFrom(0, 100, 200_000, 600_000), gone: fc.boolean(), moment: fc.nat(2) }), {
        maxLength: 20,
      }),
      fc.array(fc.record({ pieces: fc.integer({ min: 1, max: 3 }), foreign: fc.nat(2), fails: fc.boolean() })),
      async (scheduler, plan, requests) => {
        const log: number[] = []
        const outcomes = new Map<number, string>()
        let under = 0
        let request = 0
        let idled = 0
        const lane = publishLane(7, {
          send: async (records, told) => {
            expect(++under).toBe(1)
            const { pieces = 1, foreign = 0, fails = false } = requests[request++] ?? {}
            const bytes = records.reduce((sum, each) => sum + sizeOfRecord(each), 0)
            expect(records.length === 1 || bytes <= 512 * 1024).toBe(true)
            const all = records.map(({ key }) => Number(String(key)))
            const size = Math.ceil(all.length / pieces)
            for (let from = 0; from < all.length; from += size) {
              await scheduler.schedule(Promise.resolve(), 'request')
              if (fails && from + size >= all.length) {
                under--
                throw new Error(`request ${request}`)
              }
              for (let i = 0; i < foreign; i++) log.push(-1) // others write as well
              const part = all.slice(from, from + size)
              told(part.length, BigInt(log.length))
              log.push(...part)
            }
            under--
          },
          failed: async (error, records) => {
            for (const each of [...records, ...lane.takeUnsent()]) each.reject(error)
            return []
          },
          idle: () => idled++,
        })
        const add = (i: number): void => {
          const { size = 0, gone = false } = plan[i] ?? {}
          lane.add({
            record: record(i, size),
            send: () => {
              if (gone) throw new Error('gone')
            },
            resolve: ({ id, partition }) => outcomes.set(i, `${partition}/${id}`),
            reject: (error) => outcomes.set(i, (error as Error).message),
          })
        }
        for (const [i, { moment }] of plan.entries()) {
          for (let turns = 0; turns < moment; turns++) await new Promise((resolve) => setImmediate(resolve))
          add(i)
        }
        while (lane.isBusy) {
          if (scheduler.count() > 0) await scheduler.waitOne()
          else await new Promise((resolve) => setImmediate(resolve))
        }
        expect(outcomes.size).toBe(plan.length)
        const own = log.filter((each) => each >= 0)
        expect(own).toEqual(own.toSorted((a, b) => a - b)) // as they came, each once
        for (const [i, { gone }] of plan.entries()) {
          const at = log.indexOf(i)
          if (at >= 0) expect(outcomes.get(i)).toBe(`7/${at}`)
          else expect(outcomes.get(i)).toMatch(gone ? /gone|request/ : /request/)
        }
        expect(idled).toBe(plan.length === 0 ? 0 : Math.max(1, idled))
        expect(lane.isBusy).toBe(false)
      },
    ),
    { numRuns: 200 },
  )
})

it('puts what comes while a request is under way into the next one', async () => {
  const sizes: number[] = []
  const lane = publishLane(0, {
    send: async (records, told) => {
      sizes.push(records.length)
      await new Promise((resolve) => setTimeout(resolve, 5))
      told(records.length, 0n)
    },
    failed: async () => [],
    idle: () => {},
  })
  await Promise.all(
    Array.from(
      { length: 12_000 },
      (_, i) => new Promise((resolve, reject) => lane.add({ record: record(i, 0), send: () => {}, resolve, reject })),
    ),
  )
  expect(sizes).toEqual([5000, 5000, 2000])
})

it('sends what is added in the very turn in which it finds nothing more to send', async () => {
  const sent = Promise.withResolvers<void>()
  const lane = publishLane(0, {
    send: async () => sent.resolve(),
    failed: async () => [],
    idle: () => {},
  })
  const add = (send: () => void, reject: () => void): void =>
    lane.add({ record: record(0, 0), send, resolve: () => {}, reject })
  const gone = (): void => {
    throw new Error('gone')
  }
  add(gone, () =>
    queueMicrotask(() =>
      add(
        () => {},
        () => {},
      ),
    ),
  )
  await sent.promise
})

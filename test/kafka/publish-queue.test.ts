import { setImmediate as immediate } from 'node:timers/promises'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { partitionOfKey } from '../../src/adapters/kafka/partition-of-key.ts'
import type { NewRecord } from '../../src/adapters/kafka/protocol/new-record-batch.ts'
import { type PublishQueue, publishQueue } from '../../src/adapters/kafka/publish-queue.ts'
import { ReflexError } from '../../src/core/errors.ts'

const PARTITIONS = 2
const keys = ['a', 'b', 'c', 'd']
const failures = {
  refused: 'KAFKA_NOT_LEADER_FOR_PARTITION',
  lost: 'KAFKA_CONNECTION',
} as const

const plans = fc.record({
  publications: fc.array(
    fc.record({
      key: fc.constantFrom(...keys),
      isTooLarge: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, fc.constant(true)),
      isAborted: fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, fc.constant(true)),
      /** How many turns of the event loop, and then of the queue of microtasks, pass before it is published. */
      turns: fc.constantFrom(0, 0, 0, 1, 2),
      ticks: fc.nat({ max: 4 }),
    }),
    { minLength: 1, maxLength: 25 },
  ),
  /** What becomes of each request, and of each connection that is made. */
  requests: fc.array(fc.constantFrom('done', 'done', 'done', 'refused', 'lost'), { maxLength: 12 }),
  connections: fc.array(fc.constantFrom('made', 'made', 'made', 'refused'), { maxLength: 6 }),
})

interface World {
  readonly queue: PublishQueue
  /** By partition: what was appended, in order. */
  readonly logs: readonly number[][]
  open: number
}

/** A cluster in memory, whose answers come when the scheduler says so; a record's value says whether it is too large. */
function world(
  scheduler: fc.Scheduler,
  { requests, connections }: { requests: readonly string[]; connections: readonly string[] },
): World {
  let request = 0
  let connection = 0
  const answer = (what: string): Promise<void> => scheduler.schedule(Promise.resolve(), what)
  const logs = Array.from({ length: PARTITIONS }, (): number[] => [])
  const made: World = {
    logs,
    open: 0,
    queue: publishQueue({
      isUnknown: (code) => code === failures.lost,
      open: async (signal) => {
        await answer('connect')
        signal.throwIfAborted()
        if (connections[connection++] === 'refused') throw new ReflexError(failures.lost, 'not connected')
        let isOpen = true
        made.open++
        return {
          partitions: PARTITIONS,
          send: async (partition, records, told) => {
            const log = logs[partition] as number[]
            const outcome = requests[request++] ?? 'done'
            for (const record of records) {
              await answer('request')
              if (!isOpen) throw new ReflexError(failures.lost, 'closed')
              if (outcome === 'refused') throw new ReflexError(failures.refused, 'not the leader')
              if (record.value?.length === 1) throw new ReflexError('KAFKA_MESSAGE_TOO_LARGE', 'too large')
              log.push(numberOf(record))
              if (outcome === 'lost') throw new ReflexError(failures.lost, 'lost')
              told(1, BigInt(log.length - 1))
            }
          },
          explain: async (_, record) => {
            await answer('explain')
            return new ReflexError('EVENT_TOO_LARGE', String(numberOf(record)))
          },
          [Symbol.asyncDispose]: async () => {
            if (isOpen) made.open--
            isOpen = false
          },
        }
      },
    }),
  }
  return made
}

const numberOf = ({ headers }: NewRecord): number => Number(headers[1])

it('publishes each record once at most, in the order of the calls for each key, whatever fails and when', async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), plans, async (scheduler, { publications, ...fates }) => {
      const cluster = world(scheduler, fates)
      const { queue, logs } = cluster
      const outcomes: (string | undefined)[] = publications.map(() => undefined)
      const appended: number[] = []
      const add = (i: number): void => {
        const { key = '', isTooLarge = false, isAborted = false } = publications[i] ?? {}
        queue.add({
          record: { key: Buffer.from(key), value: Buffer.alloc(Number(isTooLarge)), headers: ['n', String(i)] },
          send: () => {
            if (isAborted) throw new Error('aborted')
          },
          resolve: ({ id, partition }) => {
            outcomes[i] = `${partition}/${id}`
            appended.push(i)
          },
          reject: (error) => {
            outcomes[i] = error instanceof ReflexError ? `${error.code} ${error.message}` : 'aborted'
          },
        })
      }
      const publishing = (async () => {
        for (const [i, { turns, ticks }] of publications.entries()) {
          for (let turn = 0; turn < turns; turn++) await immediate()
          for (let tick = 0; tick < ticks; tick++) await Promise.resolve()
          add(i)
        }
      })()
      let left = 2000
      const isSettled = (): boolean => outcomes.every((outcome) => outcome !== undefined)
      while (!isSettled() && left-- > 0) {
        if (scheduler.count() > 0 && left % 2 === 0) await scheduler.waitOne()
        else await immediate()
      }
      await publishing
      expect(outcomes).not.toContain(undefined)

      for (const [i, outcome] of outcomes.entries()) {
        const { key = '', isTooLarge, isAborted } = publications[i] ?? {}
        const partition = partitionOfKey(Buffer.from(key), PARTITIONS)
        const log = logs[partition] as number[]
        expect(log.filter((each) => each === i).length).toBeLessThanOrEqual(1)
        if (isTooLarge) expect(outcome).toMatch(new RegExp(`^EVENT_TOO_LARGE ${i}$|^KAFKA_(CONN|NOT)|aborted`))
        else expect(outcome).toMatch(/^\d|^KAFKA_(CONN|NOT)|aborted/)
        if (isAborted) expect(outcome).not.toMatch(/^\d/)
        if (/^\d/.test(outcome ?? '')) expect(outcome).toBe(`${partition}/${log.indexOf(i)}`)
      }
      for (const log of logs)
        for (const key of keys) {
          const own = log.filter((i) => publications[i]?.key === key && appended.includes(i))
          expect(own).toEqual(own.toSorted((a, b) => a - b))
        }
      queue.close()
      while (scheduler.count() > 0) await scheduler.waitOne()
      await immediate()
      expect(cluster.open).toBe(0)
    }),
    { numRuns: 600 },
  )
})

import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { memoryLog } from '../../src/core/memory-log.ts'
import { jsonCodec, type Message, publisher, type Subscription, subscribe } from '../../src/pubsub/index.ts'
import { memoryAppender } from './memory-appender.ts'

type Step =
  | { readonly do: 'publish'; readonly keys: readonly number[] }
  | {
      readonly do: 'subscribe'
      readonly durable: boolean
      readonly backfill: boolean
      readonly reset: boolean
      readonly serial: boolean
    }
  | { readonly do: 'settle' | 'close' | 'unsubscribe' }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('publish' as const),
      keys: fc.array(fc.nat(2), { minLength: 1, maxLength: 6 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('subscribe' as const),
      durable: fc.boolean(),
      backfill: fc.boolean(),
      reset: fc.boolean(),
      serial: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constantFrom('settle' as const, 'close' as const, 'unsubscribe' as const) }),
  },
)

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (condition()) return
    await setImmediate()
  }
  expect.fail(`not in time: ${what}`)
}

/** A subscription at work, and what it is to get. */
interface Live {
  readonly subscription: Subscription
  readonly durable: boolean
  readonly serial: boolean
  readonly start: number
  readonly got: Message[]
  readonly running: { now: number; most: number; readonly keys: Set<string> }
}

test('a subscription gets what its words promise, through every sequence of publish, subscribe, close and unsubscribe', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 14 }), async (steps) => {
      const log = memoryLog({ batchSize: 3 })
      const { publish } = publisher({ to: memoryAppender(log), client: 'test' })
      const cursors = memoryCursors()
      let published = 0
      let place: number | undefined // what a durable subscription has kept; undefined if nothing
      let live: Live | undefined

      const ids = ({ got }: Live): number[] => got.map(({ id }) => Number(id))
      const settle = async (one: Live): Promise<void> => {
        await until(
          () => new Set(ids(one)).size === published - one.start && one.running.now === 0,
          'all that was published',
        )
        check(one)
      }
      const check = (one: Live): void => {
        const all = ids(one)
        expect(one.running.most).toBeLessThanOrEqual(one.serial ? 1 : 2)
        expect(new Set(all).size, 'each once').toBe(all.length)
        for (const id of all) expect(id).toBeGreaterThan(one.start)
        if (one.serial) expect(all).toEqual(all.map((_, i) => one.start + 1 + i))
        for (const key of ['0', '1', '2']) {
          const ofKey = one.got.filter(({ foreignId }) => foreignId === key).map(({ id }) => Number(id))
          expect(ofKey, 'in order for each key').toEqual(ofKey.toSorted((a, b) => a - b))
        }
      }
      const end = async (how: 'close' | 'unsubscribe'): Promise<void> => {
        if (live === undefined) return
        const one = live
        live = undefined
        expect(await one.subscription[how]()).toMatchObject({ reason: 'aborted' })
        expect(one.running.now).toBe(0)
        check(one)
        if (how === 'unsubscribe' && one.durable) place = undefined
        else if (one.durable) {
          // Everything before the first that was not handled; where that was not read, nothing is kept of a beginning.
          const done = new Set(ids(one))
          let next = one.start
          while (done.has(next + 1)) next++
          const stored = await cursors.get('sub')
          const kept = stored === '' ? undefined : Number(stored.split('@')[0])
          if (kept === undefined) expect(next, 'nothing is kept of nothing').toBe(0)
          else expect(kept).toBe(next)
          place = kept
        }
      }

      for (const one of steps) {
        if (one.do === 'publish') {
          for (const key of one.keys) {
            published++
            await publish({ foreignId: String(key), codec: jsonCodec<number>(), data: published })
          }
        } else if (one.do === 'subscribe') {
          if (live !== undefined) continue
          const { durable, backfill, reset, serial } = one
          const kept = durable && !reset ? place : undefined
          const got: Message[] = []
          const running = { now: 0, most: 0, keys: new Set<string>() }
          const start = kept ?? (backfill ? 0 : published)
          if (durable && reset) place = undefined
          const subscription = await subscribe({
            source: log.source,
            name: 'sub',
            ...(durable ? { durable: cursors } : {}),
            ...(serial ? {} : { serial, inFlight: 2 }),
            backfill,
            reset,
            handle: async (message) => {
              expect(message.data).toBe(Number(message.id))
              expect(running.keys.has(message.foreignId)).toBe(false)
              running.keys.add(message.foreignId)
              running.most = Math.max(running.most, ++running.now)
              for (let i = 0; i < Number(message.id) % 3; i++) await setImmediate()
              running.now--
              running.keys.delete(message.foreignId)
              got.push(message)
            },
          })
          live = { subscription, durable, serial, start, got, running }
        } else if (one.do === 'settle') {
          if (live !== undefined) await settle(live)
        } else await end(one.do)
      }
      if (live !== undefined) await settle(live)
      await end('close')
    }),
    { numRuns: 150 },
  )
})

import { getEventListeners, once } from 'node:events'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Appender, OutcomeUnknownError } from '../../src/core/appender.ts'
import type { Clock } from '../../src/core/clock.ts'
import { ReflexError } from '../../src/core/errors.ts'
import { memoryLog } from '../../src/core/memory-log.ts'
import { eventsOf, openStream } from '../../src/core/stream.ts'
import { jsonCodec, publisher } from '../../src/pubsub/index.ts'
import { memoryAppender } from './memory-appender.ts'

/** Time that passes at once, and is written down. */
function quickClock(): Clock & { readonly slept: number[] } {
  const slept: number[] = []
  return {
    slept,
    now: () => 0,
    yield: async () => {},
    sleep: async (ms, signal) => {
      signal?.throwIfAborted()
      slept.push(ms)
    },
  }
}

async function count(log: ReturnType<typeof memoryLog>): Promise<number> {
  let events = 0
  for await (const _ of eventsOf(await openStream(log.source.stream, '', { toHead: true }))) events++
  return events
}

describe('publisher', () => {
  it('publishes everything that it is given, under its name, and says where it stands', async () => {
    const log = memoryLog()
    const to = memoryAppender(log, { honours: ['idempotencyKey'] })
    const trace = { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', tracestate: 'a=b' }
    const published = await publisher({ to, client: 'web-1' }).publish(
      {
        type: 7,
        typeName: 'order.placed',
        foreignId: '42',
        timestamp: 1_700_000_000_000.125,
        codec: jsonCodec(),
        data: { total: 12 },
        cause: '3',
        correlation: '1',
        trace,
        headers: { more: ['a', 'b'] },
      },
      { idempotencyKey: 'order-42' },
    )
    expect(published).toEqual({ id: '1', duplicate: false })
    expect(to.asked[0]).toMatchObject({
      event: {
        id: 'order-42',
        type: 7,
        foreignId: '42',
        timestamp: 1_700_000_000_000.125,
        metadata: Buffer.from('{"total":12}'),
        headers: {
          'type-name': 'order.placed',
          'data-encoding': 'json',
          'client-id': 'web-1',
          'idempotency-key': 'order-42',
          'cause-id': '3',
          'correlation-id': '1',
          ...trace,
          more: ['a', 'b'],
        },
      },
      options: { source: 'web-1', idempotencyKey: 'order-42' },
    })
  })

  it('refuses what the log cannot honour, before it is asked', async () => {
    const to = memoryAppender(memoryLog(), { honours: ['expectedLastId'] })
    const { publish } = publisher({ to, client: 'test' })
    for (const wish of ['idempotencyKey', 'expectedLastIdOfSubject'])
      await expect(publish({}, { [wish]: '1' })).rejects.toMatchObject({
        code: 'OPTION_INVALID',
        message: expect.stringContaining(wish),
      })
    await expect(publish({ headers: { 'cause-id': '1' } })).rejects.toThrow(/the header cause-id is made of an option/)
    await expect(publish({ trace: { traceparent: `00-${'0'.repeat(32)}-00f067aa0ba902b7-01` } })).rejects.toThrow(
      /traceparent/,
    )
    expect(to.asked).toEqual([])
  })

  it('tries nothing again unless it is told to', async () => {
    const to = memoryAppender(memoryLog(), {
      before: () => {
        throw new ReflexError('BUSY', 'busy')
      },
    })
    await expect(publisher({ to, client: 'test' }).publish({})).rejects.toMatchObject({ code: 'BUSY' })
    expect(to.asked).toHaveLength(1)
  })

  it('tries again as often as it is told, pauses in between, and never publishes twice, whatever fails', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 2, max: 6 }),
        fc.array(fc.constantFrom('refused', 'final', 'lost before', 'lost after', 'done'), {
          minLength: 1,
          maxLength: 8,
        }),
        fc.boolean(),
        async (attempts, plan, honoured) => {
          const log = memoryLog()
          const clock = quickClock()
          const unknown = (): never => {
            throw new OutcomeUnknownError('memory', new Error('lost'))
          }
          const at = (attempt: number): string => plan[Math.min(attempt, plan.length) - 1] ?? 'done'
          const to = memoryAppender(log, {
            honours: honoured ? ['idempotencyKey'] : [],
            before: (attempt) => {
              if (at(attempt) === 'lost before') unknown()
              if (at(attempt) === 'refused') throw new ReflexError('BUSY', 'busy')
              if (at(attempt) === 'final') throw new ReflexError('NO', 'no', { retriable: false })
            },
            after: (attempt) => (at(attempt) === 'lost after' ? unknown() : undefined),
          })
          const outcome = await publisher({ to, client: 'test', retry: { attempts }, clock })
            .publish({})
            .then(
              () => 'done',
              (error: ReflexError) => error.code,
            )
          expect(to.asked.length).toBeLessThanOrEqual(attempts)
          expect(clock.slept).toHaveLength(to.asked.length - 1)
          for (const ms of clock.slept) expect(ms).toBeGreaterThanOrEqual(100)
          const stored = await count(log)
          if (outcome === 'done') expect(stored).toBe(1)
          else if (outcome === 'OUTCOME_UNKNOWN') expect(stored).toBeLessThanOrEqual(1)
          else expect(stored).toBe(0)
          if (!honoured) expect(plan.slice(0, to.asked.length - 1).some((each) => each.startsWith('lost'))).toBe(false)
        },
      ),
    )
  })

  // windshift's retry asked for the delay of attempt 0, which underflowed, so that it did not wait at all, and slept on after a cancel.
  it('asks for the delay of the first failure as 1, refuses one that is no time, and wakes for an abort', async () => {
    const busy = {
      before: () => {
        throw new ReflexError('BUSY', 'busy')
      },
    }
    const asked: number[] = []
    const to = memoryAppender(memoryLog(), busy)
    const delayMs = (failed: number): number => {
      asked.push(failed)
      return 0
    }
    await expect(publisher({ to, client: 'test', retry: { attempts: 3, delayMs } }).publish({})).rejects.toThrow('busy')
    expect(asked).toEqual([1, 2])
    for (const wrong of [-1, Number.NaN, Number.NEGATIVE_INFINITY])
      await expect(
        publisher({ to, client: 'test', retry: { attempts: 3, delayMs: () => wrong } }).publish({}),
      ).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    const ending = new AbortController()
    const publishing = publisher({ to, client: 'test', retry: { attempts: 3, delayMs: 3_600_000 } }).publish(
      {},
      { signal: ending.signal },
    )
    setImmediate(() => ending.abort(new Error('over')))
    await expect(publishing).rejects.toThrow('over')
  })

  it.each([0, 1, 101, 1.5])('refuses to try %d times', (attempts) => {
    expect(() => publisher({ to: memoryAppender(memoryLog()), client: 'test', retry: { attempts } })).toThrow(
      /attempts must be/,
    )
  })

  const large = Buffer.alloc(9 << 20)

  it('keeps the order of the calls for each foreignId, and a bound on what is under way, whatever takes how long', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.array(
          fc.record({
            foreignId: fc.constantFrom('a', 'b'),
            size: fc.constantFrom(10, 3 << 20, 4 << 20, 9 << 20),
            how: fc.constantFrom('now', 'now', 'later', 'badly', 'aborted'),
            outcome: fc.constantFrom('done', 'refused'),
          }),
          { maxLength: 12, size: 'max' },
        ),
        async (scheduler, plan) => {
          const asked: string[] = []
          let under = { count: 0, bytes: 0 }
          const to: Appender = {
            name: 'slow',
            honours: [],
            append: async ({ foreignId, metadata, headers }, { signal }) => {
              signal?.throwIfAborted()
              const bytes = metadata?.length ?? 0
              const i = String(headers['n'])
              asked.push(`${foreignId} ${i}`)
              under = { count: under.count + 1, bytes: under.bytes + bytes }
              expect(under.bytes <= 8 << 20 || under.count === 1).toBe(true)
              await scheduler.schedule(Promise.resolve(), `append ${i}`)
              under = { count: under.count - 1, bytes: under.bytes - bytes }
              if (plan[Number(i)]?.outcome === 'refused') throw new ReflexError(`NO_${i}`, 'no', { retriable: false })
              return { id: i, duplicate: false }
            },
          }
          const { publish } = publisher({ to, client: 'test' })
          const ending = new AbortController()
          const publishing = plan.map(({ foreignId, size, how }, i) => {
            const encode = async (data: Uint8Array): Promise<Uint8Array> => {
              if (how === 'aborted') await new Promise(() => {})
              if (how !== 'now') await scheduler.schedule(Promise.resolve(), `encode ${i}`)
              if (how === 'badly') throw new Error(`bad ${i}`)
              return data
            }
            const slow = { encoding: 'x', payload: { encode, decode: async () => undefined } }
            return publish(
              { foreignId, codec: slow as never, data: large.subarray(0, size) as never, headers: { n: String(i) } },
              how === 'aborted' ? { signal: ending.signal } : {},
            ).then(
              ({ id }) => id,
              (error: ReflexError) => error.code ?? error.message,
            )
          })
          setImmediate(() => ending.abort(new Error('aborted')))
          await once(ending.signal, 'abort')
          await scheduler.waitFor(Promise.all(publishing))
          const wanted = plan.map(({ how, outcome }, i) => {
            if (how === 'badly') return `bad ${i}`
            if (how === 'aborted') return 'aborted'
            return outcome === 'done' ? String(i) : `NO_${i}`
          })
          expect(await Promise.all(publishing)).toEqual(wanted)
          for (const key of ['a', 'b']) {
            const inOrder = plan.flatMap(({ foreignId, how }, i) =>
              foreignId === key && (how === 'now' || how === 'later') ? [`${key} ${i}`] : [],
            )
            expect(asked.filter((each) => each.startsWith(key))).toEqual(inOrder)
          }
          expect(under).toEqual({ count: 0, bytes: 0 })
        },
      ),
    )
  })

  it('counts all that an event has on the way: what is in its headers too, each value of those that have several', async () => {
    const release = Promise.withResolvers<void>()
    const under: string[] = []
    const to: Appender = {
      name: 'stuck',
      honours: [],
      append: async ({ foreignId }) => {
        under.push(foreignId)
        await release.promise
        return { id: '1', duplicate: false }
      },
    }
    const { publish } = publisher({ to, client: 'test' })
    const value = 'x'.repeat(1 << 20)
    const publishing = [
      publish({ foreignId: 'one', headers: { h: value } }),
      publish({ foreignId: 'six', headers: { h: Array.from({ length: 6 }, () => value) } }),
      publish({ foreignId: 'two', headers: { h: [value, value] } }),
    ]
    await new Promise((resolve) => setImmediate(resolve))
    expect(under).toEqual(['one', 'six'])
    release.resolve()
    await Promise.all(publishing)
    expect(under).toEqual(['one', 'six', 'two'])
  })

  it('has no more than 5,000 under way, and what waits can be aborted', async () => {
    const release = Promise.withResolvers<void>()
    let under = 0
    let most = 0
    const to: Appender = {
      name: 'stuck',
      honours: [],
      append: async () => {
        most = Math.max(most, ++under)
        await release.promise
        under--
        return { id: '1', duplicate: false }
      },
    }
    const { publish } = publisher({ to, client: 'test' })
    const ending = new AbortController()
    const publishing = Array.from({ length: 12_000 }, (_, i) => publish({ foreignId: `k${i}` }))
    const late = publish({}, { signal: ending.signal })
    ending.abort(new Error('over'))
    await expect(late).rejects.toThrow('over')
    expect(getEventListeners(ending.signal, 'abort')).toEqual([])
    release.resolve()
    await Promise.all(publishing)
    expect(most).toBe(5000)
  })

  it.each([Number.NaN, -1, Number.POSITIVE_INFINITY])('refuses a delay of %d ms before it is needed', (delayMs) => {
    expect(() => publisher({ to: memoryAppender(memoryLog()), client: 'x', retry: { attempts: 2, delayMs } })).toThrow(
      /delayMs must be 0 or more/,
    )
  })
})

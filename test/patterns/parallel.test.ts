import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Batch,
  type Consumer,
  type Event,
  eventStream,
  memoryCursors,
  memoryLog,
  run,
  type Source,
} from '../../src/core/index.ts'
import { fnv1 } from '../../src/patterns/fnv1.ts'
import {
  batch,
  constant,
  deadLetter,
  memoryLetters,
  merge,
  originOf,
  parallel,
  reshard,
  type ShardKey,
} from '../../src/patterns/index.ts'
import { simulation } from '../../src/testing/simulation/simulation.ts'
import { errorOf } from '../tools/reader.ts'
import { patient } from './turns.ts'

const event = (id: string, foreignId = 'x', type = 1): Event => ({
  id,
  type,
  foreignId,
  timestamp: 0,
  metadata: null,
  headers: {},
})
const idle = { name: 'c', handle: () => {} }

describe('names and hashing are those of luno/reflex', () => {
  test.each([
    ['', 2166136261],
    ['1', 84696366],
    ['2', 84696365],
    ['3', 84696364],
    ['100', 1960184478],
    ['200', 1859371669],
    ['124566', 1183215945],
    ['123412455', 372428598],
    ['Hello, World', 1472297245],
  ])('FNV-1 of %j is %i', (text, hash) => {
    expect(fnv1(text)).toBe(hash)
  })

  test('it is the bytes of UTF-8 that are hashed', () => {
    let hash = 0x811c9dc5n
    for (const byte of Buffer.from('ключ 🪵')) hash = ((hash * 0x01000193n) & 0xffffffffn) ^ BigInt(byte)
    expect(fnv1('ключ 🪵')).toBe(Number(hash))
  })

  test('shards are counted from 1, and a key belongs to the one of its hash modulo their number', () => {
    const shards = parallel(idle, { shards: 3, by: 'id' })
    expect(shards.map(({ name }) => name)).toEqual(['c_1_of_3', 'c_2_of_3', 'c_3_of_3'])
    for (const id of ['1', '2', '3', '100'])
      expect(shards.map(({ filter }) => filter?.(event(id)))).toEqual([0, 1, 2].map((i) => fnv1(id) % 3 === i))
  })
})

describe('shards-partition-exactly-once', () => {
  const keys: Record<string, ShardKey> = {
    id: 'id',
    foreignId: 'foreignId',
    type: 'type',
    'a function': ({ id, type }) => `${type}/${id}`,
  }
  test.each(Object.entries(keys))('by %s each event belongs to one shard, together with all of its key', (_, by) => {
    const arbitrary = fc.record({
      id: fc.string(),
      foreignId: fc.oneof(fc.string(), fc.constantFrom('ключ', '🪵')),
      type: fc.integer(),
    })
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), fc.array(arbitrary), (count, events) => {
        const shards = parallel(idle, { shards: count, by })
        const home = new Map<string, number>()
        for (const { id, foreignId, type } of events) {
          const each = event(id, foreignId, type)
          const those = shards.flatMap(({ filter }, i) => (filter?.(each) ? [i] : []))
          expect(those.length).toBe(1)
          const key = typeof by === 'function' ? by(each) : String(each[by])
          expect(those[0]).toBe(home.get(key) ?? those[0])
          home.set(key, those[0] as number)
        }
      }),
      { numRuns: 30 },
    )
  })

  test('over merged sources too, by id as well: however they interleave in the stream of each shard, each event is handled once', async () => {
    const plan = fc.record({
      counts: fc.tuple(fc.nat({ max: 6 }), fc.nat({ max: 6 })),
      orders: fc.array(fc.array(fc.nat({ max: 5 }), { maxLength: 40 }), { minLength: 3, maxLength: 3 }),
      by: fc.constantFrom<ShardKey>('id', 'foreignId', 'type'),
    })
    await fc.assert(
      fc.asyncProperty(plan, async ({ counts, orders, by }) => {
        const handled: string[] = []
        const mailer = {
          name: 'c',
          handle: ({ id }: Event): void => {
            const { source, id: own } = originOf(id)
            handled.push(`${source} ${own}`)
          },
        }
        const logs = ['orders', 'payments'].map((name, i) => {
          const log = memoryLog({ name, batchSize: 1 })
          for (let n = 0; n < (counts[i] as number); n++) log.append({ type: n, foreignId: `${name}-${n % 3}` })
          return log
        })
        for (const [i, consumer] of parallel(mailer, { shards: 3, by }).entries()) {
          const sim = simulation(orders[i])
          const sources = logs.map(
            ({ source }): Source => ({
              ...source,
              stream: async (after, options) => {
                const opened = await source.stream(after, options)
                async function* batches(): AsyncGenerator<Batch> {
                  for await (const each of opened) {
                    await sim.turn()
                    yield each
                  }
                }
                return eventStream(batches(), () => opened[Symbol.asyncDispose](), { signal: options.signal })
              },
            }),
          )
          const { stream } = merge('shop', sources)
          await sim.run(
            run({ stream, cursors: memoryCursors(), consumer }, { toHead: true, clock: patient(sim.clock) }),
          )
        }
        const wanted = logs.flatMap(({ source: { name } }, i) =>
          Array.from({ length: counts[i] as number }, (_, n) => `${name} ${n + 1}`),
        )
        expect(handled.sort()).toEqual(wanted.sort())
      }),
      { numRuns: 100 },
    )
  })

  test('an event without a key fails every shard, since none can be told to have it: nobody is asked to go past it', async () => {
    const { source, append } = memoryLog()
    for (const foreignId of ['a', '', 'b']) append({ type: 1, foreignId })
    const by = ({ foreignId }: Event): string => foreignId || (undefined as never)
    const handled: string[] = []
    const letters = memoryLetters()
    const inner = (): Consumer[] => [
      { name: 'c', recover: () => {}, handle: ({ id }) => void handled.push(id) },
      deadLetter({ name: 'c', handle: ({ id }) => void handled.push(id) }, { letters, policy: constant(0) }),
    ]
    for (const which of [0, 1]) {
      const outcomes: unknown[] = []
      for (const consumer of parallel(() => inner()[which] as Consumer, { shards: 2, by })) {
        const cursors = memoryCursors()
        const error = await errorOf(run({ stream: source.stream, cursors, consumer }, { toHead: true }))
        expect(error).toMatchObject({ code: 'OPTION_INVALID', eventId: '2' })
        outcomes.push(await cursors.get(consumer.name))
      }
      expect(outcomes).toEqual(['1@1', '1@1'])
    }
    expect([handled, await letters.list({ consumer: 'c' })]).toEqual([['1', '1'], []])
  })

  test('1,000 ids are spread evenly', () => {
    const shards = parallel(idle, { shards: 4, by: 'id' })
    const ids = Array.from({ length: 1000 }, (_, i) => event(String(i + 1)))
    for (const { filter } of shards) {
      const share = ids.filter((each) => filter?.(each)).length
      expect(share).toBeGreaterThan(225)
      expect(share).toBeLessThan(275)
    }
  })

  test('types, filter, recover, start and stop are those of the consumer', async () => {
    const log = memoryLog()
    for (let i = 0; i < 20; i++) log.append({ type: i % 2, foreignId: `e${i}` })
    const trace: string[] = []
    const shards = parallel(
      ({ number }) => ({
        name: 'c',
        types: [1],
        filter: ({ foreignId }) => foreignId !== 'e1',
        start: () => void trace.push(`start ${number}`),
        stop: () => void trace.push(`stop ${number}`),
        recover: (_, { id }) => void trace.push(`recover ${id}`),
        handle: ({ id }) => {
          trace.push(id)
          if (id === '8') throw new Error('broken')
        },
      }),
      { shards: 2, by: 'foreignId' },
    )
    const cursors = memoryCursors()
    for (const consumer of shards) await run({ stream: log.source.stream, cursors, consumer }, { toHead: true })
    expect(trace.filter((each) => /^\d+$/.test(each)).sort((a, b) => Number(a) - Number(b))).toEqual([
      '4',
      '6',
      '8',
      '10',
      '12',
      '14',
      '16',
      '18',
      '20',
    ])
    expect(trace).toContain('recover 8')
    expect(trace.filter((each) => /^st/.test(each))).toEqual(['start 1', 'stop 1', 'start 2', 'stop 2'])
    expect(Object.fromEntries((await cursors.list?.()) ?? [])).toEqual({ c_1_of_2: '20@1', c_2_of_2: '20@1' })
  })

  test('a consumer with a state is made anew for each shard, or refused', () => {
    const batches = { name: 'c', handle: () => {} }
    expect(() => parallel(batch(batches, { maxEvents: 2 }), { shards: 2, by: 'id' })).toThrow(
      'which shards cannot share',
    )
    expect(parallel(() => batch(batches, { maxEvents: 2 }), { shards: 2, by: 'id' }).length).toBe(2)
  })

  test('a number that is none, or no key, is refused', () => {
    expect(() => parallel(idle, { shards: 0, by: 'id' })).toThrow('shards must be')
    expect(() => parallel(idle, { shards: 2 } as never)).toThrow("by must be 'id', 'foreignId'")
  })
})

describe('resharding', () => {
  test('loses nothing, and repeats only what is between the least and the greatest of the old cursors', async () => {
    const arbitrary = fc.record({
      from: fc.integer({ min: 0, max: 4 }),
      to: fc.integer({ min: 0, max: 5 }),
      stops: fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 4, maxLength: 4 }),
      repeats: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(arbitrary, async ({ from, to, stops, repeats }) => {
        fc.pre(from !== to)
        const log = memoryLog({ batchSize: 1 })
        for (let i = 0; i < 30; i++) log.append({ type: 1, foreignId: `e${i % 11}` })
        const { stream } = log.source
        const cursors = memoryCursors()
        const times = new Map<string, number>()
        const handle = ({ id }: Event): void => void times.set(id, (times.get(id) ?? 0) + 1)
        const consumer = { name: 'c', handle }
        const old = from === 0 ? [consumer] : parallel(consumer, { shards: from, by: 'foreignId' })
        const reached: number[] = []
        for (const [i, each] of old.entries()) {
          const end = stops[i] as number
          reached.push(end)
          const controller = new AbortController()
          const observer = { saved: (cursor: string) => parseInt(cursor, 10) >= end && controller.abort() }
          await run({ stream, cursors, consumer: each }, { signal: controller.signal, observer })
        }
        const before = new Map(times)
        for (let i = 0; i < (repeats ? 2 : 1); i++) {
          const { cursor, upTo } = await reshard(cursors, log.source, { name: 'c', from, to })
          expect([cursor, upTo]).toEqual([`${Math.min(...reached)}@1`, `${Math.max(...reached)}@1`])
        }
        for (const each of to === 0 ? [consumer] : parallel(consumer, { shards: to, by: 'foreignId' }))
          await run({ stream, cursors, consumer: each }, { toHead: true })
        for (let id = 1; id <= 30; id++) {
          const repeated = id > Math.min(...reached) && before.has(String(id))
          expect(times.get(String(id)), `event ${id}`).toBe(repeated ? 2 : 1)
        }
      }),
      { numRuns: 60 },
    )
  })

  test('back to none is refused where the consumer has its cursor of before, unless that may be replaced', async () => {
    const { source } = memoryLog()
    const cursors = memoryCursors()
    await cursors.set('c', '3', '')
    await reshard(cursors, source, { name: 'c', from: 0, to: 2 })
    await cursors.set('c_1_of_2', '7', '3')
    await cursors.set('c_2_of_2', '9', '3')
    const back = { name: 'c', from: 2, to: 0 }
    expect(String(await errorOf(reshard(cursors, source, back)))).toContain('of the new consumer, but found c at 3')
    expect(await reshard(cursors, source, { ...back, replace: true })).toEqual({ cursor: '7', upTo: '9' })
    expect(await cursors.get('c')).toBe('7')
    expect(await errorOf(reshard(cursors, source, { name: 'c', from: 0, to: 0 }))).toMatchObject({
      code: 'OPTION_INVALID',
    })
  })

  test('is refused where an old shard has no cursor, or a new one has another already; nothing is written then', async () => {
    const { source } = memoryLog()
    const cursors = memoryCursors()
    await cursors.set('c_1_of_2', '8', '')
    const options = { name: 'c', from: 2, to: 3 }
    expect(String(await errorOf(reshard(cursors, source, options)))).toContain('c_2_of_2 has no cursor')
    await cursors.set('c_2_of_2', '10', '')
    await cursors.set('c_3_of_3', '5', '')
    expect(String(await errorOf(reshard(cursors, source, options)))).toContain('but found c_3_of_3 at 5')
    expect(await cursors.get('c_1_of_3')).toBe('')
    const compare = (a: string, b: string): number => Number(a) - Number(b)
    expect(await reshard(cursors, { name: 's', compare }, { ...options, replace: true })).toEqual({
      cursor: '8', // not "10", which is before it as a text
      upTo: '10',
    })
    for (const n of [1, 2, 3]) expect(await cursors.get(`c_${n}_of_3`)).toBe('8')
    expect(String(await errorOf(reshard(cursors, { name: 's' }, options)))).toContain('cannot compare cursors')
    expect(String(await errorOf(reshard(cursors, source, { ...options, to: 2 })))).toContain(
      'there are 2 shards already',
    )
  })

  test('a shard that is at work is not overwritten: it meets a conflict, and starts again', async () => {
    const log = memoryLog()
    const cursors = memoryCursors()
    await cursors.set('c', '4', '')
    const raced = {
      ...cursors,
      get: async (name: string) => {
        const found = await cursors.get(name)
        if (name === 'c_2_of_2') await cursors.set(name, '9', '') // as a runner does meanwhile
        return found
      },
    }
    const error = await errorOf(reshard(raced, log.source, { name: 'c', from: 0, to: 2 }))
    expect(error).toMatchObject({ code: 'CURSOR_CONFLICT' })
    expect(await cursors.get('c_2_of_2')).toBe('9')
  })
})

import fc from 'fast-check'
import type { Redis } from 'ioredis'
import { describe, expect, test } from 'vitest'
import { redisCursors, redisSink, redisStream, trimStream } from '../../src/adapters/redis/index.ts'
import { decodeReplies } from '../../src/adapters/redis/protocol/decode-replies.ts'
import { codeOf } from '../../src/core/errors.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import type { EventStream } from '../../src/core/stream.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { appendTo } from '../subjects/redis.ts'
import { numbered } from '../tools/numbered.ts'
import { errorOf, type Reader, reader } from '../tools/reader.ts'
import { adapterClient, testClient } from './fixture.ts'

const client = () => testClient()
const idsIn = async (key: string): Promise<string[]> => (await client().xrange(key, '-', '+')).map(([id]) => id)

/** A stream of so many entries, and a store in which consumers have read up to those of these indexes; -1 is nothing. */
async function stream(count: number, read: Readonly<Record<string, number>>) {
  const key = fresh('log')
  const ids = await appendTo(client(), key, numbered(count))
  const cursors = memoryCursors()
  for (const [name, at] of Object.entries(read)) await cursors.reset(name, at < 0 ? '' : (ids[at] as string))
  return { key, ids, cursors }
}

describe('trimStream', () => {
  test('removes what every consumer has read, but for the entry of the smallest cursor, and says whose it is', async () => {
    const { key, ids, cursors } = await stream(2000, { slow: 1200, fast: 1900 })
    expect(await trimStream(adapterClient(), { key, cursors })).toEqual({ removed: 1200, heldBy: 'slow' })
    expect(await idsIn(key)).toEqual(ids.slice(1200))
    expect(await trimStream(adapterClient(), { key, cursors })).toEqual({ removed: 0, heldBy: 'slow' })
    await using again = reader(
      await redisStream(adapterClient(), { key }).stream(ids[1200] as string, { toHead: true }),
    )
    expect((await again.rest()).map(({ id }) => id)).toEqual(ids.slice(1201))
  })

  test('never removes the newest entry, nor anything behind a consumer that has read nothing', async () => {
    const { key, ids, cursors } = await stream(10, { a: 9 })
    expect((await trimStream(adapterClient(), { key, cursors })).removed).toBe(9)
    expect(await idsIn(key)).toEqual(ids.slice(9))
    const other = await stream(10, { a: 9, none: -1 })
    expect(await trimStream(adapterClient(), other)).toEqual({ removed: 0, heldBy: 'none' })
  })

  test('keeps what is younger than keepMs, and keepEntries of the newest', async () => {
    const { key, ids, cursors } = await stream(10, { a: 9 })
    expect((await trimStream(adapterClient(), { key, cursors, keepMs: 60_000 })).removed).toBe(0)
    expect((await trimStream(adapterClient(), { key, cursors, keepEntries: 7 })).removed).toBe(3)
    expect((await trimStream(adapterClient(), { key, cursors, keepEntries: 7 })).removed).toBe(0)
    expect(await idsIn(key)).toEqual(ids.slice(3))
    const old = fresh('log')
    const now = Date.now()
    const times = [1000, now - 120_000, now - 60_000, now + 60_000].map((ms) => `${ms}-0`)
    for (const id of times) await client().xadd(old, id, 'a', 'b')
    await cursors.reset('a', times[3] as string)
    expect((await trimStream(adapterClient(), { key: old, cursors, keepMs: 90_000 })).removed).toBe(2)
    expect(await idsIn(old)).toEqual(times.slice(2))
  })

  test('goes in steps that grow to 500 entries, or to about a megabyte of what there is', async () => {
    const steps: number[] = []
    const redis = adapterClient()
    const duplicate = (overrides: object): Redis => {
      const made = redis.duplicate(overrides)
      made.once('ready', () => {
        const seen = decodeReplies((command) => {
          const [name, ...args] = (command as Buffer[]).map(String)
          if (name === 'EVALSHA') steps.push(Number(args.at(-1)))
        })
        const { stream } = made
        const write = stream.write.bind(stream) as (part: string) => boolean
        Object.assign(stream, {
          write: (part: string) => {
            seen(Buffer.from(part))
            return write(part)
          },
        })
      })
      return made
    }
    const handed = Object.assign(Object.create(redis) as Redis, { duplicate })
    await trimStream(handed, await stream(1, { a: 0 })) // the server knows the script from now on
    steps.length = 0
    expect((await trimStream(handed, await stream(2000, { a: 1999 }))).removed).toBe(1999)
    expect(steps).toEqual([10, 100, 500, 500, 500, 500])

    steps.length = 0
    const key = fresh('log')
    for (let i = 0; i < 50; i++) await client().xadd(key, '*', 'a', i % 49 === 0 ? '' : 'x'.repeat(200_000))
    const cursors = memoryCursors()
    await cursors.reset('a', (await idsIn(key))[49] as string)
    expect((await trimStream(handed, { key, cursors })).removed).toBe(49)
    expect(Math.max(...steps)).toBe(10) // before it is known how large they are
    expect(steps.slice(1).every((step) => step <= 6)).toBe(true)
  })

  test('refuses keepMs where entry ids are no times, and trims by number', async () => {
    const cursors = memoryCursors()
    const wrong = ['100000-0', '1700000000000000-0']
    for (const last of wrong) {
      const key = fresh('log')
      for (const id of ['7-0', last]) await client().xadd(key, id, 'a', 'b')
      await cursors.reset('a', last)
      const error = await errorOf(trimStream(adapterClient(), { key, cursors, keepMs: 1000 }))
      expect(codeOf(error)).toBe('OPTION_INVALID')
      expect(String(error)).toMatch(new RegExp(`${last}, the newest one, is of no time: .* keepEntries`))
      expect((await trimStream(adapterClient(), { key, cursors, keepEntries: 1 })).removed).toBe(1)
    }
  })

  test('keeps an entry before a cursor whose own was deleted, since it is what proves the cursor', async () => {
    const { key, ids, cursors } = await stream(10, { a: 5 })
    await client().xdel(key, ...ids.slice(4, 6))
    expect((await trimStream(adapterClient(), { key, cursors })).removed).toBe(3)
    expect(await idsIn(key)).toEqual([ids[3], ...ids.slice(6)])
    await using again = reader(await redisStream(adapterClient(), { key }).stream(ids[5] as string, { toHead: true }))
    expect((await again.rest()).map(({ id }) => id)).toEqual(ids.slice(6))
  })

  test('keeps the newest entry of a route into the stream, however far consumers are', async () => {
    const key = fresh('out')
    const writer = await redisSink(adapterClient(), { key }).open({ route: 'orders', source: 's' })
    const event = { id: '1', type: 1, foreignId: 'x', timestamp: 0, metadata: null, headers: {} }
    const mark = await writer.append([event, { ...event, id: '2' }], '2')
    await writer[Symbol.asyncDispose]()
    const [last] = (await appendTo(client(), key, numbered(3))).slice(-1)
    const cursors = memoryCursors()
    await cursors.reset('a', last as string)
    expect((await trimStream(adapterClient(), { key, cursors, routes: ['orders', 'unknown'] })).removed).toBe(1)
    expect((await idsIn(key))[0]).toBe(mark.split('/')[0])
    expect((await trimStream(adapterClient(), { key, cursors })).removed).toBe(3)
  })

  test('a bridge that reads the stream counts with the cursor of its checkpoint', async () => {
    const { key, ids, cursors } = await stream(10, { a: 9 })
    await cursors.reset('bridge', JSON.stringify({ cursor: ids[4], mark: 'x' }))
    expect(await trimStream(adapterClient(), { key, cursors })).toEqual({ removed: 4, heldBy: 'bridge' })
  })

  test.each([
    ['17', 'CURSOR_INVALID'],
    ['{"mark":"x"}', 'CURSOR_INVALID'],
    ['{', 'CURSOR_INVALID'],
    ['99999999999999-0', 'CURSOR_AHEAD'],
  ])('a cursor that is not of the stream is refused, and names its consumer: %s', async (cursor, code) => {
    const { key, ids, cursors } = await stream(10, { a: 5 })
    await cursors.reset('stray', cursor)
    const error = await errorOf(trimStream(adapterClient(), { key, cursors }))
    expect(codeOf(error)).toBe(code)
    expect(String(error)).toContain('"stray"')
    expect(await idsIn(key)).toEqual(ids)
    expect(await trimStream(adapterClient(), { key, cursors, except: ['stray'] })).toEqual({ removed: 5, heldBy: 'a' })
  })

  test('a store without a cursor is refused, and wrong options', async () => {
    const { key, ids, cursors } = await stream(3, { a: 1 })
    for (const options of [
      { key, cursors: memoryCursors() },
      { key, cursors, except: ['a'] },
      { key, cursors: {} },
      { key, cursors, keepMs: -1 },
      { key, cursors, keepEntries: 0.5 },
      { key: '', cursors },
    ])
      expect(codeOf(await errorOf(trimStream(adapterClient(), options)))).toBe('OPTION_INVALID')
    expect(await idsIn(key)).toEqual(ids)
  })

  test('works with the cursors in Redis, and an abort ends it between two steps', async () => {
    const { key, ids } = await stream(3, {})
    const cursors = redisCursors(adapterClient(), { prefix: fresh('cursors') })
    await cursors.set('a', ids[2] as string, '')
    const aborted = AbortSignal.abort(new Error('enough'))
    expect(await errorOf(trimStream(adapterClient(), { key, cursors, signal: aborted }))).toBe(aborted.reason)
    expect((await trimStream(adapterClient(), { key, cursors })).removed).toBe(2)
  })

  test('under any schedule of consumers, saves and trims, no reader is refused and nothing that is unread is lost', async () => {
    const names = ['a', 'b', 'c'] as const
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ do: fc.constant('append' as const), n: fc.integer({ min: 1, max: 5 }) }) },
      { weight: 6, arbitrary: fc.record({ do: fc.constant('read' as const), n: fc.nat(), save: fc.boolean() }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('all read on' as const), n: fc.nat({ max: 6 }) }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('crash' as const), n: fc.nat() }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('delete' as const), n: fc.nat() }) },
      {
        weight: 4,
        arbitrary: fc.record({ do: fc.constant('trim' as const), n: fc.nat({ max: 3 }), race: fc.boolean() }),
      },
    )
    const writer = client()
    let removed = 0
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30, size: 'max' }), async (steps) => {
        const key = fresh('log')
        const cursors = memoryCursors()
        for (const name of names) await cursors.reset(name, '0-0') // registered before there is anything
        const source = redisStream(adapterClient(), { key, batchSize: 2 })
        const all: string[] = []
        const deleted = new Set<string>()
        const readers = new Map<string, Reader>()
        const seen = new Map(names.map((name) => [name, new Set<string>()]))
        const openReader = async (name: string): Promise<Reader> => {
          const opened: EventStream = await source.stream(await cursors.get(name), {})
          const made = reader(opened, await cursors.get(name))
          readers.set(name, made)
          return made
        }
        const readOne = async (name: (typeof names)[number], save: boolean): Promise<boolean> => {
          const each = readers.get(name) ?? (await openReader(name))
          const at = all.indexOf(each.cursor)
          if (!all.slice(at + 1).some((id) => !deleted.has(id))) return false
          const [event] = await each.take(1)
          seen.get(name)?.add(event?.id as string)
          if (save) await cursors.set(name, each.cursor, await cursors.get(name))
          return true
        }
        try {
          for (const each of steps) {
            const name = names[each.n % names.length] as (typeof names)[number]
            if (each.do === 'append') all.push(...(await appendTo(writer, key, numbered(each.n))))
            else if (each.do === 'read') await readOne(name, each.save)
            else if (each.do === 'all read on') {
              for (const each of names) for (let i = 0; i < steps.length; i++) await readOne(each, true)
            } else if (each.do === 'crash') {
              await readers.get(name)?.[Symbol.asyncDispose]()
              readers.delete(name)
            } else if (each.do === 'delete') {
              const there = (await writer.xrange(key, '-', '+')).map(([id]) => id)
              // Not the first: without it a cursor may have nothing to be proven with, trimmed or not.
              const gone = there[1 + (each.n % Math.max(1, there.length - 1))]
              // Nor what somebody holds in hand and has not taken yet.
              if (gone === undefined || names.some((other) => !seen.get(other)?.has(gone))) continue
              await writer.xdel(key, gone)
              deleted.add(gone)
            } else {
              const trimming = trimStream(adapterClient(), { key, cursors, keepEntries: each.n })
              if (each.race) await readOne(name, true)
              removed += (await trimming).removed
            }
          }
          for (const name of names) while (await readOne(name, true)) {}
          for (const name of names) expect(all.filter((id) => !seen.get(name)?.has(id) && !deleted.has(id))).toEqual([])
        } finally {
          for (const each of readers.values()) await each[Symbol.asyncDispose]()
        }
      }),
      { numRuns: 60 },
    )
    expect(removed).toBeGreaterThan(20)
  }, 120_000)
})

import fc from 'fast-check'
import type { Redis } from 'ioredis'
import { describe, expect, inject, test } from 'vitest'
import { compareIds, parseEntryId } from '../../src/adapters/redis/entry-id.ts'
import { redisStream } from '../../src/adapters/redis/index.ts'
import { codeOf, isRetriable } from '../../src/core/errors.ts'
import type { Cursor, Event } from '../../src/core/event.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { run } from '../../src/core/run.ts'
import type { Source, StreamOptions } from '../../src/core/stream.ts'
import { tcpProxy } from '../../src/testing/servers/index.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { appendTo } from '../subjects/redis.ts'
import { numbered } from '../tools/numbered.ts'
import { errorOf, eventually, reader, within } from '../tools/reader.ts'
import { adapterClient, cli, ownServer, socketsOf, testClient } from './fixture.ts'

async function readAll(source: Source, after: Cursor, options: StreamOptions = {}) {
  await using all = reader(await source.stream(after, { ...options, toHead: true }), after)
  return { events: await all.rest(), cursor: all.cursor }
}
const idsOf = (events: readonly Event[]): string[] => events.map(({ id }) => id)
const info = async (client: ReturnType<typeof testClient>, key: string): Promise<Record<string, string>> => {
  const flat = (await client.xinfo('STREAM', key)) as string[]
  return Object.fromEntries(flat.flatMap((name, i) => (i % 2 === 0 ? [[name, String(flat[i + 1])]] : [])))
}

describe('what is removed from a stream', () => {
  test('trap ioredis 2: XTRIM does not move max-deleted-entry-id, only XDEL does, so that it tells nothing of what was trimmed', async () => {
    const client = testClient()
    const key = fresh('log')
    const ids = await appendTo(client, key, numbered(6))
    await client.xtrim(key, 'MAXLEN', 4)
    expect(await info(client, key)).toMatchObject({ 'max-deleted-entry-id': '0-0', 'recorded-first-entry-id': ids[2] })
    await client.xdel(key, ids[4] as string)
    expect(await info(client, key)).toMatchObject({ 'max-deleted-entry-id': ids[4], 'entries-added': '6', length: '3' })
    const source = redisStream(adapterClient(), { key })
    expect(codeOf(await errorOf(source.stream(ids[0] as string, {})))).toBe('CURSOR_TRIMMED')
    expect(idsOf((await readAll(source, ids[4] as string)).events)).toEqual([ids[5]])
  })

  test('trimmed under a run that is slow, the run ends with the earliest that is left, and handles nothing after the hole', async () => {
    const client = testClient()
    const key = fresh('log')
    const ids = await appendTo(client, key, numbered(50))
    const handled: string[] = []
    const handle = async ({ id }: Event): Promise<void> => {
      handled.push(id)
      if (handled.length === 3) await client.xtrim(key, 'MINID', ids[40] as string)
    }
    const { stream } = redisStream(adapterClient(), { key, batchSize: 3 })
    const error = await errorOf(run({ stream, cursors: memoryCursors(), consumer: { name: 'slow', handle } }))
    expect(error).toMatchObject({ code: 'CURSOR_TRIMMED', cause: { earliest: ids[40] } })
    expect(handled).toEqual(ids.slice(0, handled.length))
    expect(handled.length).toBeLessThan(40)
  })

  test('XDEL of the entry of the cursor, and of those around it, is passed over', async () => {
    const client = testClient()
    const key = fresh('log')
    const ids = await appendTo(client, key, numbered(8))
    await client.xdel(key, ...ids.slice(3, 6))
    const source = redisStream(adapterClient(), { key })
    for (const cursor of ids.slice(2, 6)) expect(idsOf((await readAll(source, cursor)).events)).toEqual(ids.slice(6))
  })

  test('with the newest entries deleted, the head is still the position after them', async () => {
    const client = testClient()
    const key = fresh('log')
    const ids = await appendTo(client, key, numbered(5))
    await client.xdel(key, ...ids.slice(3))
    const source = redisStream(adapterClient(), { key })
    const { events, cursor } = await readAll(source, '')
    expect(idsOf(events)).toEqual(ids.slice(0, 3))
    expect(cursor).toBe(ids[4])
    expect(await source.head?.()).toBe(ids[4])
    expect(await readAll(source, ids[2] as string)).toEqual({ events: [], cursor: ids[4] })
    const [added] = await appendTo(client, key, numbered(1))
    expect(idsOf((await readAll(source, cursor)).events)).toEqual([added])
    await using pinned = reader(await source.stream('', { fromHead: true }))
    expect(await pinned.batch()).toEqual({ events: [], cursor: added })
  })

  test('with the head itself deleted after the open, toHead ends there and hands on nothing of what came later', async () => {
    const client = testClient()
    const key = fresh('log')
    const ids = await appendTo(client, key, numbered(5))
    const source = redisStream(adapterClient(), { key })
    await using stream = reader(await source.stream('', { toHead: true }))
    await client.xdel(key, ids[4] as string)
    const later = await appendTo(client, key, numbered(2))
    expect(idsOf(await stream.rest())).toEqual(ids.slice(0, 4))
    expect(stream.cursor).toBe(ids[4])
    expect(idsOf((await readAll(source, stream.cursor)).events)).toEqual(later)
  })

  test('an idle stream moves on over entries that were deleted before it read them', async () => {
    const client = testClient()
    const key = fresh('log')
    const ids = await appendTo(client, key, numbered(3))
    await using idle = reader(await redisStream(adapterClient(), { key }).stream('', {}))
    await client.xdel(key, ...ids.slice(1))
    expect(idsOf(await idle.take(1))).toEqual([ids[0]])
    expect(idle.cursor).toBe(ids[2])
  })

  test('a consumer that deletes what it has handled, to the last entry, is not refused while it runs', async () => {
    const client = testClient()
    const key = fresh('log')
    await using stream = reader(await redisStream(adapterClient(), { key }).stream('', {}))
    for (let round = 0; round < 4; round++) {
      const waiting = stream.take(2)
      const ids = await appendTo(client, key, numbered(2))
      expect(idsOf(await waiting)).toEqual(ids)
      if (round % 2 === 0) await client.xdel(key, ...ids)
      else await client.xtrim(key, 'MAXLEN', 0)
    }
  })

  test('but a trim of what it has not read is noticed, also where nothing is left of what it has', async () => {
    const client = testClient()
    const key = fresh('log')
    await using stream = reader(await redisStream(adapterClient(), { key }).stream('', {}))
    const first = stream.take(2)
    await appendTo(client, key, numbered(2))
    await first
    const waiting = stream.take(1)
    waiting.catch(() => {})
    const transaction = client.multi().xtrim(key, 'MAXLEN', 0)
    for (const value of ['1', '2', '3']) transaction.xadd(key, '*', 'n', value)
    await transaction.xtrim(key, 'MAXLEN', 2).exec()
    expect(codeOf(await errorOf(waiting))).toBe('CURSOR_TRIMMED')
  })

  test('nor is what came after a pinned head skipped, if it was trimmed before the first read', async () => {
    const client = testClient()
    const key = fresh('log')
    await appendTo(client, key, numbered(3))
    await using pinned = reader(await redisStream(adapterClient(), { key }).stream('', { fromHead: true }))
    const ids = await appendTo(client, key, numbered(5))
    await client.xtrim(key, 'MINID', ids[2] as string)
    expect((await pinned.batch()).events).toEqual([])
    expect(codeOf(await errorOf(pinned.take(1)))).toBe('CURSOR_TRIMMED')
  })

  test('a stream that was emptied by trimming still knows its head', async () => {
    const client = testClient()
    const key = fresh('log')
    const ids = await appendTo(client, key, numbered(4))
    await client.xtrim(key, 'MAXLEN', 0)
    const source = redisStream(adapterClient(), { key })
    expect(await readAll(source, ids[3] as string)).toEqual({ events: [], cursor: ids[3] })
    expect(await readAll(source, '')).toEqual({ events: [], cursor: ids[3] })
    expect(codeOf(await errorOf(source.stream(ids[2] as string, {})))).toBe('CURSOR_TRIMMED')
  })

  test('whatever is appended, deleted and trimmed, a cursor yields all that follows it or is refused', async () => {
    const client = testClient()
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ op: fc.constant('add' as const), n: fc.integer({ min: 1, max: 4 }) }) },
      { weight: 2, arbitrary: fc.record({ op: fc.constant('xdel' as const), n: fc.nat({ max: 20 }) }) },
      { weight: 1, arbitrary: fc.record({ op: fc.constant('trim' as const), n: fc.nat({ max: 6 }) }) },
    )
    const honoured = { yes: 0, no: 0 }
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
        const key = fresh('log')
        let there: string[] = []
        const all: string[] = []
        const trimmed = new Set<string>()
        for (const { op, n } of steps) {
          if (op === 'add') {
            const ids = await appendTo(client, key, numbered(n))
            all.push(...ids)
            there.push(...ids)
          } else if (op === 'xdel' && there.length > 0) {
            const [gone] = there.splice(n % there.length, 1)
            await client.xdel(key, gone as string)
          } else if (op === 'trim') {
            for (const id of there.slice(0, Math.max(0, there.length - n))) trimmed.add(id)
            there = there.slice(Math.max(0, there.length - n))
            await client.xtrim(key, 'MAXLEN', n)
          }
        }
        const source = redisStream(adapterClient(), { key, batchSize: 2 })
        for (const [i, cursor] of ['', '0-0', ...all].entries()) {
          const after = i < 2 ? all : all.slice(i - 1)
          const outcome = await readAll(source, cursor).catch((error: unknown) => error)
          if (outcome instanceof Error) {
            honoured.no++
            expect(cursor).not.toBe('')
            expect(codeOf(outcome)).toBe('CURSOR_TRIMMED')
            expect(there).not.toContain(cursor)
            continue
          }
          honoured.yes++
          const { events } = outcome as { events: Event[] }
          expect(idsOf(events)).toEqual(after.filter((id) => there.includes(id)))
          if (cursor !== '') expect(after.filter((id) => trimmed.has(id))).toEqual([])
        }
      }),
      { numRuns: 40 },
    )
    expect(Math.min(honoured.yes, honoured.no)).toBeGreaterThan(20)
  })
})

describe('an empty log', () => {
  test('a missing key is one; its head is 0-0, which stays a position', async () => {
    const client = testClient()
    const key = fresh('log')
    const source = redisStream(adapterClient(), { key })
    expect(await readAll(source, '')).toEqual({ events: [], cursor: '' })
    expect(await source.head?.()).toBe('0-0')
    expect(await source.backlog?.('')).toEqual({ count: 0n, unit: 'events' })
    await using pinned = reader(await source.stream('', { fromHead: true }))
    expect(await pinned.batch()).toEqual({ events: [], cursor: '0-0' })
    const ids = await appendTo(client, key, numbered(3))
    expect(idsOf(await pinned.take(3))).toEqual(ids)
    expect(idsOf((await readAll(source, '0-0')).events)).toEqual(ids)
    await client.xdel(key, ids[1] as string)
    expect(idsOf((await readAll(source, '0-0')).events)).toEqual([ids[0], ids[2]])
    await client.xtrim(key, 'MAXLEN', 1)
    expect(codeOf(await errorOf(source.stream('0-0', {})))).toBe('CURSOR_TRIMMED')
    expect(idsOf((await readAll(source, '')).events)).toEqual([ids[2]])
  })

  test('is never created by reading it', async () => {
    const client = testClient()
    const key = fresh('log')
    await using stream = await redisStream(adapterClient(), { key }).stream('', {})
    await errorOf(within(stream[Symbol.asyncIterator]().next(), 100, 'a read'))
    expect(await client.exists(key)).toBe(0)
  })
})

describe('a cursor that this stream never had', () => {
  test('beyond the end', async () => {
    const client = testClient()
    const key = fresh('log')
    const source = redisStream(adapterClient(), { key })
    expect(await errorOf(source.stream('5-0', {}))).toMatchObject({ code: 'CURSOR_AHEAD', reason: 'beyond' })
    await appendTo(client, key, numbered(1))
    expect(await errorOf(source.stream('99999999999999-0', {}))).toMatchObject({
      code: 'CURSOR_AHEAD',
      reason: 'beyond',
    })
  })

  test('between two entries, where nothing was deleted: it is of a stream that was replaced', async () => {
    const client = testClient()
    const key = fresh('log')
    for (const id of ['2-0', '4-0', '7-0']) await client.xadd(key, id, 'a', 'b')
    const source = redisStream(adapterClient(), { key })
    expect(await errorOf(source.stream('5-0', {}))).toMatchObject({ code: 'CURSOR_AHEAD', reason: 'recreated' })
    await client.xdel(key, '4-0')
    expect(idsOf((await readAll(source, '4-0')).events)).toEqual(['7-0'])
    expect(codeOf(await errorOf(source.stream('5-0', {})))).toBe('CURSOR_AHEAD')
  })

  test('a stream that was deleted and filled again is noticed by a reader that waits', async () => {
    const client = testClient()
    const key = fresh('log')
    const ids = await appendTo(client, key, numbered(5))
    await using stream = reader(await redisStream(adapterClient(), { key }).stream('', {}))
    await stream.take(5)
    const waiting = stream.take(1)
    waiting.catch(() => {})
    await client.multi().del(key).xadd(key, '*', 'a', '1').xadd(key, '*', 'a', '2').exec()
    const error = await errorOf(waiting, 5000, 'noticing the new stream')
    expect(codeOf(error)).toMatch(/^CURSOR_(AHEAD|TRIMMED)$/)
    expect(error).toMatchObject({ cursor: ids[4] })
  })

  test('after a restart without persistence it is ahead', async () => {
    const server = await ownServer({ redis: { appendonly: false } })
    const client = testClient(server.url)
    const ids = await appendTo(client, 'log', numbered(3))
    const source = redisStream(adapterClient(server.url), { key: 'log' })
    const { cursor } = await readAll(source, '')
    expect(cursor).toBe(ids[2])
    await server.process.kill()
    await server.process.start()
    expect(await errorOf(source.stream(cursor, {}))).toMatchObject({ code: 'CURSOR_AHEAD', reason: 'beyond' })
  })

  test.each<[string, (client: Redis, key: string) => Promise<unknown>, string, RegExp]>([
    ['FLUSHALL', (client) => client.flushall(), 'CURSOR_AHEAD', /0 entries have ever been appended, not 3/],
    ['DEL', (client, key) => client.del(key), 'CURSOR_AHEAD', /0 entries have ever been appended, not 3/],
    ['RENAME', (client, key) => client.rename(key, `${key}-old`), 'CURSOR_AHEAD', /0 entries have ever been appended/],
    ['SET', (client, key) => client.set(key, 'x'), 'REDIS_WRONGTYPE', /holds something else: choose another key/],
  ])(
    '%s under a stream that waits, one that reads and one that opens is an error of each',
    async (_, change, code, says) => {
      const server = await ownServer()
      const client = testClient(server.url)
      const ids = await appendTo(client, 'log', numbered(3))
      const source = redisStream(adapterClient(server.url), { key: 'log', batchSize: 1 })
      await using waits = reader(await source.stream('', {}))
      await waits.take(3)
      const waiting = errorOf(waits.take(1), 5000, 'noticing it while waiting')
      await eventually(async () => (await socketsOf(client, 'default')) === 2, 2000, 'the connection that waits')
      await using reads = reader(await source.stream('', {}))
      await reads.take(2)
      await change(client, 'log')
      for (const error of [await waiting, await errorOf(reads.take(1))]) {
        expect(error).toMatchObject({ code, retriable: false })
        expect(String(error)).toMatch(says)
      }
      const opening = code === 'CURSOR_AHEAD' ? { code, reason: 'beyond', cursor: ids[1] } : { code }
      expect(await errorOf(source.stream(ids[1] as string, {}))).toMatchObject(opening)
    },
  )

  test('after a restart from an older snapshot, a cursor that it has is honoured, and one that it has not is ahead', async () => {
    const server = await ownServer({ redis: { appendonly: false } })
    const client = testClient(server.url)
    const ids = await appendTo(client, 'log', numbered(3))
    await client.save()
    const lost = await appendTo(client, 'log', numbered(2))
    const source = redisStream(adapterClient(server.url), { key: 'log' })
    await server.process.kill()
    await server.process.start()
    expect(idsOf((await readAll(source, ids[0] as string)).events)).toEqual(ids.slice(1))
    expect(await errorOf(source.stream(lost[0] as string, {}))).toMatchObject({
      code: 'CURSOR_AHEAD',
      reason: 'beyond',
    })
    await appendTo(client, 'log', numbered(2)) // it has grown past the cursor
    expect(codeOf(await errorOf(source.stream(lost[0] as string, {})))).toBe('CURSOR_AHEAD')
  })

  test('XSETID raises the last id of a stream, but is no event', async () => {
    const client = testClient()
    const key = fresh('log')
    await client.xadd(key, '5-0', 'a', 'b')
    await client.call('XSETID', key, '90-0')
    const source = redisStream(adapterClient(), { key })
    const { events, cursor } = await readAll(source, '')
    expect(idsOf(events)).toEqual(['5-0'])
    await client.xadd(key, '91-0', 'a', 'b')
    expect(idsOf((await readAll(source, cursor)).events)).toEqual(['91-0'])
  })
})

describe('ids', () => {
  test('are two 64-bit numbers, not text', async () => {
    const client = testClient()
    const key = fresh('log')
    const ids = ['9-9', '9-10', '10-0', '9007199254740993-1', '18446744073709551615-2']
    for (const id of ids) await client.xadd(key, id, 'a', 'b')
    const source = redisStream(adapterClient(), { key, batchSize: 1 })
    for (const [i, id] of ids.entries()) expect(idsOf((await readAll(source, id)).events)).toEqual(ids.slice(i + 1))
    await using stream = reader(await source.stream('9-9', { toHead: true }))
    await client.xadd(key, '18446744073709551615-3', 'a', 'b')
    expect(idsOf(await stream.rest())).toEqual(ids.slice(1))
  })

  test('are ordered as their numbers are', () => {
    const part = fc.oneof(fc.bigInt({ min: 0n, max: 30n }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }))
    const id = fc.tuple(part, part)
    fc.assert(
      fc.property(id, id, (a, b) => {
        const expected = a[0] === b[0] ? a[1] - b[1] : a[0] - b[0]
        const order = compareIds(a.join('-'), b.join('-'))
        expect(Math.sign(order)).toBe(expected < 0n ? -1 : expected > 0n ? 1 : 0)
        expect(parseEntryId('log', a.join('-'))).toBe(a.join('-'))
      }),
    )
  })
})

describe('entries of others', () => {
  test('what redis-cli adds is an event: its fields as JSON, the time of its id, the key as foreignId', async () => {
    const key = fresh('log')
    const id = await cli(
      'XADD',
      key,
      '1700000000123-4',
      'user',
      '7',
      'name',
      'Zoë "Z"',
      'tag',
      'a',
      'tag',
      'b',
      '__proto__',
      'x',
    )
    const { events } = await readAll(redisStream(adapterClient(), { key }), '')
    expect(events).toEqual([
      {
        id,
        type: 0,
        foreignId: key,
        timestamp: 1700000000123,
        metadata: Buffer.from('{"user":"7","name":"Zoë \\"Z\\"","tag":["a","b"],"__proto__":"x"}'),
        headers: {},
      },
    ])
  })

  test('our own fields in any order, with others beside them', async () => {
    const key = fresh('log')
    const own = ['reflex-foreign-id', 'order-7', 'reflex-timestamp', '2026-01-02T03:04:05.000006Z', 'reflex-type', '-3']
    const id = await cli('XADD', key, '*', 'metadata', 'paid', 'traceparent', '00-1', ...own, 'h:a', '1', 'h:a', '2')
    const { events } = await readAll(redisStream(adapterClient(), { key }), '')
    const timestamp = Date.parse('2026-01-02T03:04:05Z') + 0.006
    const headers = { traceparent: '00-1', a: ['1', '2'] }
    expect(events).toEqual([{ id, type: -3, foreignId: 'order-7', timestamp, metadata: Buffer.from('paid'), headers }])
  })

  test('bytes that are not UTF-8 are an error, not other characters, and what came before is delivered', async () => {
    const client = testClient()
    const key = fresh('log')
    const before = await appendTo(client, key, numbered(2))
    const bad = (await client.xadd(key, '*', 'a', Buffer.from([0xff, 0xfe]))) as string
    await appendTo(client, key, numbered(1))
    await using stream = reader(await redisStream(adapterClient(), { key }).stream('', {}))
    expect(idsOf(await stream.take(2))).toEqual(before)
    expect(stream.cursor).toBe(before[1])
    const error = await errorOf(stream.take(1))
    expect(error).toMatchObject({ code: 'EVENT_UNDECODABLE', position: bad, retriable: false })
    expect(String(error)).toContain('fffe')
  })

  test.each(['5000000000', '1.5', '', 'x', '0x10'])(
    'a type that is no 32-bit integer is an error: %s',
    async (type) => {
      const own = ['reflex-source', 's', 'reflex-source-id', '1', 'reflex-type', type]
      const rest = ['reflex-foreign-id', 'x', 'reflex-timestamp', '2026-01-02T03:04:05Z']
      for (const fields of [
        [...own, ...rest],
        [...rest, ...own],
      ]) {
        const key = fresh('log')
        await testClient().xadd(key, '*', ...fields)
        expect(codeOf(await errorOf(readAll(redisStream(adapterClient(), { key }), '')))).toBe('EVENT_UNDECODABLE')
      }
    },
  )

  test('decode is given every byte, and what it throws ends the stream at that entry', async () => {
    const client = testClient()
    const key = fresh('log')
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
    await client.xadd(key, '5-1', bytes, bytes, 'twice', '1', 'twice', '2')
    await client.xadd(key, '6-0', 'stop', '')
    const seen: unknown[] = []
    const source = redisStream(adapterClient(), {
      key,
      decode: (entry, from) => {
        seen.push([entry, from])
        if (String(entry.fields[0]?.[0]) === 'stop') throw new Error('no such event')
        return { type: 7, foreignId: 'f', timestamp: 1, metadata: entry.fields[0]?.[1] ?? null, headers: {} }
      },
    })
    await using stream = reader(await source.stream('', { toHead: true }))
    expect(await stream.take(1)).toEqual([
      { id: '5-1', type: 7, foreignId: 'f', timestamp: 1, metadata: bytes, headers: {} },
    ])
    expect(await errorOf(stream.rest())).toMatchObject({ position: '6-0', cause: { message: 'no such event' } })
    const twice = [
      [bytes, bytes],
      ['twice', '1'],
      ['twice', '2'],
    ].map((pair) => pair.map((part) => Buffer.from(part)))
    expect(seen[0]).toEqual([{ id: '5-1', fields: twice }, key])
  })
})

describe('what it can tell', () => {
  test('at goes by the time in the ids, and names a position that is there', async () => {
    const client = testClient()
    const key = fresh('log')
    for (const id of ['1000-0', '1000-1', '2000-0', '3000-0']) await client.xadd(key, id, 'a', 'b')
    const { at } = redisStream(adapterClient(), { key }) as Required<Source>
    const times = [-5, 0, 999, 1000, 1000.5, 1001, 2000, 2000.999, 2001, 9e15]
    expect(await Promise.all(times.map((time) => at(time)))).toEqual([
      ...['', '', '', '', '', '1000-1', '1000-1', '1000-1', '2000-0', '3000-0'],
    ])
    expect(codeOf(await errorOf(at(Number.NaN)))).toBe('OPTION_INVALID')
  })

  test('backlog counts entries, over holes and in steps, and refuses what stream refuses', async () => {
    const client = testClient()
    const key = fresh('log')
    const ids = await appendTo(client, key, numbered(2500))
    const { backlog } = redisStream(adapterClient(), { key }) as Required<Source>
    await client.xdel(key, ...ids.slice(1000, 1010))
    const counts = await Promise.all(
      ['', ids[0], ids[999], ids[1005], ids[2498], ids[2499]].map((id) => backlog(id as string)),
    )
    expect(counts.map(({ count }) => count)).toEqual([2490n, 2489n, 1490n, 1490n, 1n, 0n])
    await client.xtrim(key, 'MINID', ids[20] as string)
    expect(codeOf(await errorOf(backlog(ids[3] as string)))).toBe('CURSOR_TRIMMED')
    expect(codeOf(await errorOf(backlog('99999999999999-0')))).toBe('CURSOR_AHEAD')
  })
})

describe('memory', () => {
  test('a batch keeps to batchBytes, from the first one on and after small entries', async () => {
    const client = testClient()
    const key = fresh('log')
    const large = (n: number) =>
      Array.from({ length: n }, () => ({ type: 1, foreignId: 'x', metadata: Buffer.alloc(300_000) }))
    await appendTo(client, key, [...large(12), ...numbered(700), ...large(12)])
    const source = redisStream(adapterClient(), { key, batchBytes: 1024 * 1024 })
    await using stream = await source.stream('', { toHead: true })
    const sizes: number[] = []
    let count = 0
    for await (const { events } of stream) {
      count += events.length
      sizes.push(events.reduce((sum, { metadata }) => sum + (metadata?.length ?? 0), 0))
    }
    expect(count).toBe(724)
    expect(Math.max(...sizes)).toBeLessThanOrEqual(1024 * 1024)
    expect(sizes.length).toBeLessThan(300)
  })
})

describe('connections', () => {
  test('one while reading, two while waiting, none after the close', async () => {
    const server = await ownServer()
    const client = testClient(server.url)
    await appendTo(client, 'log', numbered(1))
    const sockets = () => socketsOf(client, 'default')
    const source = redisStream(adapterClient(server.url), { key: 'log' })
    await using stream = reader(await source.stream('', {}))
    expect(await sockets()).toBe(1)
    await stream.take(1)
    const waiting = stream.rest()
    await eventually(async () => (await sockets()) === 2, 2000, 'the connection that waits')
    await stream[Symbol.asyncDispose]()
    expect(await waiting).toEqual([])
    await eventually(async () => (await sockets()) === 0, 1000, 'no connection is left')
    await source.head?.()
    await eventually(async () => (await sockets()) === 0, 1000, 'no connection is left after a question')
  })

  test('either of them killed by an operator ends the stream with an error', async () => {
    const server = await ownServer()
    const client = testClient(server.url)
    for (const name of ['reflex-source', 'reflex-wakeup']) {
      const source = redisStream(adapterClient(server.url), { key: 'log' })
      await using stream = reader(await source.stream('', {}))
      const waiting = errorOf(stream.take(1), 5000, 'noticing the kill')
      await eventually(async () => (await socketsOf(client, 'default')) === 2, 2000, 'both connections')
      const list = (await client.call('CLIENT', 'LIST')) as string
      const id = /^id=(\d+)/.exec(list.split('\n').find((line) => line.includes(`name=${name}`)) ?? '')?.[1] as string
      await client.call('CLIENT', 'KILL', 'ID', id)
      expect(await waiting).toMatchObject({ code: 'REDIS_CONNECTION', retriable: true })
    }
  })

  test('where only the one that waits has stopped to answer, events come all the same, a little later, and another takes its place', async () => {
    const { host, port } = inject('servers').redis
    await using proxy = await tcpProxy({ host, port })
    const client = testClient()
    const key = fresh('log')
    const redis = adapterClient()
    const duplicate = (overrides: { connectionName?: string }) =>
      redis.duplicate(overrides.connectionName === 'reflex-wakeup' ? { ...overrides, port: proxy.port } : overrides)
    const handed = Object.assign(Object.create(redis) as Redis, { duplicate })
    await using stream = reader(await redisStream(handed, { key }).stream('', {}), '', 5000)
    const faults = [
      [1, () => {}],
      [1, () => proxy.stall()],
      [2, () => proxy.restore()], // the proxy does not see that the first one has been left
    ] as const
    for (const [connections, fault] of faults) {
      const waiting = stream.take(1)
      await eventually(() => proxy.connections === connections, 3000, 'the connection that waits')
      fault()
      const [id] = await appendTo(client, key, numbered(1))
      expect(idsOf(await waiting)).toEqual([id])
    }
    await eventually(() => proxy.connections === 1, 2000, 'only the new connection is left')
  })

  test('a half-open network is noticed by a read, an open and a close', async () => {
    const { host, port } = inject('servers').redis
    await using proxy = await tcpProxy({ host, port })
    const url = `redis://127.0.0.1:${proxy.port}`
    const source = redisStream(adapterClient(url), { key: fresh('log') })
    const stream = reader(await source.stream('', {}))
    const waiting = errorOf(stream.take(1), 5000, 'noticing the stalled network')
    await eventually(() => proxy.connections === 2, 2000, 'the connection that waits')
    proxy.stall()
    const opening = errorOf(source.stream('', {}), 5000, 'opening over the stalled network')
    const asking = errorOf(source.head?.() ?? Promise.resolve(), 5000, 'asking over the stalled network')
    for (const error of await Promise.all([waiting, opening, asking])) expect(codeOf(error)).toBe('REDIS_CONNECTION')
    await within(stream[Symbol.asyncDispose](), 1000, 'closing over the stalled network')
  })

  test('database, prefix and credentials of the client are used', async () => {
    const server = await ownServer({ args: ['--requirepass', 'secret'] })
    const url = `redis://:secret@${server.host}:${server.port}/3`
    const client = testClient(url)
    await client.xadd('shop:log', '5-0', 'a', 'b')
    const source = redisStream(adapterClient(url, { keyPrefix: 'shop:' }), { key: 'log' })
    expect(source.name).toBe('redis:shop:log')
    expect(idsOf((await readAll(source, '')).events)).toEqual(['5-0'])
    expect(await source.backlog?.('')).toEqual({ count: 1n, unit: 'events' })
    const wrong = redisStream(adapterClient(`redis://:wrong@${server.host}:${server.port}`), { key: 'log' })
    const error = await errorOf(wrong.stream('', {}))
    expect([codeOf(error), isRetriable(error)]).toEqual(['REDIS_WRONGPASS', false])
  })
})

describe('errors of the server', () => {
  test('a key of another type, and a user without permission, are final and say what to do', async () => {
    const client = testClient()
    const key = fresh('string')
    await client.set(key, 'x')
    const wrongType = await errorOf(redisStream(adapterClient(), { key }).stream('', {}))
    expect(wrongType).toMatchObject({ code: 'REDIS_WRONGTYPE', retriable: false })
    const user = fresh('user')
    for (const denied of ['-xinfo', '-xrange']) {
      await client.call('ACL', 'SETUSER', user, 'reset', 'on', 'nopass', '~*', '+@all', denied)
      const source = redisStream(adapterClient(undefined, { username: user, password: 'x' }), { key: fresh('log') })
      const error = await errorOf(source.stream('', {}))
      expect(error).toMatchObject({ code: 'REDIS_NOPERM', retriable: false })
      expect(String(error)).toContain(denied.slice(1))
    }
    await client.call('ACL', 'DELUSER', user)
  })

  test('a replica can be read', async () => {
    const [primary, replica] = await Promise.all([
      ownServer({ args: ['--repl-diskless-sync-delay', '0'] }),
      ownServer(),
    ])
    const [writing, reading] = [testClient(primary.url), testClient(replica.url)]
    const ids = await appendTo(writing, 'log', numbered(3))
    await reading.call('REPLICAOF', primary.host, String(primary.port))
    await eventually(async () => (await reading.exists('log')) === 1, 20_000, 'the replication')
    const source = redisStream(adapterClient(replica.url), { key: 'log' })
    await using stream = reader(await source.stream('', {}))
    expect(idsOf(await stream.take(3))).toEqual(ids)
    const waiting = stream.take(1)
    const added = await appendTo(writing, 'log', numbered(1))
    expect(idsOf(await waiting)).toEqual(added)
    expect(await source.backlog?.(ids[0] as string)).toEqual({ count: 3n, unit: 'events' })
  })

  test('options that are wrong are refused', () => {
    const redis = adapterClient()
    for (const options of [
      { key: '' },
      { key: 'a', batchSize: 0 },
      { key: 'a', batchSize: 1.5 },
      { key: 'a', batchBytes: 0 },
    ])
      expect(() => redisStream(redis, options)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
  })
})

import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import type { Redis } from 'ioredis'
import { describe, expect, inject, onTestFinished, test } from 'vitest'
import { type RedisSinkOptions, redisSink } from '../../src/adapters/redis/index.ts'
import { checkpointKey } from '../../src/adapters/redis/redis-sink.ts'
import { codeOf, isRetriable } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import type { Checkpoint, SinkWriter } from '../../src/core/sink.ts'
import { wireNames } from '../../src/core/wire.ts'
import { tcpProxy } from '../../src/testing/servers/index.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { eventsIn } from '../subjects/redis.ts'
import { errorOf, eventually } from '../tools/reader.ts'
import { adapterClient, cli, ownServer, testClient } from './fixture.ts'

const SOURCE = 'shop.events'

/** Events 1 to `count` of a source. */
function events(count: number, { from = 1, bytes = 10 }: { from?: number; bytes?: number } = {}): Event[] {
  return Array.from({ length: count }, (_, i) => ({
    id: String(from + i),
    type: 1,
    foreignId: `e${from + i}`,
    timestamp: 1_767_225_600_000,
    metadata: Buffer.alloc(bytes, 120),
    headers: {},
  }))
}

interface Route {
  readonly client: Redis
  readonly key: string
  readonly checkpoint: string
  /** Opens a writer; it is closed with the test. */
  open(saved?: Checkpoint, options?: Partial<RedisSinkOptions>): Promise<SinkWriter>
  /** The source ids of the entries, in order. */
  ids(): Promise<unknown[]>
}

function route({
  url = inject('servers').redis.url,
  key = fresh('out'),
  name = 'r',
  source = SOURCE,
  user = {} as object,
} = {}): Route {
  const client = testClient(url)
  return {
    client,
    key,
    checkpoint: checkpointKey(key, name),
    open: async (saved, options = {}) => {
      const sink = redisSink(adapterClient(url, user), { key, ...options })
      const writer = await sink.open({ route: name, source, saved })
      onTestFinished(() => writer[Symbol.asyncDispose]())
      return writer
    },
    ids: async () => (await eventsIn(client, key)).map(({ headers }) => headers[wireNames.sourceId]),
  }
}

/** Appends events up to `end` in batches, from where the writer says; what a bridge would have saved. */
async function pump(
  writer: SinkWriter,
  end: number,
  { batch = 5, saved }: { batch?: number; saved?: Checkpoint } = {},
): Promise<Checkpoint> {
  let checkpoint = saved
  for (let at = Number(writer.resumeFrom); at < end; ) {
    const part = events(Math.min(batch, end - at), { from: at + 1 })
    at += part.length
    checkpoint = { cursor: String(at), mark: await writer.append(part, String(at)) }
  }
  return checkpoint as Checkpoint
}
const upTo = (count: number, from = 1): string[] => events(count - from + 1, { from }).map(({ id }) => id)

describe('an entry', () => {
  test('is readable with redis-cli: our fields, then the headers, then the payload', async () => {
    const { key, open } = route()
    const writer = await open()
    const headers = { trace: ['a', 'b'], metadata: 'mine', ü: 'x' }
    await writer.append(
      [
        {
          id: '7@x',
          type: -3,
          foreignId: 'order 7',
          timestamp: 1_767_225_600_000.25,
          metadata: Buffer.from('{"a":1}'),
          headers,
        },
        { id: '8', type: 0, foreignId: '', timestamp: 0, metadata: null, headers: {} },
        { id: '9', type: 0, foreignId: '', timestamp: 0, metadata: Buffer.alloc(0), headers: {} },
      ],
      '9',
    )
    const [first, second, third] = (await cli('--json', 'XRANGE', key, '-', '+').then(JSON.parse)) as [
      string,
      string[],
    ][]
    const of = (id: string): string[] => ['reflex-source', SOURCE, 'reflex-source-id', id]
    expect(first?.[1]).toEqual([
      ...of('7@x'),
      ...['reflex-type', '-3', 'reflex-foreign-id', 'order 7', 'reflex-timestamp', '2026-01-01T00:00:00.000250Z'],
      ...['h:trace', 'a', 'h:trace', 'b', 'h:metadata', 'mine', 'h:ü', 'x', 'metadata', '{"a":1}'],
    ])
    const empty = ['reflex-type', '0', 'reflex-foreign-id', '', 'reflex-timestamp', '1970-01-01T00:00:00.000000Z']
    expect(second?.[1]).toEqual([...of('8'), ...empty])
    expect(third?.[1]).toEqual([...of('9'), ...empty, 'metadata', ''])
  })

  test('the checkpoint says which cursor, entry and count it stands for; the mark is entry and count', async () => {
    const { client, key, checkpoint, open } = route()
    const writer = await open()
    const { mark } = await pump(writer, 7)
    const [[last] = []] = await client.xrevrange(key, '+', '-', 'COUNT', 1)
    expect(mark).toBe(`${last}/7`)
    const fields = await client.hgetall(checkpoint)
    expect(fields).toMatchObject({ cursor: '7', id: last, count: '7', added: '7', source: SOURCE, skip: '' })
  })

  test('its key and that of the checkpoint are in one slot of a cluster, unless the key cannot be quoted', async () => {
    const server = await ownServer({ args: ['--cluster-enabled', 'yes'] })
    const cluster = testClient(server.url)
    await cluster.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
    const isUp = async () => String(await cluster.call('CLUSTER', 'INFO')).includes('cluster_state:ok')
    await eventually(isUp, 10_000, 'the cluster')
    for (const key of ['orders', '{shop}:orders']) {
      const { client, open, ids, checkpoint } = route({ url: server.url, key, name: 'my route' })
      await pump(await open(), 3)
      expect(await ids()).toEqual(upTo(3))
      expect(await client.exists(checkpoint)).toBe(1)
    }
    for (const key of ['a}b', 'a{}b{c}'])
      expect(codeOf(await errorOf(route({ url: server.url, key }).open()))).toBe('REDIS_CROSSSLOT')
  })

  test('streams of one hash tag have checkpoints of their own', () => {
    expect(checkpointKey('{t}:a', 'r')).not.toBe(checkpointKey('{t}:b', 'r'))
    expect(checkpointKey('orders', 'r')).toBe('reflex:{orders}:r')
  })
})

describe('a batch', () => {
  test('of 5,000 events, and one of 3 MB, is one', async () => {
    const { client, key, open, ids } = route()
    const writer = await open()
    await writer.append(events(5000), '5000')
    await writer.append(events(30, { from: 5001, bytes: 100_000 }), '5030')
    expect(await ids()).toEqual(upTo(5030))
    expect(await client.xlen(key)).toBe(5030)
  })

  test('goes on after the server has forgotten its scripts', async () => {
    const { client, open, ids } = route()
    const writer = await open()
    await writer.append(events(2), '2')
    await client.script('FLUSH')
    await writer.append(events(2, { from: 3 }), '4')
    expect(await ids()).toEqual(upTo(4))
  })

  test('with an event of too many fields is refused whole', async () => {
    const { client, key, open } = route()
    const writer = await open()
    const many = { ...(events(1, { from: 3 })[0] as Event), headers: { h: Array.from({ length: 3800 }, String) } }
    const error = await errorOf(writer.append([...events(2), many], '3'))
    expect([codeOf(error), isRetriable(error)]).toEqual(['EVENT_UNENCODABLE', false])
    expect(await client.exists(key)).toBe(0)
    const most = { ...many, headers: { h: Array.from({ length: 3700 }, String) } }
    await (await open()).append([most], '3')
    expect((await eventsIn(client, key))[0]?.headers['h']).toHaveLength(3700)
  })

  test.each(['proto-max-bulk-len', 'client-query-buffer-limit'])(
    'with an event larger than %s is refused before it is sent, with limit and size; small events together are not',
    async (setting) => {
      const server = await ownServer({ args: [`--${setting}`, '1mb'] })
      const { client, open, ids } = route({ url: server.url })
      const writer = await open()
      await writer.append(events(300, { bytes: 10_000 }), '300')
      const sent = async () => /total_net_input_bytes:(\d+)/.exec(await client.info('stats'))?.[1]
      const before = Number(await sent())
      const large = [...events(1, { from: 301 }), ...events(1, { from: 302, bytes: 2_000_000 })]
      const error = await errorOf(writer.append(large, '302'))
      expect([codeOf(error), isRetriable(error)]).toEqual(['EVENT_TOO_LARGE', false])
      expect(String(error)).toMatch(/event 302, which is 2000\d{3} bytes .* at most 104\d{4}: .*proto-max-bulk-len/)
      expect(Number(await sent()) - before).toBeLessThan(1000)
      // The largest that is not refused goes in.
      const most = Number(/at most (\d+)/.exec(String(error))?.[1])
      const [framed] = /\d+(?= bytes)/.exec(String(error)) ?? []
      const again = await open()
      expect(again.resumeFrom).toBe('300')
      const bytes = most - (Number(framed) - 2_000_000)
      await again.append(events(1, { from: 301, bytes }), '301')
      expect(codeOf(await errorOf(again.append(events(1, { from: 302, bytes: bytes + 1 }), '302')))).toBe(
        'EVENT_TOO_LARGE',
      )
      expect(await ids()).toEqual(upTo(301))
    },
  )

  test('larger than the server takes is an error too where its limit is not known, or was changed', async () => {
    const server = await ownServer()
    const { client, key, open } = route({ url: server.url })
    const writer = await open()
    await client.config('SET', 'proto-max-bulk-len', '1mb')
    const error = await errorOf(writer.append(events(1, { bytes: 2_000_000 }), '1'))
    expect(codeOf(error)).toMatch(/^(EVENT_TOO_LARGE|REDIS_CONNECTION)$/) // whether its reply comes before the hang-up
    expect(String(error)).toContain('proto-max-bulk-len')
    expect(await client.exists(key)).toBe(0)
  })

  test('into a stream whose ids are used up is refused whole', async () => {
    const { client, key, open } = route()
    await client.xadd(key, '18446744073709551615-18446744073709551612', 'a', 'b')
    const error = await errorOf((await open()).append(events(5), '5'))
    expect([codeOf(error), isRetriable(error)]).toEqual(['SINK_KEY_FULL', false])
    expect(await client.xlen(key)).toBe(1)
  })
})

describe('an error reply appends nothing', () => {
  test('out of memory: whole batches go in until one is refused, which is nowhere to be seen', async () => {
    const server = await ownServer({ args: ['--maxmemory', '4mb'] })
    const { client, key, open, ids } = route({ url: server.url })
    const writer = await open()
    let appended = 0
    let error: unknown
    while (error === undefined) {
      const batch = events(50, { from: appended + 1, bytes: 10_000 })
      error = await writer.append(batch, String(appended + 50)).then(
        () => {
          appended += 50
        },
        (e: unknown) => e,
      )
    }
    expect(error).toMatchObject({ code: 'REDIS_OOM', retriable: true })
    expect(String(error)).toContain('maxmemory')
    expect(appended).toBeGreaterThan(0)
    expect(await client.xlen(key)).toBe(appended)
    await client.config('SET', 'maxmemory', '100mb')
    const again = await open()
    expect(again.resumeFrom).toBe(String(appended))
    await pump(again, appended + 5)
    expect(await ids()).toEqual(upTo(appended + 5))
  })

  test('read-only replica', async () => {
    const server = await ownServer()
    const { client, key, open, ids } = route({ url: server.url })
    const writer = await open()
    const saved = await pump(writer, 4)
    await client.call('REPLICAOF', '127.0.0.1', '1')
    expect(await errorOf(writer.append(events(1, { from: 5 }), '5'))).toMatchObject({
      code: 'REDIS_READONLY',
      retriable: true,
    })
    expect(codeOf(await errorOf(open(saved)))).toBe('REDIS_READONLY')
    await client.call('REPLICAOF', 'NO', 'ONE')
    expect(await client.xlen(key)).toBe(4)
    await pump(await open(saved), 6)
    expect(await ids()).toEqual(upTo(6))
  })

  test('too few replicas', async () => {
    const server = await ownServer()
    const { client, key, open } = route({ url: server.url })
    const writer = await open()
    await pump(writer, 4)
    await client.config('SET', 'min-replicas-to-write', '1')
    expect(await errorOf(writer.append(events(1, { from: 5 }), '5'))).toMatchObject({
      code: 'REDIS_NOREPLICAS',
      retriable: true,
    })
    expect(await client.xlen(key)).toBe(4)
  })

  test.each(['-xadd', '-hset', '-evalsha', '-xinfo', '-hmget'])('no permission: %s', async (denied) => {
    const admin = testClient()
    const username = fresh('user')
    await admin.call('ACL', 'SETUSER', username, 'on', 'nopass', '~*', '+@all')
    const { client, checkpoint, open, ids } = route({ user: { username, password: 'x' } })
    const writer = await open()
    const saved = await pump(writer, 4)
    const before = await client.hgetall(checkpoint)
    await admin.call('ACL', 'SETUSER', username, denied)
    const error = await errorOf(writer.append(events(2, { from: 5 }), '6'))
    expect(error).toMatchObject({ code: 'REDIS_NOPERM', retriable: false })
    expect(await ids()).toEqual(upTo(4))
    expect(await client.hgetall(checkpoint)).toEqual(before)
    expect(await errorOf(writer.append([], '6'))).toBe(error) // it is dead
    await admin.call('ACL', 'SETUSER', username, '+@all')
    await pump(await open(saved), 6)
    expect(await ids()).toEqual(upTo(6))
    await admin.call('ACL', 'DELUSER', username)
  })

  test('keys of another type', async () => {
    const { client, key, checkpoint, open } = route()
    await client.set(key, 'x')
    expect(await errorOf(open())).toMatchObject({ code: 'REDIS_WRONGTYPE', retriable: false })
    expect(await client.exists(checkpoint)).toBe(0)
    await client.del(key)
    await client.set(checkpoint, 'x')
    expect(codeOf(await errorOf(open()))).toBe('REDIS_WRONGTYPE')
    await client.del(checkpoint)
    const writer = await open()
    await client.set(key, 'x')
    expect(codeOf(await errorOf(writer.append(events(1), '1')))).toBe('REDIS_WRONGTYPE')
  })
})

describe('an unknown outcome', () => {
  test('whose reply is lost is found out by the next open: nothing twice', async () => {
    const { host, port } = inject('servers').redis
    await using proxy = await tcpProxy({ host, port })
    const key = fresh('out')
    const { open, ids } = route({ key })
    const through = route({ key, url: `redis://127.0.0.1:${proxy.port}` })
    const writer = await through.open()
    const saved = await pump(writer, 5)
    proxy.stallReplies()
    const lost = await errorOf(writer.append(events(5, { from: 6 }), '10'), 5000, 'the lost reply')
    expect(lost).toMatchObject({ code: 'REDIS_CONNECTION', retriable: true })
    expect(await ids()).toEqual(upTo(10))
    const again = await open(saved)
    expect([again.resumeFrom, again.repair]).toEqual(['10', undefined])
    await pump(again, 12)
    expect(await ids()).toEqual(upTo(12))
  })

  test('that arrives after the next open is fenced: nothing twice', async () => {
    const { host, port } = inject('servers').redis
    await using proxy = await tcpProxy({ host, port })
    const key = fresh('out')
    const { open, ids } = route({ key })
    const through = route({ key, url: `redis://127.0.0.1:${proxy.port}` })
    const writer = await through.open()
    const saved = await pump(writer, 5)
    proxy.stall()
    const late = writer.append(events(5, { from: 6 }), '10')
    const newer = await open(saved)
    await pump(newer, 7)
    proxy.restore()
    expect(codeOf(await errorOf(late))).toBe('FENCED')
    await pump(await open(), 9)
    expect(await ids()).toEqual(upTo(9))
  })
})

describe('a key of several writers', () => {
  test('two routes and a stranger append to it in turns', async () => {
    const key = fresh('out')
    const a = route({ key, name: 'a', source: 'A' })
    const b = route({ key, name: 'b', source: 'B' })
    let [writerA, writerB] = await Promise.all([a.open(), b.open()])
    let [savedA, savedB]: (Checkpoint | undefined)[] = []
    for (let end = 3; end <= 12; end += 3) {
      savedA = await pump(writerA, end, { batch: 2 })
      await a.client.xadd(key, '*', 'of', 'a stranger')
      savedB = await pump(writerB, end - 1, { batch: 2 })
      writerA = await a.open(savedA)
      writerB = await b.open(savedB)
      expect([writerA.resumeFrom, writerB.resumeFrom]).toEqual([String(end), String(end - 1)])
      expect([writerA.repair, writerB.repair]).toEqual([undefined, undefined])
    }
    const found = await eventsIn(a.client, key)
    const of = (source: string) =>
      found
        .filter(({ headers }) => headers[wireNames.source] === source)
        .map(({ headers }) => headers[wireNames.sourceId])
    expect(of('A')).toEqual(upTo(12))
    expect(of('B')).toEqual(upTo(11))
    expect(found).toHaveLength(27)
  })

  test('a route that is given another source is refused', async () => {
    const { key, open, ids } = route()
    await pump(await open(), 3)
    const other = route({ key, source: 'another' })
    expect(await errorOf(other.open())).toMatchObject({ code: 'OPTION_INVALID' })
    expect(await ids()).toEqual(upTo(3))
  })
})

describe("ids: 'source'", () => {
  const ids = 'source'

  test('the id of the event is that of the entry, also beyond what a double can hold', async () => {
    const { client, key, open } = route()
    const writer = await open(undefined, { ids })
    const at = [1, 2, 9].map((id) => events(1, { from: id })[0] as Event)
    await writer.append(at, '9')
    const large = ['9007199254740992', '9007199254740993', '18446744073709551615'].map((id) => ({
      ...(at[0] as Event),
      id,
    }))
    await writer.append(large.slice(0, 1), '9007199254740992')
    await writer.append(large.slice(1), '18446744073709551615')
    expect((await client.xrange(key, '-', '+')).map(([id]) => id)).toEqual([
      ...['1-0', '2-0', '9-0', '9007199254740992-0', '9007199254740993-0', '18446744073709551615-0'],
    ])
  })

  test.each([
    ['0'],
    ['-1'],
    ['1.5'],
    ['a'],
    ['01'],
    ['1700000000000-0'],
    ['18446744073709551616'],
    ['5', '5'],
    ['5', '4'],
  ])('ids that are no rising integers from 1 on are refused: %s %s', async (...wrong) => {
    const { client, key, open } = route()
    const writer = await open(undefined, { ids })
    const batch = ['1', ...wrong.filter(Boolean)].map((id) => ({ ...(events(1)[0] as Event), id }))
    expect(codeOf(await errorOf(writer.append(batch, 'x')))).toBe('OPTION_INVALID')
    expect(await client.exists(key)).toBe(0)
  })

  test('a key that someone else has written to is refused, before and while appending, and swallows nothing', async () => {
    const { client, key, open } = route()
    await client.xadd(key, '*', 'a', 'b')
    expect(await errorOf(open(undefined, { ids }))).toMatchObject({ code: 'SINK_KEY_SHARED', retriable: false })
    await client.del(key)
    const writer = await open(undefined, { ids })
    const saved = await pump(writer, 4)
    await client.xadd(key, '6-0', 'a', 'b')
    expect(codeOf(await errorOf(writer.append(events(4, { from: 5 }), '8')))).toBe('SINK_KEY_SHARED')
    expect(await client.xlen(key)).toBe(5)
    expect(codeOf(await errorOf(open(saved, { ids })))).toBe('SINK_KEY_SHARED')
  })

  test('goes on in a stream that retention has emptied', async () => {
    const { client, key, open, ids: found } = route()
    const saved = await pump(await open(undefined, { ids }), 4)
    await client.xtrim(key, 'MAXLEN', 0)
    await pump(await open(saved, { ids }), 6)
    expect(await found()).toEqual(['5', '6'])
  })

  test('a stream of ids of its own cannot be changed to them', async () => {
    const { open, ids: found } = route()
    const saved = await pump(await open(), 4)
    const writer = await open(saved, { ids })
    expect(codeOf(await errorOf(writer.append(events(1, { from: 5 }), '5')))).toBe('OPTION_INVALID')
    expect(await found()).toEqual(upTo(4))
  })
})

describe('what was lost', () => {
  test('retention is no loss: trimmed to the last entry, or to none', async () => {
    const { client, key, open, ids } = route()
    let saved: Checkpoint | undefined
    for (const left of [2, 0, 1]) {
      const writer = await open(saved)
      expect(writer.repair).toBeUndefined()
      saved = await pump(writer, Number(writer.resumeFrom) + 4)
      await client.xtrim(key, 'MAXLEN', left)
    }
    await client.xadd(key, '*', 'of', 'a stranger')
    await client.xtrim(key, 'MAXLEN', 1)
    const writer = await open(saved)
    expect([writer.resumeFrom, writer.repair]).toEqual(['12', undefined])
    await pump(writer, 13)
    expect(await ids()).toEqual([undefined, '13'])
  })

  test.each<[string, (ms: number) => readonly string[]]>([
    ['nothing', () => []],
    ['one entry of a stranger', () => ['*']],
    ['as many entries of strangers', () => Array(9).fill('*')],
    ['as many under lower ids', () => upTo(9).map((id) => `5-${id}`)],
    ['as many up to the same millisecond', (ms) => [...upTo(9).map((id) => `${ms - 1}-${id}`), `${ms}-0`]],
  ])(
    'a stream that was deleted, and has %s since, is filled again from the earliest, and says so',
    async (_, strangers) => {
      const { client, key, open, ids } = route()
      const saved = await pump(await open(), 8, { batch: 8 })
      const [ms] = saved.mark.split('-')
      await client.del(key)
      for (const id of strangers(Number(ms))) await client.xadd(key, id, 'of', 'a stranger')
      for (const each of [saved, undefined]) {
        const writer = await open(each)
        expect(writer.resumeFrom).toBe('')
        expect(writer.repair).toMatch(/8 events/)
      }
      await pump(await open(saved), 10)
      expect((await ids()).filter(Boolean)).toEqual(upTo(10))
    },
  )

  test('an entry that an operator deleted is none of its business, not even the newest', async () => {
    const { client, key, open, ids } = route()
    const writer = await open()
    const saved = await pump(writer, 8)
    await client.xdel(key, saved.mark.split('/')[0] as string)
    await writer.append(events(1, { from: 9 }), '9')
    const again = await open(saved)
    expect([again.resumeFrom, again.repair]).toEqual(['9', undefined])
    expect(await ids()).toEqual([...upTo(7), '9'])
  })

  test('more than maxRefill is refused, with what to do', async () => {
    const { client, key, open, ids } = route()
    const saved = await pump(await open(), 8)
    await client.del(key)
    const error = await errorOf(open(saved, { maxRefill: 7 }))
    expect(error).toMatchObject({ code: 'SINK_LOST_TOO_MUCH', retriable: false })
    expect(String(error)).toContain('maxRefill: 8')
    await pump(await open(saved, { maxRefill: 8 }), 8)
    expect(await ids()).toEqual(upTo(8))
  })

  test('while appending, a stream or checkpoint that goes is noticed by the next batch', async () => {
    for (const how of ['stream', 'stream and strangers', 'checkpoint', 'both'] as const) {
      const { client, key, checkpoint, open, ids } = route()
      const writer = await open()
      const saved = await pump(writer, 6)
      if (how !== 'checkpoint') await client.del(key)
      await sleep(2) // within the same millisecond entries of strangers would have the ids of those that went
      if (how === 'stream and strangers') for (let i = 0; i < 9; i++) await client.xadd(key, '*', 'of', 'a stranger')
      if (how === 'checkpoint' || how === 'both') await client.del(checkpoint)
      expect([how, await errorOf(writer.append(events(2, { from: 7 }), '8'))]).toMatchObject([
        how,
        { code: 'SINK_TAIL_CHANGED', retriable: true },
      ])
      const again = await open(saved)
      expect(again.repair).toMatch(/\S/)
      await pump(again, 8)
      expect((await ids()).filter(Boolean)).toEqual(upTo(8))
    }
  })

  test('the checkpoint alone: what is in the stream after what was saved is not appended again, through any crash', async () => {
    const { client, key, checkpoint, open, ids } = route()
    const writer = await open()
    const saved = await pump(writer, 6, { batch: 3 })
    await client.xadd(key, '*', 'of', 'a stranger')
    await writer.append(events(4, { from: 7 }), '10') // not saved
    await client.del(checkpoint)
    const again = await open(saved)
    expect(again.resumeFrom).toBe('6')
    expect(again.repair).toMatch(/4 events/)
    await again.append(events(2, { from: 7 }), '8')
    const last = await open(saved) // after a crash in the middle of it
    expect(last.resumeFrom).toBe('8')
    const mark = await last.append(events(4, { from: 9 }), '12')
    expect((await ids()).filter(Boolean)).toEqual(upTo(12))
    expect(mark).toMatch(/\/12$/)
    expect((await open({ cursor: '12', mark })).repair).toBeUndefined()
  })

  test('the checkpoint, after retention took every entry that was saved', async () => {
    const { client, key, checkpoint, open, ids } = route()
    const saved = await pump(await open(), 6)
    await client.xadd(key, '*', 'of', 'a stranger')
    await client.xtrim(key, 'MAXLEN', 1)
    await client.del(checkpoint)
    const again = await open(saved)
    expect([again.resumeFrom, again.repair]).toEqual(['6', expect.stringMatching(/nothing is lost/)])
    await pump(again, 8)
    expect((await ids()).filter(Boolean)).toEqual(['7', '8'])
  })

  test('the checkpoint, and the tail with it', async () => {
    const { client, key, checkpoint, open, ids } = route()
    const saved = await pump(await open(), 9)
    const kept = (await client.xrange(key, '-', '+')).slice(0, 4)
    await client.del(key, checkpoint)
    for (const [id, fields] of kept) await client.xadd(key, id, ...fields)
    const again = await open(saved)
    expect([again.resumeFrom, again.repair]).toEqual(['4', expect.stringMatching(/5 events/)])
    await pump(again, 10)
    expect(await ids()).toEqual(upTo(10))
  })

  test('the checkpoint and the stream: filled again, but for what another route has put there since', async () => {
    const { client, key, checkpoint, open, ids } = route()
    const saved = await pump(await open(), 6)
    await client.del(key, checkpoint)
    await pump(await route({ key, name: 'another' }).open(), 3)
    const again = await open(saved)
    expect(again.resumeFrom).toBe('')
    await pump(again, 8)
    expect(await ids()).toEqual(upTo(8))
  })

  test('a tail that cannot be found among as many entries as may be looked at is an error', async () => {
    const { client, key, checkpoint, open } = route()
    const saved = await pump(await open(), 3)
    const pipeline = client.pipeline()
    for (let i = 0; i < 100; i++) pipeline.xadd(key, '*', 'of', 'a stranger')
    await pipeline.exec()
    await client.del(checkpoint)
    expect(await errorOf(open(saved, { maxRefill: 50 }))).toMatchObject({
      code: 'SINK_TAIL_NOT_FOUND',
      retriable: false,
    })
    expect((await open(saved, { maxRefill: 200 })).resumeFrom).toBe('3')
  })

  test('a mark of another sink is refused', async () => {
    const { open } = route()
    expect(codeOf(await errorOf(open({ cursor: '1', mark: '17' })))).toBe('CURSOR_INVALID')
  })

  test('whatever is lost, trimmed or unsaved, every event that retention did not take is there once, in order', async () => {
    const step = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({
          op: fc.constantFrom('append', 'append unsaved', 'append empty'),
          n: fc.integer({ min: 1, max: 5 }),
        }),
      },
      {
        weight: 3,
        arbitrary: fc.record({ op: fc.constantFrom('crash', 'restore', 'backup', 'stranger'), n: fc.constant(1) }),
      },
      {
        weight: 1,
        arbitrary: fc.record({
          op: fc.constantFrom('delete stream', 'delete checkpoint', 'delete both', 'trim'),
          n: fc.nat({ max: 3 }),
        }),
      },
    )
    let repairs = 0
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 12 }), async (steps) => {
        const { client, key, checkpoint, open, ids } = route()
        const keys = [key, checkpoint]
        let saved: Checkpoint | undefined
        let writer = await open()
        let replaced = false // by a stream that the writer has not seen yet
        let backup: (Buffer | null)[] = [null, null]
        const trimmed = new Set<unknown>()
        const reopen = async (): Promise<void> => {
          writer = await open(saved)
          at = Number(writer.resumeFrom)
          if (writer.repair !== undefined) repairs++
        }
        let at = 0
        let highest = 0
        for (const { op, n } of [...steps, { op: 'crash', n: 0 }]) {
          if (op.startsWith('append')) {
            const part = op === 'append empty' ? [] : events(n, { from: at + 1 })
            const cursor = String(at + part.length)
            if (cursor === '0') continue
            try {
              const mark = await writer.append(part, cursor)
              if (op !== 'append unsaved') saved = { cursor, mark }
              replaced = false
              at += part.length
              highest = Math.max(highest, at)
            } catch (error) {
              expect(codeOf(error)).toBe('SINK_TAIL_CHANGED')
              await reopen()
            }
          } else if (op === 'crash') await reopen()
          else if (op === 'backup') backup = await Promise.all(keys.map((each) => client.dumpBuffer(each)))
          else if (op === 'restore') {
            replaced = true
            await client.del(...keys)
            for (const [i, dump] of backup.entries()) if (dump) await client.restore(keys[i] as string, 0, dump)
            await reopen()
          } else if (op === 'stranger') await client.xadd(key, '*', 'of', 'a stranger')
          else if (op === 'trim') {
            if (replaced) continue // known: it could have been the old one that was trimmed
            const before = await ids()
            await client.xtrim(key, 'MAXLEN', n)
            for (const id of before.slice(0, Math.max(0, before.length - n))) trimmed.add(id)
          } else if (op === 'delete stream') {
            replaced = true
            await client.del(key)
          } else if (saved !== undefined) {
            // If nothing was saved, nothing tells that there ever was a checkpoint.
            replaced ||= op === 'delete both'
            await client.del(...(op === 'delete both' ? keys : [checkpoint]))
          }
        }
        const end = highest + 1 // of everything that may have been lost or skipped
        await writer.append(events(end - at, { from: at + 1 }), String(end))
        const found = (await ids()).filter(Boolean)
        const present = new Set([...found, ...trimmed])
        expect(upTo(end).filter((id) => !present.has(id))).toEqual([])
        if (trimmed.size === 0) expect(found).toEqual(upTo(end))
      }),
      { numRuns: 60 },
    )
    expect(repairs).toBeGreaterThan(10)
  })
})

test('options that are wrong are refused', () => {
  for (const options of [
    { key: '' },
    { key: 'a', ids: 'other' },
    { key: 'a', maxRefill: -1 },
    { key: 'a', maxRefill: 1.5 },
  ])
    expect(() => redisSink(adapterClient(), options as RedisSinkOptions)).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID' }),
    )
})

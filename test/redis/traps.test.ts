import { inspect } from 'node:util'
import { Redis } from 'ioredis'
import { describe, expect, inject, test } from 'vitest'
import { redisCursors, redisFailFast, redisSink, redisStream } from '../../src/adapters/redis/index.ts'
import { codeOf, messageOf } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { eventsIn } from '../subjects/redis.ts'
import { errorOf, reader, within } from '../tools/reader.ts'
import { adapterClient, ownServer, testClient } from './fixture.ts'

const event = (id: string): Event => ({ id, type: 1, foreignId: id, timestamp: 0, metadata: null, headers: {} })
const open = { route: 'r', source: 's' }

async function add(client: Redis, key: string, count: number): Promise<string[]> {
  const ids: string[] = []
  for (let i = 0; i < count; i++) ids.push((await client.xadd(key, '*', 'n', i)) as string)
  return ids
}
const idsOf = (events: readonly Event[]): string[] => events.map(({ id }) => id)

describe('reading', () => {
  test('trap ioredis 1: XREAD says nothing of a cursor that was trimmed, or lies beyond the end, nor of entries trimmed under a slow reader', async () => {
    const client = testClient()
    const key = fresh('log')
    const ids = await add(client, key, 10)
    const source = redisStream(adapterClient(), { key, batchSize: 2 })
    await using slow = reader(await source.stream('', {}))
    await slow.take(2)
    await client.xtrim(key, 'MINID', ids[6] as string)

    const read = await client.xread('STREAMS', key, ids[1] as string)
    expect(read?.[0]?.[1].map(([id]) => id)).toEqual(ids.slice(6)) // four entries are skipped
    expect(await client.xread('STREAMS', key, '99999999999999-0')).toBeNull()

    const trimmed = { code: 'CURSOR_TRIMMED', cursor: ids[1], earliest: ids[6] }
    expect(await errorOf(slow.take(1))).toMatchObject(trimmed)
    expect(await errorOf(source.stream(ids[1] as string, {}))).toMatchObject(trimmed)
    expect(codeOf(await errorOf(source.stream('99999999999999-0', {})))).toBe('CURSOR_AHEAD')
  })

  test('trap ioredis 4: with blockingTimeout, a blocking command of a frozen server resolves with null, as if there were nothing new', async () => {
    const server = await ownServer()
    const client = testClient(server.url, { blockingTimeout: 300 })
    await client.connect()
    await using stream = reader(await redisStream(adapterClient(server.url), { key: 'log' }).stream('', {}))
    const waiting = errorOf(stream.take(1), 5000, 'noticing the frozen server')
    server.process.freeze()
    try {
      expect(await within(client.xread('BLOCK', 100, 'STREAMS', 'log', '0-0'), 5000, 'the timeout')).toBeNull()
      expect(await waiting).toMatchObject({ code: 'REDIS_CONNECTION', retriable: true })
    } finally {
      server.process.thaw()
    }
  })

  test('trap ioredis 5: a restart without persistence leaves no stream: XREAD waits, XRANGE is empty, only XINFO is an error', async () => {
    const server = await ownServer({ redis: { appendonly: false } })
    const client = testClient(server.url)
    const [, last] = (await add(client, 'log', 2)) as [string, string]
    await server.process.kill()
    await server.process.start()
    expect(await client.xread('STREAMS', 'log', last)).toBeNull()
    expect(await client.xrange('log', last, '+')).toEqual([])
    await expect(client.xinfo('STREAM', 'log')).rejects.toThrow('no such key')
    const source = redisStream(adapterClient(server.url), { key: 'log' })
    expect(await errorOf(source.stream(last, {}))).toMatchObject({ code: 'CURSOR_AHEAD', reason: 'beyond' })
    await using fromStart = reader(await source.stream('', { toHead: true }))
    expect(await fromStart.rest()).toEqual([])
  })

  test('trap ioredis 6: ids are two 64-bit numbers and no text, and the client maps replies of RESP 3 to objects if it is told to', async () => {
    const key = fresh('log')
    const client = testClient(undefined, { replyMapping: 'resp3' })
    const ids = ['9-9', '9-10', '10-0', '9007199254740993-1', '9007199254740993-2']
    for (const id of ids) await client.xadd(key, id, 'a', 'b')
    expect([...ids].sort()).not.toEqual(ids)
    expect(Number('9007199254740993')).toBe(Number('9007199254740992'))
    expect(Array.isArray(await client.xinfo('STREAM', key))).toBe(false)
    // The client that is handed in may be set so: our connections are not.
    const source = redisStream(adapterClient(undefined, { replyMapping: 'resp3' }), { key, batchSize: 1 })
    for (const [i, id] of ids.entries()) {
      await using stream = reader(await source.stream(id, { toHead: true }))
      expect(idsOf(await stream.rest())).toEqual(ids.slice(i + 1))
    }
  })

  test('trap ioredis 13: commandTimeout ends a blocking command as well, though all is well', async () => {
    const client = testClient(undefined, { commandTimeout: 200 })
    const error = await errorOf(client.xread('BLOCK', 2000, 'STREAMS', fresh('log'), '0-0'))
    expect(messageOf(error)).toContain('timed out')
    const key = fresh('log')
    const hasty = adapterClient(undefined, { commandTimeout: 200 })
    await using stream = reader(await redisStream(hasty, { key }).stream('', {}))
    const waiting = stream.take(1)
    await new Promise((resolve) => setTimeout(resolve, 600)) // longer than that
    const [id] = await add(testClient(), key, 1)
    expect(idsOf(await waiting)).toEqual([id])
  })

  test('trap ioredis 14: an error of the client carries the command with all its arguments, the password among them', async () => {
    const { host, port } = inject('servers').redis
    const url = `redis://nobody:not-a-password@${host}:${port}`
    const bare = new Redis(url, { ...redisFailFast })
    const raw = await new Promise((resolve) => {
      bare.on('error', resolve)
      bare.connect().catch(resolve)
    })
    bare.disconnect()
    expect(inspect(raw, { depth: 5 })).toContain('not-a-password')
    const ours = await errorOf(redisStream(adapterClient(url), { key: 'log' }).stream('', {}))
    expect(codeOf(ours)).toBe('REDIS_WRONGPASS')
    expect(inspect(ours, { depth: 5 })).not.toContain('not-a-password')
  })

  test('trap ioredis 15: a client that may not use its database, or names one that is not there, connects all the same, in database 0', async () => {
    const key = fresh('log')
    const bare = testClient(undefined, { db: 4000 })
    const told = new Promise((resolve) => bare.on('error', resolve))
    await bare.xadd(key, '*', 'a', 'b')
    expect(messageOf(await told)).toContain('DB index is out of range')
    expect(await testClient().exists(key)).toBe(1)
    const ours = adapterClient(undefined, { db: 4000 })
    for (const use of [
      () => redisStream(ours, { key }).stream('', {}),
      () => redisSink(ours, { key }).open(open),
      () => redisCursors(ours).get('a'),
    ])
      expect(await errorOf(use())).toMatchObject({ code: 'REDIS_ERR', message: expect.stringContaining('DB index') })
  })
})

describe('publishing', () => {
  test('trap ioredis 7: an entry id at or below the top is refused, so that the id of the source event as entry id keeps out replays', async () => {
    const client = testClient()
    const key = fresh('out')
    await client.xadd(key, '5-0', 'a', 'b')
    for (const id of ['5-0', '4-0'])
      await expect(client.xadd(key, id, 'a', 'b')).rejects.toThrow('equal or smaller than the target stream top item')
    // With `ids: 'source'` that is what our ids are; a replay is refused before, by its name.
    const out = fresh('out')
    await using writer = await redisSink(adapterClient(), { key: out, ids: 'source' }).open(open)
    await writer.append([event('5')], '5')
    expect(codeOf(await errorOf(writer.append([event('5')], '5')))).toBe('OPTION_INVALID')
    expect((await client.xrange(out, '-', '+')).map(([id]) => id)).toEqual(['5-0'])
  })

  test('trap ioredis 8: in a pipeline of XADDs one may fail and the next succeed, which leaves a hole that cannot be filled', async () => {
    const server = await ownServer()
    const client = testClient(server.url)
    const [, second] = (await client
      .pipeline()
      .xadd('bare', '1-0', 'a', 'b')
      .call('XADD', 'bare', '2-0', 'odd') // fails
      .xadd('bare', '3-0', 'a', 'b')
      .exec()) as [[null, string], [Error, null]]
    expect(second[0]).toBeInstanceOf(Error)
    expect((await client.xrange('bare', '-', '+')).map(([id]) => id)).toEqual(['1-0', '3-0'])
    await expect(client.xadd('bare', '2-0', 'a', 'b')).rejects.toThrow('equal or smaller')
    // Ours is one call: what cannot be an entry is known before, and memory and permission are asked for first.
    await using writer = await redisSink(adapterClient(server.url), { key: 'out' }).open(open)
    const broken = { ...event('2'), foreignId: '\ud800' }
    expect(codeOf(await errorOf(writer.append([event('1'), broken, event('3')], '3')))).toBe('EVENT_UNENCODABLE')
    expect(await client.exists('out')).toBe(0)
  })

  test('trap ioredis 9: XADD with IDMP, and KEEPREF, are not known before Redis 8.6 and 8.2; nothing here needs them', async () => {
    const client = testClient()
    const { version } = inject('servers').redis
    const [major = 0, minor = 0] = version.split('.').map(Number)
    const since = (a: number, b: number): boolean => major > a || (major === a && minor >= b)
    const isRedis = !(await client.info('server')).includes('valkey_version')
    const key = fresh('out')
    const once = client.call('XADD', key, 'IDMP', 'producer', '1', '*', 'a', 'b')
    if (isRedis && since(8, 6)) await once
    else await expect(once).rejects.toThrow(/ERR/)
    const keep = client.call('XADD', key, 'KEEPREF', '*', 'a', 'b')
    if (isRedis && since(8, 2)) await keep
    else await expect(keep).rejects.toThrow(/ERR/)
    const out = fresh('out')
    for (let i = 0; i < 2; i++) {
      await using writer = await redisSink(adapterClient(), { key: out }).open(open)
      if (writer.resumeFrom === '') await writer.append([event('1')], '1')
    }
    expect((await eventsIn(client, out)).length).toBe(1)
  })

  test('trap ioredis 10: a script that skips ids which are not above the top swallows events once a stranger has written', async () => {
    const client = testClient()
    const key = fresh('out')
    const skipping = `
      local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
      if last and tonumber(last[1]:match('^%d+')) >= tonumber(ARGV[1]) then return 'skipped' end
      return redis.call('XADD', KEYS[1], ARGV[1] .. '-0', 'a', 'b')`
    await client.xadd(key, '*', 'of', 'a stranger')
    expect(await client.eval(skipping, 1, key, '7')).toBe('skipped') // and is nowhere
    await using writer = await redisSink(adapterClient(), { key }).open(open)
    await writer.append([event('7')], '7')
    expect((await eventsIn(client, key)).length).toBe(2)
    const exclusive = redisSink(adapterClient(), { key, ids: 'source' })
    expect(codeOf(await errorOf(exclusive.open({ ...open, route: 'another' })))).toBe('SINK_KEY_SHARED')
  })

  test("trap ioredis 11: 0-0 is no id for an entry, and the ids of a Redis stream cannot be those of another one's events", async () => {
    const client = testClient()
    const key = fresh('out')
    await expect(client.xadd(key, '0-0', 'a', 'b')).rejects.toThrow('must be greater than 0-0')
    await expect(client.xadd(key, '1700000000000-1-0', 'a', 'b')).rejects.toThrow('Invalid stream ID')
    for (const id of ['0', '1700000000000-1']) {
      await using writer = await redisSink(adapterClient(), { key, ids: 'source' }).open(open)
      expect(await errorOf(writer.append([event(id)], id))).toMatchObject({ code: 'OPTION_INVALID', retriable: false })
    }
    await using writer = await redisSink(adapterClient(), { key }).open(open)
    await writer.append([event('0'), event('1700000000000-1')], '1700000000000-1')
    expect((await eventsIn(client, key)).length).toBe(2)
  })

  test('trap ioredis 12: the numbers of a script are doubles, in which ids that differ are the same', async () => {
    const client = testClient()
    const [a, b] = ['9007199254740993', '9007199254740992']
    expect(await client.eval('return tonumber(ARGV[1]) == tonumber(ARGV[2]) and 1 or 0', 0, a, b)).toBe(1)
    const key = fresh('out')
    const sink = redisSink(adapterClient(), { key, ids: 'source' })
    for (const id of [b, a]) {
      // Each opening compares the newest entry with the checkpoint, each append both with the next id.
      await using writer = await sink.open(open)
      await writer.append([event(id)], id)
    }
    expect((await client.xrange(key, '-', '+')).map(([id]) => id)).toEqual([`${b}-0`, `${a}-0`])
  })
})

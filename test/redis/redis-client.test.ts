import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { Cluster, Redis, type RedisOptions } from 'ioredis'
import { describe, expect, inject, onTestFinished, test } from 'vitest'
import { redisCursors, redisFailFast, redisSink, redisStream } from '../../src/adapters/redis/index.ts'
import { decodeReplies } from '../../src/adapters/redis/protocol/decode-replies.ts'
import type { RedisClient } from '../../src/adapters/redis/redis-client.ts'
import { codeOf } from '../../src/core/errors.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { errorOf, reader } from '../tools/reader.ts'
import { adapterClient } from './fixture.ts'

const factories: Record<string, (redis: RedisClient) => unknown> = {
  redisStream: (redis) => redisStream(redis, { key: 'a' }),
  redisSink: (redis) => redisSink(redis, { key: 'a' }),
  redisCursors: (redis) => redisCursors(redis),
}

describe.each(Object.entries(factories))('%s', (_, make) => {
  test.each([
    ['retryStrategy', { retryStrategy: () => 100 }],
    ['reconnectOnError', { reconnectOnError: () => true }],
    ['maxRetriesPerRequest', { maxRetriesPerRequest: null }],
    ['autoResendUnfulfilledCommands', { autoResendUnfulfilledCommands: true }],
  ] satisfies [string, RedisOptions][])('refuses a client that retries by itself, and names %s', (option, wrong) => {
    const redis = new Redis({ ...redisFailFast, ...wrong })
    expect(() => make(redis)).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID', message: expect.stringContaining(option) }),
    )
    for (const other of ['retryStrategy', 'reconnectOnError', 'maxRetriesPerRequest', 'autoResendUnfulfilledCommands'])
      if (other !== option) expect(() => make(redis)).not.toThrow(other)
  })

  test('refuses a client as it is without options, and a Cluster', () => {
    expect(() => make(new Redis({ lazyConnect: true }))).toThrow('redisFailFast')
    expect(() => make(new Cluster([], { lazyConnect: true }) as unknown as RedisClient)).toThrow('Cluster')
  })

  test('takes a client that is told not to retry in other words', () => {
    make(new Redis({ ...redisFailFast, retryStrategy: null }))
    make(new Redis({ ...redisFailFast, retryStrategy: () => undefined }))
  })
})

test('the client that is handed in is never connected', async () => {
  const redis = adapterClient()
  await redisStream(redis, { key: fresh('log') }).head?.()
  await redisCursors(redis).get(fresh('nobody'))
  expect(redis.status).toBe('wait')
})

test('a server that is not there is an error at once, with the cause', async () => {
  const redis = adapterClient('redis://127.0.0.1:1')
  for (const open of [
    () => redisStream(redis, { key: 'a' }).stream('', {}),
    () => redisSink(redis, { key: 'a' }).open({ route: 'r', source: 's' }),
    () => redisCursors(redis).get('a'),
  ]) {
    const error = await errorOf(open(), 1000, 'the refused connection')
    expect(codeOf(error)).toBe('REDIS_CONNECTION')
    expect(String(error)).toContain('ECONNREFUSED')
  }
})

test('other options of the client change nothing', async () => {
  const options = {
    enableAutoPipelining: true,
    stringNumbers: false,
    replyMapping: 'resp3',
    socketTimeout: 300,
    blockingTimeout: 200,
  } as const
  const redis = new Redis(inject('servers').redis.url, { ...redisFailFast, ...options })
  const key = fresh('log')
  const writer = await redisSink(redis, { key }).open({ route: 'r', source: 's' })
  const event = { id: '1', type: 1, foreignId: 'x', timestamp: 0, metadata: null, headers: {} }
  await using stream = await redisStream(redis, { key }).stream('', {})
  const reading = stream[Symbol.asyncIterator]().next()
  await new Promise((resolve) => setTimeout(resolve, 700)) // longer than those timeouts
  await writer.append([event], '1')
  expect((await reading).value.events).toHaveLength(1)
  await writer[Symbol.asyncDispose]()
})

/** Reads a stream that the other end of the route has written, both over connections of their own. */
async function forwardAndRead(redis: RedisClient): Promise<void> {
  const key = fresh('log')
  await using writer = await redisSink(redis, { key }).open({ route: 'r', source: 's' })
  await using stream = reader(await redisStream(redis, { key }).stream('', {}))
  for (const id of ['1', '2']) {
    await writer.append([{ id, type: 1, foreignId: 'x', timestamp: 0, metadata: null, headers: {} }], id)
    expect(await stream.take(1)).toMatchObject([{ headers: { 'reflex-source-id': id } }])
  }
}

test.each([2, 3] as const)('replies of RESP %i are the same', async (protocol) => {
  await forwardAndRead(adapterClient(undefined, { protocol }))
})

test('a client that asks Sentinels for the primary works', async () => {
  const { host, port } = inject('servers').redis
  const sentinel = createServer((socket) => {
    socket.on('error', () => {})
    const decode = decodeReplies((command) => {
      const [name, sub] = (command as Buffer[]).map((part) => String(part).toLowerCase())
      if (name !== 'sentinel') socket.write('+OK\r\n')
      else if (sub === 'sentinels') socket.write('*0\r\n')
      else socket.write(`*2\r\n$${host.length}\r\n${host}\r\n$${String(port).length}\r\n${port}\r\n`)
    })
    socket.on('data', decode)
  })
  sentinel.listen(0, '127.0.0.1')
  await once(sentinel, 'listening')
  onTestFinished(() => void sentinel.close())
  const sentinels = [{ host: '127.0.0.1', port: (sentinel.address() as AddressInfo).port }]
  await forwardAndRead(new Redis({ ...redisFailFast, sentinels, name: 'primary' }))
})

test.each([
  ['somebody else reads its socket', (made: Redis) => made.stream.on('data', () => {})],
  ['it still waits for a reply', (made: Redis) => void made.ping().catch(() => {})],
])('a client is refused if %s', async (_, hook) => {
  const redis = adapterClient()
  const duplicate = (overrides: object): Redis => {
    const made = redis.duplicate(overrides)
    made.once('ready', () => hook(made))
    return made
  }
  const handed = Object.assign(Object.create(redis) as Redis, { duplicate })
  const error = await errorOf(redisStream(handed, { key: fresh('log') }).stream('', {}))
  expect(error).toMatchObject({ code: 'OPTION_INVALID', message: expect.stringContaining('ioredis 6') })
})

import { Cluster, Redis, type RedisOptions } from 'ioredis'
import { describe, expect, inject, test } from 'vitest'
import { redisCursors, redisFailFast, redisSink, redisStream } from '../../src/adapters/redis/index.ts'
import type { RedisClient } from '../../src/adapters/redis/redis-client.ts'
import { codeOf } from '../../src/core/errors.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { errorOf } from '../tools/reader.ts'
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

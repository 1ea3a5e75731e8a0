import { Cluster, type Redis } from 'ioredis'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { redisCursors, redisFailFast, redisSink, redisStream, trimStream } from '../../src/adapters/redis/index.ts'
import { checkpointKey } from '../../src/adapters/redis/redis-sink.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import type { Server } from '../../src/testing/servers/index.ts'
import { startServer } from '../../src/testing/servers/index.ts'
import { errorOf, eventually, reader } from '../tools/reader.ts'
import { adapterClient, testClient } from './fixture.ts'

const HALF = 8192
const event = { id: '1', type: 1, foreignId: 'x', timestamp: 0, metadata: null, headers: {} }
const open = { route: 'r', source: 's' }

let nodes: readonly [Server, Server]

// Two nodes that know each other, each with half of the slots.
beforeAll(async () => {
  const start = () => startServer('redis', { from: ['native'], args: ['--cluster-enabled', 'yes'] })
  nodes = await Promise.all([start(), start()])
  for (const [i, { url }] of nodes.entries())
    await withCall(url, (call) => call('CLUSTER', 'ADDSLOTSRANGE', String(i * HALF), String(i * HALF + HALF - 1)))
  const [first, second] = nodes
  await withCall(first.url, (call) => call('CLUSTER', 'MEET', second.host, String(second.port)))
  for (const { url } of nodes) {
    const isUp = () =>
      withCall(url, async (call) => {
        const info = String(await call('CLUSTER', 'INFO'))
        return info.includes('cluster_state:ok') && info.includes('cluster_slots_assigned:16384')
      })
    await eventually(isUp, 30_000, 'the cluster')
  }
  return async () => {
    for (const node of nodes) await node[Symbol.asyncDispose]()
  }
}, 60_000)

/** With a client that is not of a test. */
async function withCall<T>(
  url: string,
  use: (call: (...args: [string, ...string[]]) => Promise<unknown>) => Promise<T>,
): Promise<T> {
  const client = adapterClient(url)
  client.on('error', () => {})
  try {
    return await use((...args) => client.call(...args))
  } finally {
    client.disconnect()
  }
}

const slotOf = async (key: string): Promise<number> =>
  Number(await testClient(nodes[0].url).call('CLUSTER', 'KEYSLOT', key))
/** Keys of which the first is on the node, and the second on the other one. */
async function keysOf(node: 0 | 1, name: string): Promise<[string, string]> {
  const found: [string?, string?] = []
  for (let i = 0; found[0] === undefined || found[1] === undefined; i++) {
    const key = `${name}${i}`
    found[Math.floor((await slotOf(key)) / HALF) === node ? 0 : 1] ??= key
  }
  return found as [string, string]
}

describe('in a cluster', () => {
  test('all keys of a call are in one slot, whatever the key, and a batch goes in', async () => {
    for (const [i, key] of ['orders', '{shop}:orders', 'a{b}c', '{{x}}', 'über', '{', 'a:b'].entries()) {
      const route = `route ${i}`
      expect([key, await slotOf(checkpointKey(key, route))]).toEqual([key, await slotOf(key)])
      const node = nodes[(await slotOf(key)) < HALF ? 0 : 1]
      const writer = await redisSink(adapterClient(node.url), { key }).open({ ...open, route })
      await writer.append([event], '1')
      await writer[Symbol.asyncDispose]()
      await using stream = reader(await redisStream(adapterClient(node.url), { key }).stream('', { toHead: true }))
      const [{ id } = event] = await stream.rest()
      const cursors = memoryCursors()
      await cursors.reset('a', id)
      const trimmed = await trimStream(adapterClient(node.url), { key, cursors, routes: [route] })
      expect(trimmed.removed).toBe(0)
    }
  })

  test('a stream, a sink and cursors on another node are an error that says which one', async () => {
    const [here, there] = await keysOf(0, 'log')
    const client = () => adapterClient(nodes[0].url)
    await (await redisStream(client(), { key: here }).stream('', {}))[Symbol.asyncDispose]()
    let prefix = ''
    for (let i = 0; prefix === '' || (await slotOf(`${prefix}cursors`)) < HALF; i++) prefix = `c${i}:`
    for (const attempt of [
      () => redisStream(client(), { key: there }).stream('', {}),
      () => redisSink(client(), { key: there }).open(open),
      () => redisCursors(client(), { prefix }).get('a'),
    ]) {
      const error = await errorOf(attempt())
      expect(error).toMatchObject({ code: 'REDIS_MOVED', retriable: false })
      expect(String(error)).toContain(`${nodes[1].host}:${nodes[1].port}`)
      expect(String(error)).toContain('connect to that one')
    }
  })

  test('a slot that is moved away under a stream and a sink ends both with that error', async () => {
    const [key] = await keysOf(0, 'moving')
    const writer = await redisSink(adapterClient(nodes[0].url), { key }).open(open)
    await writer.append([event], '1')
    await using stream = reader(await redisStream(adapterClient(nodes[0].url), { key }).stream('', {}))
    await stream.take(1)
    const waiting = errorOf(stream.take(1), 5000, 'noticing the move')
    const slot = String(await slotOf(key))
    const [from, to] = nodes.map(({ url }) => testClient(url))
    const id = String(await to?.call('CLUSTER', 'MYID'))
    await from?.del(key, checkpointKey(key, 'r')) // as after a migration, when the other node has them
    for (const client of [to, from]) await client?.call('CLUSTER', 'SETSLOT', slot, 'NODE', id)
    expect(await waiting).toMatchObject({ code: 'REDIS_MOVED', retriable: false })
    expect(await errorOf(writer.append([event], '2'))).toMatchObject({ code: 'REDIS_MOVED', retriable: false })
    await writer[Symbol.asyncDispose]()
  })

  test('a node of a Cluster client is a client like any other', async () => {
    const [key] = await keysOf(0, 'of-a-node')
    const cluster = new Cluster([nodes[0].url], { redisOptions: redisFailFast })
    onTestFinished(() => cluster.disconnect())
    const [node] = await cluster
      .info()
      .then(() => cluster.nodes('master').filter((each) => each.options.port === nodes[0].port))
    await using writer = await redisSink(node as Redis, { key }).open(open)
    await writer.append([event], '1')
    await using stream = reader(await redisStream(node as Redis, { key }).stream('', {}))
    await stream.take(1)
  })
})

import { describe, expect, inject, test } from 'vitest'
import { redisCursors, redisSink, redisStream } from '../../src/adapters/redis/index.ts'
import { type BridgeSpec, bridge } from '../../src/bridge/bridge.ts'
import { codeOf } from '../../src/core/errors.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { memoryLog } from '../../src/core/memory-log.ts'
import type { Observer } from '../../src/core/observer.ts'
import type { RunResult } from '../../src/core/run.ts'
import { supervise } from '../../src/core/supervise.ts'
import { headerPairs, wireNames } from '../../src/core/wire.ts'
import { tcpProxy } from '../../src/testing/servers/index.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { eventsIn } from '../subjects/redis.ts'
import { comparable } from '../tools/arbitrary-event.ts'
import { numbered } from '../tools/numbered.ts'
import { errorOf, eventually } from '../tools/reader.ts'
import { adapterClient, ownServer, testClient } from './fixture.ts'

const NAME = 'route'
const foreignIds = (count: number): string[] => numbered(count).map(({ foreignId }) => foreignId)

/** Starts a bridge and waits until it has taken the route over. */
async function start(spec: BridgeSpec, signal?: AbortSignal): Promise<{ running: Promise<RunResult> }> {
  const opened = Promise.withResolvers<void>()
  const running = bridge(spec, { signal, observer: { opened: () => opened.resolve() } })
  running.catch(opened.reject)
  await opened.promise
  return { running }
}

describe('a bridge into Redis', () => {
  for (const appendonly of [true, false]) {
    test(`over kill -9 of a server ${appendonly ? 'that writes an append-only file' : 'without persistence'}: each event once, in order`, async () => {
      const server = await ownServer({ redis: { appendonly } })
      const client = testClient(server.url)
      const log = memoryLog({ batchSize: 10 })
      const sink = redisSink(adapterClient(server.url), { key: 'out' })
      const checkpoints = memoryCursors()
      const repairs: string[] = []
      const stopping = new AbortController()
      const observer: Observer = { repaired: (words) => repairs.push(words) }
      const running = supervise(
        (o) => bridge({ name: NAME, source: log.source, sink, checkpoints }, { ...o, observer }),
        { signal: stopping.signal, minDelayMs: 10, maxDelayMs: 50 },
      )
      let appended = 0
      for (let round = 0; round < 3; round++) {
        log.append(...numbered(100, { offset: appended }))
        appended += 100
        if (round > 0) await eventually(async () => (await client.xlen('out')) > 0, 5000, 'the first entries')
        await server.process.kill()
        await server.process.start()
      }
      log.append(...numbered(1, { offset: appended++ })) // an idle bridge finds out with its next event
      await eventually(async () => (await client.xlen('out')) >= appended, 10_000, 'the last entry')
      stopping.abort()
      expect(await running).toMatchObject({ reason: 'aborted' })
      expect((await eventsIn(client, 'out')).map(({ foreignId }) => foreignId)).toEqual(foreignIds(appended))
      if (appendonly) expect(repairs).toEqual([])
      else expect(repairs.join()).toMatch(/refilling/)
    })
  }

  test('over a network that loses replies: each event once, in order', async () => {
    const { host, port, url } = inject('servers').redis
    await using proxy = await tcpProxy({ host, port })
    const client = testClient(url)
    const key = fresh('out')
    const log = memoryLog({ batchSize: 5 })
    log.append(...numbered(20))
    const spec = {
      name: NAME,
      source: log.source,
      sink: redisSink(adapterClient(`redis://127.0.0.1:${proxy.port}`), { key }),
      checkpoints: memoryCursors(),
    }
    await bridge(spec, { toHead: true })
    const there = await client.xlen(key)
    const { running: lost } = await start(spec)
    proxy.stallReplies()
    log.append(...numbered(5, { offset: there }))
    expect(await errorOf(lost)).toMatchObject({ code: 'REDIS_CONNECTION', stage: 'handle' })
    expect(await client.xlen(key)).toBe(there + 5)
    proxy.restore()
    await bridge(spec, { toHead: true })
    expect((await eventsIn(client, key)).map(({ foreignId }) => foreignId)).toEqual(foreignIds(25))
  })

  test('two of one route fence each other; what they forward is each event once', async () => {
    const client = testClient()
    const key = fresh('out')
    const log = memoryLog({ batchSize: 5 })
    const checkpoints = redisCursors(adapterClient(), { prefix: fresh('cursors') })
    const spec = { name: NAME, source: log.source, sink: redisSink(adapterClient(), { key }), checkpoints }
    log.append(...numbered(10))
    const { running: first } = await start(spec)
    await eventually(async () => (await client.xlen(key)) === 10, 5000, 'the first events')
    const stopping = new AbortController()
    const { running: second } = await start(spec, stopping.signal)
    log.append(...numbered(10, { offset: 10 }))
    expect(codeOf(await errorOf(first))).toMatch(/^(FENCED|CURSOR_CONFLICT)$/)
    // The first may have saved its last checkpoint after the second had read it: then that one ends too, and starts again.
    stopping.abort()
    await second.catch((error: unknown) => expect(codeOf(error)).toBe('CURSOR_CONFLICT'))
    await bridge(spec, { toHead: true })
    expect((await eventsIn(client, key)).map(({ foreignId }) => foreignId)).toEqual(foreignIds(20))
  })

  test('from one stream into another, everything but the ids stays, and the source is told', async () => {
    const client = testClient()
    const [from, to] = [fresh('from'), fresh('to')]
    const log = memoryLog({ name: 'shop' })
    log.append(
      {
        type: -5,
        foreignId: 'ключ',
        timestamp: 1_767_225_600_000.125,
        metadata: Buffer.from([0, 255]),
        headers: { a: ['1', '2'], metadata: 'x' },
      },
      { type: 5, foreignId: '', timestamp: 0, metadata: null },
      { type: 5, foreignId: '', timestamp: 0, metadata: new Uint8Array(0) },
    )
    const o = { toHead: true }
    await bridge(
      { name: 'a', source: log.source, sink: redisSink(adapterClient(), { key: from }), checkpoints: memoryCursors() },
      o,
    )
    const source = redisStream(adapterClient(), { key: from })
    await bridge({ name: 'b', source, sink: redisSink(adapterClient(), { key: to }), checkpoints: memoryCursors() }, o)
    const [first, second] = [await eventsIn(client, from), await eventsIn(client, to)]
    expect(second.map(comparable)).toEqual(first.map(comparable))
    expect(second.map(({ headers }) => headers[wireNames.sourceId])).toEqual(first.map(({ id }) => id))
    expect(headerPairs(second[0]?.headers ?? {})).toContainEqual([wireNames.source, `redis:${from}`])
  })
})

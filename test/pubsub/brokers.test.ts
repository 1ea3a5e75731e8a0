import fc from 'fast-check'
import { Redis } from 'ioredis'
import { describe, expect, inject, it } from 'vitest'
import { jetstreamPublisher, jetstreamSource } from '../../src/adapters/jetstream/index.ts'
import { kafkaPartition, kafkaPublisher } from '../../src/adapters/kafka/index.ts'
import { redisFailFast, redisPublisher, redisStream } from '../../src/adapters/redis/index.ts'
import type { Appender } from '../../src/core/appender.ts'
import type { Source } from '../../src/core/stream.ts'
import {
  bytesCodec,
  jsonCodec,
  type Message,
  type Publication,
  publisher,
  stringCodec,
  subscribe,
} from '../../src/pubsub/index.ts'
import { clientNames, connector, ownServer as ownNats, testAdmin } from '../jetstream/fixture.ts'
import { adapterClient, topicAdmin } from '../kafka/fixture.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { onTestFinished } from '../tools/on-test-finished.ts'
import { anyCharacter } from './any-text.ts'

/** A fresh log of a broker. */
interface Log {
  readonly to: Appender
  readonly source: Source
}

async function jetstreamLog(client: (typeof clientNames)[number]): Promise<Log> {
  const stream = fresh('pubsub')
  await (await testAdmin()).createStream(stream)
  const connect = connector(client)
  return { to: jetstreamPublisher({ connect, stream, subject: stream }), source: jetstreamSource({ connect, stream }) }
}
async function redisLog(): Promise<Log> {
  const key = fresh('pubsub')
  const redis = new Redis(inject('servers').redis.url, { ...redisFailFast })
  return { to: redisPublisher(redis, { key, dedupeMs: 60_000 }), source: redisStream(redis, { key }) }
}
async function kafkaLog(): Promise<Log> {
  const topic = fresh('pubsub')
  const admin = await topicAdmin(topic)
  onTestFinished(() => admin[Symbol.asyncDispose]())
  const kafka = adapterClient()
  return { to: kafkaPublisher(kafka, { topic }), source: kafkaPartition(kafka, { topic, partition: 0 }) }
}

const logs: readonly [string, () => Promise<Log>][] = [
  ...clientNames.map((name) => [`JetStream, ${name}`, () => jetstreamLog(name)] as [string, () => Promise<Log>]),
  ['Redis', redisLog],
  ['Kafka', kafkaLog],
]

const text = fc.string({ unit: anyCharacter, maxLength: 12 })
const name = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 12 })
const hex = (length: number): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: length, maxLength: length })
const optional = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined })
const publication: fc.Arbitrary<Publication<never>> = fc
  .record({
    type: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
    typeName: optional(name),
    foreignId: text,
    timestamp: fc.integer({ min: 0, max: 4e15 }).map((micros) => micros / 1000),
    cause: optional(name),
    correlation: optional(name),
    trace: optional(
      fc.record({
        traceparent: fc.tuple(hex(31), hex(15), hex(2)).map(([trace, span, flags]) => `00-1${trace}-1${span}-${flags}`),
        tracestate: fc.constantFrom('a=b', 'a=b,c=d'),
      }),
    ),
    headers: fc.dictionary(
      fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 6 }).map((key) => `x-${key}`),
      text,
      { maxKeys: 2 },
    ),
    content: fc.oneof(
      fc.uint8Array().map((data) => ({ codec: bytesCodec, data: Buffer.from(data) })),
      text.map((data) => ({ codec: stringCodec, data })),
      fc.array(text).map((data) => ({ codec: jsonCodec(), data })),
      fc.constant({}),
    ),
  })
  .map(({ content, ...rest }) => ({ ...rest, ...content }) as unknown as Publication<never>)

describe.concurrent.each(logs)('publishing to %s', (broker, makeLog) => {
  it('and subscribing gives back every part of what was published, in order', async () => {
    const { to, source } = await makeLog()
    const { publish } = publisher({ to, client: 'web-1' })
    await fc.assert(
      fc.asyncProperty(fc.array(publication, { minLength: 1, maxLength: 6 }), async (publications) => {
        const got: Message[] = []
        const all = Promise.withResolvers<void>()
        await using _ = await subscribe({
          source,
          name: 'test',
          handle: (message) => {
            got.push(message)
            if (got.length === publications.length) all.resolve()
          },
        })
        const ids: string[] = []
        for (const each of publications) ids.push((await publish(each)).id)
        await all.promise
        expect(got.map(({ id }) => id)).toEqual(ids)
        for (const [i, { data, headers = {}, codec, ...rest }] of publications.entries()) {
          expect(got[i]).toMatchObject({ ...rest, client: 'web-1', encoding: codec?.encoding ?? 'nil' })
          expect(got[i]?.headers).toMatchObject(headers)
          expect(got[i]?.data).toEqual(data)
        }
      }),
      { numRuns: 6 },
    )
  })

  it('under one idempotency key twice appends once, or is refused where that cannot be', async () => {
    const { to, source } = await makeLog()
    const { publish } = publisher({ to, client: 'web-1' })
    const options = { idempotencyKey: 'the order, é 7' }
    if (broker === 'Kafka') {
      await expect(publish({}, options)).rejects.toMatchObject({ code: 'OPTION_INVALID' })
      return
    }
    const [first, second] = [await publish({ foreignId: '7' }, options), await publish({ foreignId: '7' }, options)]
    expect([first.duplicate, second]).toEqual([false, { id: first.id, duplicate: true }])
    const other = await publisher({ to, client: 'web-2' }).publish({ foreignId: '7' }, options)
    expect(other).toEqual(second)
    const { id } = await publish({ foreignId: '7' }, { idempotencyKey: 'another' })
    expect(await source.backlog?.('')).toMatchObject({ count: 2n })
    expect(source.compare?.(first.id, id)).toBeLessThan(0)
  })

  it('with an expected last id appends only after that one, or is refused where that cannot be', async () => {
    const { to } = await makeLog()
    const { publish } = publisher({ to, client: 'web-1' })
    if (broker === 'Kafka') {
      for (const wish of ['expectedLastId', 'expectedLastIdOfSubject'])
        await expect(publish({}, { [wish]: '0' })).rejects.toMatchObject({ code: 'OPTION_INVALID' })
      return
    }
    const none = broker === 'Redis' ? '0-0' : '0'
    const first = await publish({ type: 1 }, { expectedLastId: none })
    await expect(publish({ type: 1 }, { expectedLastId: none })).rejects.toMatchObject({
      code: 'WRONG_LAST_ID',
      expected: none,
      found: first.id,
    })
    const second = await publish({ type: 2 }, { expectedLastId: first.id })
    if (broker === 'Redis') {
      await expect(publish({}, { expectedLastIdOfSubject: none })).rejects.toMatchObject({ code: 'OPTION_INVALID' })
      await expect(publish({}, { expectedLastId: '7' })).rejects.toMatchObject({ code: 'CURSOR_INVALID' })
      return
    }
    await publish({ type: 1 }, { expectedLastIdOfSubject: first.id })
    await expect(publish({ type: 2 }, { expectedLastIdOfSubject: first.id })).rejects.toMatchObject({
      code: 'WRONG_LAST_ID',
      found: second.id,
    })
  })

  it('from many at the same time appends each once, and an abort that comes in time sends nothing', async () => {
    const { to, source } = await makeLog()
    const { publish } = publisher({ to, client: 'web-1' })
    await publish({}) // so that the connection is there
    const published = await Promise.all(Array.from({ length: 30 }, (_, i) => publish({ foreignId: `k${i}` })))
    const ids = published.map(({ id }) => id)
    expect(new Set(ids).size).toBe(30)
    if (broker === 'Kafka') expect(ids).toEqual(ids.map((_, i) => String(i + 1))) // as called
    const same = await Promise.all(Array.from({ length: 100 }, (_, i) => publish({ foreignId: 'same', type: i })))
    for (const [i, { id }] of same.entries())
      if (i > 0) expect(source.compare?.((same[i - 1] as { id: string }).id, id)).toBeLessThan(0)
    await expect(publish({}, { signal: AbortSignal.abort(new Error('over')) })).rejects.toThrow('over')
    const ending = new AbortController()
    const publishing = publish({ foreignId: 'perhaps' }, { signal: ending.signal })
    const outcome = publishing.then(
      () => 'done',
      (error: Error & { code?: string }) => error.code ?? error.message,
    )
    ending.abort(new Error('over'))
    expect(['over', 'OUTCOME_UNKNOWN', 'done']).toContain(await outcome)
    expect(Number((await source.backlog?.(''))?.count)).toBeGreaterThanOrEqual(131)
  })
})

describe.concurrent('publishing to a server that goes silent', () => {
  it('has an unknown outcome, which a retry under a key of its own makes certain', async () => {
    const server = await ownNats()
    await (await testAdmin(server.url)).createStream('S')
    const connect = connector('@nats-io v3', server.url)
    const to = jetstreamPublisher({ connect, stream: 'S', subject: 'S' })
    const patient = publisher({ to, client: 'test', retry: { attempts: 10, delayMs: 200 } })
    const { publish } = publisher({ to, client: 'test' })
    await publish({})
    server.process.freeze()
    await expect(publish({})).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN', retriable: true })
    const publishing = patient.publish({ foreignId: 'once' })
    setTimeout(() => server.process.thaw(), 2500)
    await publishing
    const source = jetstreamSource({ connect, stream: 'S' })
    const seen: string[] = []
    const got = Promise.withResolvers<void>()
    await using _ = await subscribe({
      source,
      name: 'x',
      backfill: true,
      handle: ({ foreignId }) => {
        seen.push(foreignId)
        if (foreignId === 'once') got.resolve()
      },
    })
    await got.promise
    expect(seen.filter((each) => each === 'once')).toHaveLength(1)
  })

  it('is refused at once by one that has no such stream or topic', async () => {
    const connect = connector('@nats-io v3')
    const to = jetstreamPublisher({ connect, stream: 'NONE', subject: fresh('nowhere') })
    await expect(publisher({ to, client: 'x' }).publish({})).rejects.toMatchObject({ code: 'NATS_NO_RESPONDERS' })
    const topic = kafkaPublisher(adapterClient(), { topic: fresh('none') })
    await expect(publisher({ to: topic, client: 'x' }).publish({})).rejects.toMatchObject({
      code: 'KAFKA_UNKNOWN_TOPIC_OR_PARTITION',
    })
  })
})

describe('a Redis stream that refuses an entry', () => {
  it('does not take it for a duplicate when it is published again under its key', async () => {
    const key = fresh('pubsub')
    const redis = new Redis(inject('servers').redis.url, { ...redisFailFast })
    onTestFinished(() => redis.disconnect())
    const { publish } = publisher({ to: redisPublisher(redis, { key, dedupeMs: 60_000 }), client: 'web-1' })
    await redis.set(key, 'no stream')
    await expect(publish({}, { idempotencyKey: 'a' })).rejects.toMatchObject({ code: 'REDIS_WRONGTYPE' })
    await redis.del(key)
    const first = await publish({}, { idempotencyKey: 'a' })
    expect(first).toEqual({ id: expect.stringMatching(/^\d+-0$/), duplicate: false })
    expect(await publish({}, { idempotencyKey: 'a' })).toEqual({ id: first.id, duplicate: true })
    expect(await redis.xlen(key)).toBe(1)
  })
})

describe('a Redis server that does not know the script of the publisher', () => {
  it('appends what is published with a key, and without, in the order of the calls', async () => {
    const redis = new Redis(inject('servers').redis.url, { ...redisFailFast })
    onTestFinished(() => redis.disconnect())
    for (let round = 0; round < 5; round++) {
      const key = fresh('pubsub')
      await redis.script('FLUSH')
      const { publish } = publisher({ to: redisPublisher(redis, { key, dedupeMs: 60_000 }), client: 'web-1' })
      const publishing: Promise<{ readonly id: string }>[] = []
      for (let i = 0; i < 100; i++) {
        publishing.push(publish({ type: i }, i % 3 === 0 ? { idempotencyKey: `${round}/${i}` } : {}))
        if (i % 10 === 0) await new Promise((resolve) => setImmediate(resolve))
      }
      const ids = (await Promise.all(publishing)).map(({ id }) => id)
      expect((await redis.xrange(key, '-', '+')).map(([id]) => id)).toEqual(ids)
    }
  })
})

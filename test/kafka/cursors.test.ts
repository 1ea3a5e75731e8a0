import { cp, rm } from 'node:fs/promises'
import fc from 'fast-check'
import { type Admin, ConfigResourceTypes } from 'kafkajs'
import { describe, expect, onTestFinished, test } from 'vitest'
import { codeOf, isRetriable } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { errorOf, eventually, reader } from '../tools/reader.ts'
import { ownServer, testClient } from './fixture.ts'
import { newTopic, partitionOf, readAll, valuesOf } from './partition-fixture.ts'

const MINUTE = 60_000
const numbered = (count: number): { value: string }[] => Array.from({ length: count }, (_, i) => ({ value: `v${i}` }))

/** What is refused as trimmed says which cursor it was, what the earliest is, and what to do. */
function expectTrimmed(error: unknown, cursor: string, earliest: string): void {
  expect(error).toMatchObject({ code: 'CURSOR_TRIMMED', cursor, earliest })
  expect(isRetriable(error)).toBe(false)
  expect(String(error)).toMatch(new RegExp(`${cursor}.*${earliest}.*reset`))
}

describe('a slow reader that is overtaken', () => {
  test.each(['', '-1', '1'])(
    'by DeleteRecords is told so by its next read, and when it starts again: from %j',
    async (after) => {
      const { topic, producer, trim } = await newTopic()
      for (const message of numbered(10)) await producer.send({ topic, messages: [message] }) // a batch each
      const slow = partitionOf(topic, { batchBytes: 1 })
      await using stream = reader(await slow.stream(after, {}), after)
      const taken = await stream.take(3)
      const last = BigInt(taken.at(-1)?.id ?? 0)
      await trim('8')
      // What was read ahead may still come, in order.
      const more: Event[] = []
      const drained = (async () => {
        for (;;) more.push(...(await stream.take(1)))
      })()
      expectTrimmed(await errorOf(drained), String(last + BigInt(more.length)), '8')
      expect([...taken, ...more].map(({ id }) => BigInt(id))).toEqual(
        [...taken, ...more].map((_, i) => BigInt(after === '' ? 0 : Number(after) + 1) + BigInt(i)),
      )
      expectTrimmed(await errorOf(slow.stream(String(last), {})), String(last), '8')
      expect(valuesOf(await readAll(partitionOf(topic), '7'))).toEqual(['v8', 'v9'])
      expect(valuesOf(await readAll(partitionOf(topic)))).toEqual(['v8', 'v9'])
    },
  )

  test('by retention, whether by time or by size, is told so', async () => {
    // Each is looked at only so often, and not at all for a while after a start.
    const args = ['--override', 'log.retention.check.interval.ms=200', '--override', 'log.initial.task.delay.ms=100']
    const { url } = await ownServer({ args })
    const now = Date.now()
    for (const [retention, value] of [
      ['retention.ms', String(5 * MINUTE)],
      ['retention.bytes', '1'],
    ] as const) {
      // A segment for each record: they are said to be ten minutes apart.
      const { topic, producer, admin } = await newTopic({ 'segment.ms': String(MINUTE), 'retention.ms': '-1' }, url)
      for (let i = 0; i < 6; i++)
        await producer.send({ topic, messages: [{ value: `v${i}`, timestamp: String(now - (50 - 10 * i) * MINUTE) }] })
      await using stream = reader(await partitionOf(topic, { batchBytes: 1 }, url).stream('', {}))
      await stream.take(1)
      await setConfig(admin, topic, retention, value)
      await eventually(
        async () => (await partitionOf(topic, {}, url).backlog?.(''))?.count === 1n,
        30_000,
        `the deletion of what ${retention} does not keep`,
      )
      const drained = (async () => {
        for (;;) await stream.take(1)
      })()
      expect(await errorOf(drained)).toMatchObject({ code: 'CURSOR_TRIMMED', earliest: '5' })
      expectTrimmed(await errorOf(partitionOf(topic, {}, url).stream('3', {})), '3', '5')
      expect(valuesOf(await readAll(partitionOf(topic, {}, url), '4'))).toEqual(['v5'])
    }
  })
})

async function setConfig(admin: Admin, topic: string, name: string, value: string): Promise<void> {
  const configEntries = [
    { name: 'segment.ms', value: String(MINUTE) },
    { name, value },
  ]
  await admin.alterConfigs({
    validateOnly: false,
    resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries }],
  })
}

describe('a position that has moved on over what is not read raises no false error', () => {
  /** What fills a topic without an event that is read. */
  const fillers: Readonly<Record<string, (topic: string) => Promise<void>>> = {
    'aborted transactions': async (topic) => {
      const producer = testClient().producer({ idempotent: true, maxInFlightRequests: 1, transactionalId: fresh('id') })
      await producer.connect()
      onTestFinished(() => producer.disconnect())
      for (let i = 0; i < 3; i++) {
        const transaction = await producer.transaction()
        await transaction.send({ topic, messages: numbered(2) })
        await transaction.abort()
      }
    },
    'other types': async (topic) => {
      const producer = testClient().producer()
      await producer.connect()
      onTestFinished(() => producer.disconnect())
      await producer.send({ topic, messages: numbered(9) }) // of others, and so of type 0
    },
  }
  test.each(Object.entries(fillers))('%s, which are then trimmed', async (_, fill) => {
    const { topic, producer, trim } = await newTopic()
    await fill(topic)
    await eventually(async () => (await partitionOf(topic).head?.()) === '8', 5000, 'the head')
    let cursor = ''
    {
      await using stream = reader(await partitionOf(topic).stream('', { types: [7] }))
      while (!cursor.startsWith('8@')) {
        expect((await stream.batch()).events).toEqual([])
        cursor = stream.cursor
      }
      // Idle for a while: nothing comes, and nothing is wrong.
      await trim('9')
      const waiting = stream.take(1).catch((error: unknown) => error)
      await producer.send({ topic, messages: [{ value: 'x', headers: { 'reflex-type': '0' } }] })
      const idle = new Promise((resolve) => setTimeout(resolve, 700, 'idle')) // longer than a fetch waits
      expect(await Promise.race([waiting, idle])).toBe('idle')
    }
    expect(valuesOf(await readAll(partitionOf(topic), cursor))).toEqual(['x'])
    await trim('10')
    expect(await readAll(partitionOf(topic), '9')).toEqual({ events: [], cursor: '9' })
    expect(await readAll(partitionOf(topic))).toEqual({ events: [], cursor: '' })
  })

  test('an open transaction whose beginning is trimmed', async () => {
    const { topic, producer, trim } = await newTopic()
    const open = testClient().producer({ idempotent: true, maxInFlightRequests: 1, transactionalId: fresh('id') })
    await open.connect()
    onTestFinished(() => open.disconnect())
    const transaction = await open.transaction()
    await transaction.send({ topic, messages: [{ value: 'open' }] })
    await producer.send({ topic, messages: numbered(3) })
    await trim('2') // the last stable offset is still 0
    const source = partitionOf(topic)
    expect([await source.head?.(), (await source.backlog?.(''))?.count]).toEqual(['1', 0n])
    await using stream = reader(await source.stream('', { fromHead: true }))
    expect(await stream.batch()).toEqual({ events: [], cursor: '1' })
    await transaction.commit()
    expect((await stream.take(2)).map(({ id }) => id)).toEqual(['2', '3'])
  })
})

test('a log that was restored from an older copy is behind the cursor: ahead, with where it ends and what to do', async () => {
  const { url, process } = await ownServer()
  const { topic, producer, admin } = await newTopic({}, url)
  const broker = { type: ConfigResourceTypes.BROKER, name: '1', configNames: ['log.dirs'] }
  const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [broker] })
  const folder = resources[0]?.configEntries[0]?.configValue as string
  await producer.send({ topic, messages: numbered(5) })
  await process.kill()
  await cp(folder, `${folder}-copy`, { recursive: true })
  await process.start()
  await producer.send({ topic, messages: numbered(5) })
  const { cursor } = await readAll(partitionOf(topic, {}, url))
  expect(cursor).toBe('9')
  await process.kill()
  await rm(folder, { recursive: true })
  await cp(`${folder}-copy`, folder, { recursive: true })
  await process.start()
  const error = await errorOf(partitionOf(topic, {}, url).stream(cursor, {}))
  expect(error).toMatchObject({ code: 'CURSOR_AHEAD', reason: 'beyond', cursor: '9', retriable: false })
  expect(String(error)).toMatch(/cursor 9 .*which is 4\..*older copy.*reset the cursor/)
  expect((await readAll(partitionOf(topic, {}, url), '4')).events).toEqual([])
  expect((await readAll(partitionOf(topic, {}, url))).events).toHaveLength(5)
})

test('what is no cursor of a partition is refused by name, also where it is only compared', async () => {
  const { topic } = await newTopic()
  const source = partitionOf(topic)
  for (const cursor of ['abc', '-2', '1700000000000-0', '01', '1.5', '9223372036854775808', ' 1', '@', '1@', '5:2:1']) {
    const error = await errorOf(source.stream(cursor, {}))
    expect(error).toMatchObject({ code: 'CURSOR_INVALID', cursor, retriable: false })
    expect(String(error)).toMatch(/an offset like 17.*another adapter/)
    expect(codeOf(await errorOf(Promise.resolve(source.backlog?.(cursor))))).toBe('CURSOR_INVALID')
    expect(() => source.compare?.(cursor, '1')).toThrow(expect.objectContaining({ code: 'CURSOR_INVALID' }))
  }
  // Of JetStream, and of another topic.
  for (const cursor of ['1@2026-01-01T00:00:00Z', '1@AAAAAAAAAAAAAAAAAAAAAA'])
    expect(await errorOf(source.stream(cursor, {}))).toMatchObject({
      code: 'CURSOR_AHEAD',
      reason: 'recreated',
      cursor,
    })
})

describe('at', () => {
  test('passes nothing over that is of that time or later, in whatever order the times are', async () => {
    const { topic, producer } = await newTopic()
    const times = fc.sample(fc.integer({ min: 1, max: 40 }), { numRuns: 40, seed: 6 })
    for (let i = 0; i < times.length; i += 5)
      await producer.send({
        topic,
        messages: times.slice(i, i + 5).map((time) => ({ value: 'x', timestamp: String(time) })),
      })
    for (let from = 0; from <= 41; from++) {
      const first = times.findIndex((time) => time >= from)
      const expected = first < 0 ? String(times.length - 1) : String(first - 1)
      expect(await partitionOf(topic).at?.(from), `from ${from} in ${times}`).toBe(from < 1 ? '' : expected)
    }
  })

  test('goes by the time of the append where the topic keeps that', async () => {
    const { topic, producer } = await newTopic({ 'message.timestamp.type': 'LogAppendTime' })
    await producer.send({ topic, messages: [{ value: 'early', timestamp: String(Date.now() + 10 * MINUTE) }] })
    const between = (await readAll(partitionOf(topic))).events[0]?.timestamp ?? 0
    await eventually(() => Date.now() > between, 1000, 'the next millisecond')
    await producer.send({ topic, messages: [{ value: 'late', timestamp: '1000' }] })
    expect(await partitionOf(topic).at?.(1000)).toBe('-1')
    expect(await partitionOf(topic).at?.(between + 1)).toBe('0')
    expect(await partitionOf(topic).at?.(Date.now() + MINUTE)).toBe('1')
  })
})

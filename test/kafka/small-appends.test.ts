import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { kafkaSink } from '../../src/adapters/kafka/index.ts'
import { partitionOfKey } from '../../src/adapters/kafka/partition-of-key.ts'
import { codeOf, isRetriable } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import type { SinkWriter } from '../../src/core/sink.ts'
import { onTestFinished } from '../tools/on-test-finished.ts'
import { errorOf } from '../tools/reader.ts'
import { partitionsOf } from './fixture.ts'
import { type LossyProxy, lossyProxy, type Moment } from './lossy-proxy.ts'
import { events, expectOnce, idsOf, pump, type Route, route, SOURCE } from './sink-route.ts'

// Whether a transaction is due does not depend on how fast the machine is.
beforeAll(() => void vi.useFakeTimers({ toFake: ['performance'] }))
afterAll(() => void vi.useRealTimers())

/** Which records of a topic of one partition are the last of a transaction: the offset after it is its end's. */
async function endsIn(topic: string): Promise<string> {
  const offsets = (await partitionsOf(topic, undefined, 1)).flat().map(({ id }) => Number(id))
  return offsets.map((offset, i) => ((offsets[i + 1] ?? offset + 1) > offset + 1 ? '|' : '.')).join('')
}

/** A writer through a proxy that has just appended the first 20 events, 10 at a time, so that a few more go without a transaction. */
async function warm(made: Route, proxy: LossyProxy, all: readonly Event[]): Promise<SinkWriter> {
  const { topic, checkpointTopic } = made
  const writer = await kafkaSink(proxy.client, { topic, checkpointTopic }).open({ route: 'r', source: SOURCE })
  onTestFinished(() => writer[Symbol.asyncDispose]())
  await pump(writer, all, 20, 10)
  await writer.append(all.slice(20, 22), '22')
  return { ...writer, resumeFrom: '22' }
}

test('a few events soon after others go without a transaction: not many, not the first in a partition, and not for longer than a second', async () => {
  const { open, topic, ids } = await route()
  const all = events(200)
  const writer = await open()
  const goOn = async (from: number, to: number, size: number): Promise<void> =>
    void (await pump({ ...writer, resumeFrom: String(from) }, all, to, size))
  await goOn(0, 5, 1)
  await goOn(5, 65, 60)
  await goOn(65, 68, 1)
  vi.advanceTimersByTime(1001)
  await goOn(68, 72, 1)
  expect(await endsIn(topic)).toBe(`||...${'.'.repeat(59)}||..||..`)
  expectOnce(await ids(), all.slice(0, 72))
})

test('a partition that the writer has not been to gets its first event in a transaction', async () => {
  const { open, topic, ids } = await route({ partitions: 2 })
  const [mine, other] = [0, 1].map((wanted) =>
    ['e0', 'e1', 'e2', 'e3', 'e4', 'e5'].find((key) => partitionOfKey(Buffer.from(key), 2) === wanted),
  ) as [string, string]
  const all = events(7).map((event, i) => ({ ...event, foreignId: i === 4 || i === 6 ? other : mine }))
  await pump(await open(), all, 7, 1)
  const more = events(5, { from: 8 }).map((event, i) => ({ ...event, foreignId: i === 3 ? other : mine }))
  await pump(await open(), [...all, ...more], 12, 1)
  const offsets = (await partitionsOf(topic, undefined, 2)).map((partition) => partition.map(({ id }) => id))
  expect(offsets).toEqual([
    ['1', '3', '5', '6', '7', '9', '11', '13', '14'],
    ['1', '3', '5'],
  ])
  expectOnce(await ids(), [...all, ...more])
})

test('what another route from the same source appends beside it is not waited for, nor counted', async () => {
  const { open, ids } = await route()
  const all = events(80)
  const left = await open(undefined, { maxRefill: 50 })
  await pump(left, all, 5, 1)
  await pump(await open(undefined, { name: 'another' }), events(60, { from: 1001 }), 60, 1)
  const again = await open(undefined, { maxRefill: 50 })
  expect([again.resumeFrom, again.repair]).toEqual(['5', undefined])
  await pump(again, all, undefined, 5)
  expect((await ids()).flat().filter((id) => Number(id) <= 80)).toEqual(idsOf(all))
})

test('what was appended and will never come, since an operator has moved the route, is not looked for ever wider', async () => {
  const made = await route()
  const { checkpointTopic, open, ids } = made
  const all = events(200)
  const proxy = await lossyProxy()
  const writer = await warm(made, proxy, all)
  proxy.loseAt({ request: 'Produce', nth: 1, at: 'reply' })
  expect(codeOf(await errorOf(writer.append(all.slice(22, 24), '24')))).toBe('KAFKA_CONNECTION')
  const moved = await open()
  await moved.append([], '30')
  for (const to of [100, 200]) await pump({ ...(await open()), resumeFrom: String(to === 100 ? 30 : 100) }, all, to, 5)
  const newest = (await partitionsOf(checkpointTopic, undefined, 1)).flat().at(-1)
  const { skip } = JSON.parse(Buffer.from(newest?.metadata as Uint8Array).toString())
  expect(Number(skip.to[0]) - Number(skip.from[0])).toBe(2)
  expect((await ids()).flat()).toEqual(idsOf([...all.slice(0, 24), ...all.slice(30)]))
})

test('an idle writer says that nothing more follows, and what others append is not read by the next one', async () => {
  const { open, checkpointTopic } = await route()
  const all = events(6)
  const writer = await open()
  await pump(writer, all, 6, 1)
  await writer.append([], '6')
  await writer.append([], '6')
  const records = (await partitionsOf(checkpointTopic, undefined, 1)).flat()
  const told = records.map(({ metadata }) => JSON.parse(Buffer.from(metadata as Uint8Array).toString()))
  expect(told.map(({ cursor, openEnded = false }) => [cursor, openEnded])).toEqual([
    ...[['1', false], ...['2', '3', '4', '5', '6'].map((cursor) => [cursor, true])],
    ['6', false],
  ])
})

describe.concurrent('without a transaction', () => {
  const moments: Moment[] = [1, 2].flatMap((nth) =>
    (['request', 'reply'] as const).map((at): Moment => ({ request: 'Produce', nth, at })),
  )

  test.each(moments)('a connection that breaks loses and repeats nothing: $request $nth, $at', async (moment) => {
    const made = await route()
    const all = events(40)
    const proxy = await lossyProxy()
    const writer = await warm(made, proxy, all)
    proxy.loseAt(moment)
    const error = await errorOf(writer.append(all.slice(22, 27), '27'))
    expect(proxy.lost).toBe(true)
    expect([codeOf(error), isRetriable(error)]).toEqual(['KAFKA_CONNECTION', true])
    const there = (await made.ids()).flat().length
    expect(there).toBe(moment.nth === 1 && moment.at === 'request' ? 22 : 27) // it was in no transaction
    const again = await made.open()
    expect(again.repair).toBeUndefined()
    await pump(again, all)
    expect(await made.ids()).toEqual([idsOf(all)])
    const clean = await made.open()
    expect([clean.resumeFrom, clean.repair]).toEqual(['40', undefined])
  })

  test.each(moments)(
    'a writer that stands still while another takes over appends nothing: $request $nth, $at',
    async (moment) => {
      const made = await route()
      const all = events(40)
      const proxy = await lossyProxy()
      const zombie = await warm(made, proxy, all)
      const paused = proxy.standStillAt(moment)
      const appending = errorOf(pump(zombie, all, undefined, 5))
      await vi.waitUntil(() => proxy.lost)
      await pump(await made.open(), all)
      paused.goOn()
      expect(codeOf(await appending)).toMatch(/^(FENCED|KAFKA_CONNECTION)$/)
      expect(await made.ids()).toEqual([idsOf(all)])
    },
  )

  test('a writer is refused by the partition itself once another has taken over', async () => {
    const made = await route()
    const all = events(40)
    const proxy = await lossyProxy()
    const older = await warm(made, proxy, all)
    proxy.loseAt({ request: 'AddPartitionsToTxn', nth: 1, at: 'request' }) // none is to be sent
    const newer = await made.open()
    expect(codeOf(await errorOf(older.append(all.slice(22, 27), '27')))).toBe('FENCED')
    await pump(newer, all)
    expect(await made.ids()).toEqual([idsOf(all)])
  })

  test('nothing goes to another topic of the same name, which would come before what is refilled', async () => {
    const made = await route()
    const all = events(30)
    const proxy = await lossyProxy()
    const writer = await warm(made, proxy, all)
    await made.topics.recreate()
    const error = await errorOf(writer.append(all.slice(22, 27), '27'))
    expect([codeOf(error), isRetriable(error)]).toEqual([expect.stringMatching(/^(KAFKA_|SINK_TAIL_CHANGED)/), true])
    const again = await made.open()
    expect(again.repair).toMatch(/made anew: refilling 22 events/)
    await pump(again, all)
    expect(await made.ids()).toEqual([idsOf(all)])
  })
})

test.each([0, 5])(
  'what is appended at least once behind %i events that were appended once is found',
  async (before) => {
    const { topic, checkpointTopic, open, ids } = await route()
    const all = events(20)
    if (before > 0) await pump(await open(), all, before)
    /** A writer that comes to an end with the reply to one of its requests. */
    const crash = async (nth: number): Promise<void> => {
      const proxy = await lossyProxy()
      const sink = kafkaSink(proxy.client, { topic, checkpointTopic, delivery: 'at-least-once' })
      const writer = await sink.open({ route: 'r', source: SOURCE })
      onTestFinished(() => writer[Symbol.asyncDispose]())
      proxy.loseAt({ request: 'Produce', nth, at: 'reply' })
      const error = await errorOf(writer.append(all.slice(before, before + 5), String(before + 5)))
      expect(codeOf(error)).toBe('KAFKA_CONNECTION')
    }
    await crash(2)
    await crash(1)
    await pump(await open(), all)
    expect(await ids()).toEqual([idsOf(all)])
  },
)

test('what was appended at least once is found by a writer that appends once', async () => {
  const { topic, checkpointTopic, open, ids } = await route()
  const all = events(20)
  const proxy = await lossyProxy()
  const sink = kafkaSink(proxy.client, { topic, checkpointTopic, delivery: 'at-least-once' })
  const writer = await sink.open({ route: 'r', source: SOURCE })
  onTestFinished(() => writer[Symbol.asyncDispose]())
  await writer.append(all.slice(0, 5), '5')
  proxy.loseAt({ request: 'Produce', nth: 1, at: 'reply' })
  expect(codeOf(await errorOf(writer.append(all.slice(5, 10), '10')))).toBe('KAFKA_CONNECTION')
  await pump(await open(), all)
  expect(await ids()).toEqual([idsOf(all)])
})

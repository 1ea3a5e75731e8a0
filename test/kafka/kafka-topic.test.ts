import { connect } from 'node:net'
import fc from 'fast-check'
import { Kafka } from 'kafkajs'
import { describe, expect, inject, onTestFinished, test } from 'vitest'
import {
  type KafkaTopicOptions,
  kafkaFailFast,
  kafkaTopic,
  type TopicRunOptions,
} from '../../src/adapters/kafka/index.ts'
import type { Consumer } from '../../src/core/consumer.ts'
import type { CursorStore } from '../../src/core/cursor.ts'
import { CursorConflictError, codeOf, isRetriable } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import type { Ended } from '../../src/core/run.ts'
import { tcpProxy } from '../../src/testing/servers/index.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { errorOf, eventually, within } from '../tools/reader.ts'
import { adapterClient, createTopics, type TopicAdmin, testClient, topicAdmin } from './fixture.ts'
import { kafkaNodes } from './kafka-nodes.ts'

/** A failure is tried again at once. */
const SOON = { minDelayMs: 1, maxDelayMs: 20, partitionsEveryMs: 20 } as const

async function newTopic(partitions: number): Promise<TopicAdmin & { readonly topic: string }> {
  const topic = fresh('topic')
  const topics = await topicAdmin(topic, { partitions })
  onTestFinished(() => topics[Symbol.asyncDispose]())
  return { ...topics, topic }
}

/** Appends values to partitions, also to those that have just been added: one after the other, since what is tried again is sent again. */
async function append(topic: string, values: Readonly<Record<number, readonly string[]>>): Promise<void> {
  const producer = testClient().producer({ allowAutoTopicCreation: false })
  await producer.connect()
  try {
    for (const [partition, each] of Object.entries(values))
      await producer.send({ topic, messages: each.map((value) => ({ partition: Number(partition), value })) })
  } finally {
    await producer.disconnect()
  }
}

const source = (topic: string, options: Partial<KafkaTopicOptions> = {}) =>
  kafkaTopic(adapterClient(), { topic, ...options })

/** Makes consumers that note what they have handled, by partition; `act` comes before the event counts. */
function recorder(): {
  readonly values: Record<number, string[]>
  consumer(
    act?: (partition: number, event: Event) => void | Promise<void>,
    more?: Partial<Consumer>,
  ): (partition: number) => Consumer
} {
  const values: Record<number, string[]> = {}
  return {
    values,
    consumer:
      (act = () => {}, more = {}) =>
      (partition) => ({
        name: 'c',
        handle: async (event) => {
          await act(partition, event)
          values[partition] ??= []
          values[partition].push(String(event.metadata))
        },
        ...more,
      }),
  }
}

/** A run that ends with the test. */
function running(work: (signal: AbortSignal) => Promise<Ended>): {
  readonly ended: Promise<Ended>
  abort(): Promise<Ended>
} {
  const controller = new AbortController()
  const ended = work(controller.signal)
  ended.catch(() => {})
  const abort = (): Promise<Ended> => {
    controller.abort()
    return within(ended, 5000, 'the end')
  }
  onTestFinished(async () => void (await abort().catch(() => {})))
  return { ended, abort }
}

const offsetOf = (cursor: string): number => Number(cursor.replace(/@.*/, ''))

async function offsets(cursors: CursorStore): Promise<Record<string, number>> {
  return Object.fromEntries([...((await cursors.list?.()) ?? [])].map(([name, cursor]) => [name, offsetOf(cursor)]))
}

describe('without a failure', () => {
  test('every event of every partition is handled once, in order, to the heads of all', async () => {
    const { topic } = await newTopic(3)
    await append(topic, { 0: ['a', 'b', 'c'], 2: ['x', 'y'] })
    const cursors = memoryCursors()
    const orders = source(topic)
    expect(await orders.backlog({ cursors, consumer: 'c' })).toEqual({ count: 5n, unit: 'positions' })
    const handled = recorder()
    const run = (options: TopicRunOptions = {}) =>
      orders.run({ cursors, consumer: handled.consumer() }, { toHead: true, ...options })
    expect(await run()).toEqual({ reason: 'head' })
    expect(handled.values).toEqual({ 0: ['a', 'b', 'c'], 2: ['x', 'y'] })
    expect(await offsets(cursors)).toEqual({ [`c/${topic}/0`]: 2, [`c/${topic}/2`]: 1 })
    await append(topic, { 1: ['m'], 2: ['z'] })
    expect((await orders.backlog({ cursors, consumer: 'c' })).count).toBe(2n)
    await run()
    expect(handled.values).toEqual({ 0: ['a', 'b', 'c'], 1: ['m'], 2: ['x', 'y', 'z'] })
    expect((await orders.backlog({ cursors, consumer: 'c' })).count).toBe(0n)
    expect((await orders.backlog({ cursors, consumer: 'another' })).count).toBe(7n)
  })

  test('each partition has a consumer of its own, which is started, held back and stopped by itself', async () => {
    const made = await newTopic(2)
    await append(made.topic, { 0: ['a', 'b'], 1: ['x'] })
    const told: string[] = []
    const cursors = memoryCursors()
    class Slow implements Consumer {
      readonly name = 'slow'
      readonly #partition: number
      constructor(partition: number) {
        this.#partition = partition
      }
      start(): void {
        told.push(`start ${this.#partition}`)
      }
      handle({ id }: Event): void {
        told.push(`handle ${this.#partition}/${id}`)
      }
      stop(): void {
        told.push(`stop ${this.#partition}`)
      }
      settled(): string | undefined {
        return this.#partition === 0 ? '0' : undefined
      }
    }
    await source(made.topic).run({ cursors, consumer: (partition) => new Slow(partition) }, { toHead: true })
    const of = (partition: number): string[] => told.filter((each) => RegExp(` ${partition}`).test(each))
    expect(of(0)).toEqual(['start 0', 'handle 0/0', 'handle 0/1', 'stop 0'])
    expect(of(1)).toEqual(['start 1', 'handle 1/0', 'stop 1'])
    expect(await offsets(cursors)).toEqual({ [`slow/${made.topic}/0`]: 0, [`slow/${made.topic}/1`]: 0 })
  })

  test('types, filters and what recovers from an error are the consumer’s', async () => {
    const made = await newTopic(1)
    await append(made.topic, { 0: ['a', 'b', 'c'] })
    const handled = recorder()
    const recovered: string[] = []
    const consumer = handled.consumer(
      (_, { metadata }) => {
        if (String(metadata) === 'b') throw new Error('b')
      },
      {
        types: [0],
        filter: ({ metadata }) => String(metadata) !== 'c',
        recover: (_, { id }) => void recovered.push(id),
      },
    )
    await source(made.topic).run({ cursors: memoryCursors(), consumer }, { toHead: true })
    expect([handled.values, recovered]).toEqual([{ 0: ['a'] }, ['1']])
  })

  test('fromHead skips what is there, and nothing that comes later, also after an early end', async () => {
    const made = await newTopic(3)
    await append(made.topic, { 0: ['old'], 2: ['old', 'old'] })
    const cursors = memoryCursors()
    let left = 2
    const failing: CursorStore = {
      ...cursors,
      set: async (...o) => {
        if (left-- <= 0) throw new Error('the store is down')
        await cursors.set(...o)
      },
    }
    const handled = recorder()
    const orders = source(made.topic)
    const first = running((signal) =>
      orders.run({ cursors: failing, consumer: handled.consumer() }, { ...SOON, fromHead: true, signal }),
    )
    await eventually(async () => (await cursors.list?.())?.size === 2, 5000, 'two pins')
    await first.abort()
    expect(await offsets(cursors)).toEqual({ [`c/${made.topic}/1`]: -1, [`c/${made.topic}/2`]: 1 }) // the highest first
    await append(made.topic, { 1: ['new'], 2: ['new'] })
    await made.admin.createPartitions({ topicPartitions: [{ topic: made.topic, count: 4 }] })
    await append(made.topic, { 3: ['added'] })
    await orders.run({ cursors, consumer: handled.consumer() }, { fromHead: true, toHead: true })
    expect(handled.values).toEqual({ 1: ['new'], 2: ['new'], 3: ['added'] })
  })
})

/** What happens in the life of a runner before it ends. */
interface Life {
  /** Appended to each partition as it begins. */
  readonly appended: readonly number[]
  /** After so many events that were handled in all, the handler fails. */
  readonly failAfter: readonly number[]
  /** These saves fail, counted over all partitions; every other one was stored all the same. */
  readonly failedSaves: readonly number[]
  /** After so many events it is aborted; undefined: at the heads of all it ends. */
  readonly abortAfter: number | undefined
  /** It is aborted after so long at the latest. */
  readonly abortAfterMs: number | undefined
}

const PARTITIONS = 3
const RUNS = 40

const aLife: fc.Arbitrary<Life> = fc.record({
  appended: fc.array(fc.nat(7), { minLength: PARTITIONS, maxLength: PARTITIONS }),
  failAfter: fc.uniqueArray(fc.nat(15), { maxLength: 3 }),
  failedSaves: fc.uniqueArray(fc.nat(8), { maxLength: 2 }),
  abortAfter: fc.option(fc.nat(15), { nil: undefined }),
  abortAfterMs: fc.option(fc.nat(120), { nil: undefined }),
})
const calmLife: Life = {
  appended: [1, 0, 2],
  failAfter: [],
  failedSaves: [],
  abortAfter: undefined,
  abortAfterMs: undefined,
}

test('over any schedule of failures, aborts and restarts every event is handled, in order, and once without them', async () => {
  const { admin, producer } = await newTopic(1)
  const all = Array.from({ length: RUNS }, () => fresh('topic'))
  const left = [...all]
  await createTopics(
    admin,
    all.map((topic) => ({ topic, numPartitions: PARTITIONS })),
  )
  onTestFinished(() => admin.deleteTopics({ topics: all }))

  await fc.assert(
    fc.asyncProperty(fc.array(aLife, { maxLength: 3 }), async (lives) => {
      const topic = left.pop() ?? 'there is one for each run'
      const orders = source(topic, { batchSize: 3 })
      const cursors = memoryCursors()
      const sent = Array.from({ length: PARTITIONS }, () => 0)
      const handled: string[][] = sent.map(() => [])

      const live = async ({ appended, failAfter, failedSaves, abortAfter, abortAfterMs }: Life): Promise<void> => {
        for (const [partition, count] of appended.entries()) {
          const first = sent[partition] as number
          const messages = Array.from({ length: count }, (_, i) => ({ partition, value: String(first + i) }))
          if (count > 0) await producer.send({ topic, messages })
          sent[partition] = first + count
        }
        const controller = new AbortController()
        const { signal } = controller
        const timer = abortAfterMs === undefined ? undefined : setTimeout(() => controller.abort(), abortAfterMs)
        const wrong: string[] = []
        const failures = new Set(failAfter)
        let count = 0
        let saves = 0
        const consumer = (partition: number): Consumer => ({
          name: 'c',
          handle: async ({ id, metadata }) => {
            if (id !== String(metadata)) wrong.push(`${partition}/${id} is ${metadata}`)
            if (failures.delete(count)) throw new Error(`the handler fails at ${partition}/${id}`)
            if (count === abortAfter) controller.abort()
            count++
            await Promise.resolve()
            handled[partition]?.push(id)
          },
        })
        const checked: CursorStore = {
          ...cursors,
          set: async (name, cursor, expected) => {
            const partition = Number(name.slice(-1))
            if (offsetOf(cursor) >= new Set(handled[partition]).size) wrong.push(`${name} is ahead: ${cursor}`)
            const failed = failedSaves.indexOf(saves++)
            if (failed % 2 !== 0) await cursors.set(name, cursor, expected)
            if (failed >= 0) throw new Error('the save fails')
          },
        }
        const { reason } = await orders.run({ cursors: checked, consumer }, { ...SOON, toHead: true, signal })
        clearTimeout(timer)
        expect([reason === 'head' || signal.aborted, wrong]).toEqual([true, []])
      }
      for (const life of [...lives, calmLife]) await live(life)

      const every = sent.map((count) => Array.from({ length: count }, (_, i) => String(i)))
      expect(handled.map((each) => [...new Set(each)])).toEqual(every)
      for (const each of handled)
        for (const [i, id] of each.entries()) if (i > 0) expect(Number(id)).toBeLessThanOrEqual(Number(each[i - 1]) + 1)
      const isCalm = lives.every(
        ({ failAfter, failedSaves, abortAfter, abortAfterMs }) =>
          failAfter.length + failedSaves.length === 0 && abortAfter === undefined && abortAfterMs === undefined,
      )
      if (isCalm) expect(handled).toEqual(every)
      expect((await orders.backlog({ cursors, consumer: 'c' })).count).toBe(0n)
    }),
    { numRuns: RUNS, endOnFailure: true, interruptAfterTimeLimit: 50_000 },
  )
})

describe('a partition that fails', () => {
  test('does not hold up the others, and goes on once its event can be handled', async () => {
    const { topic } = await newTopic(3)
    await append(topic, { 0: ['a'], 1: ['ok', 'poison', 'after'], 2: ['x'] })
    const handled = recorder()
    let isPoisonous = true
    const told: (number | undefined)[] = []
    const restarts: (number | undefined)[] = []
    const run = running((signal) =>
      source(topic).run(
        {
          cursors: memoryCursors(),
          consumer: handled.consumer((_, { metadata }) => {
            if (isPoisonous && String(metadata) === 'poison') throw new Error('poison')
          }),
        },
        {
          ...SOON,
          signal,
          observer: (partition) => ({
            failed: () => void told.push(partition),
            restarting: () => void restarts.push(partition),
          }),
        },
      ),
    )
    await eventually(() => restarts.length >= 5, 10_000, 'attempts')
    await append(topic, { 0: ['b'], 2: ['y'] })
    await eventually(() => Object.values(handled.values).flat().length === 5, 5000, 'the others')
    expect(handled.values).toEqual({ 0: ['a', 'b'], 1: ['ok'], 2: ['x', 'y'] })
    isPoisonous = false
    await eventually(() => handled.values[1]?.length === 3, 5000, 'the poison')
    expect(await run.abort()).toEqual({ reason: 'aborted' })
    expect(handled.values[1]).toEqual(['ok', 'poison', 'after'])
    expect(new Set([...told, ...restarts])).toEqual(new Set([1]))
  })

  test('for good is told, while the others go on, and is read again once its cursor has been reset', async () => {
    const made = await newTopic(2)
    const { topic } = made
    await append(topic, { 0: ['a'], 1: ['u', 'v', 'w', 'x'] })
    const cursors = memoryCursors()
    await cursors.set(`c/${topic}/1`, '0', '')
    await made.trim('3', 1)
    const handled = recorder()
    const told: unknown[] = []
    const run = running((signal) =>
      source(topic).run(
        { cursors, consumer: handled.consumer() },
        {
          ...SOON,
          signal,
          observer: (partition) => ({ failed: (error) => void (partition ?? told.push(error)) }),
        },
      ),
    )
    await eventually(() => told.length > 0, 5000, 'the failure')
    expect([codeOf(told[0]), isRetriable(told[0]), String(told[0])]).toEqual([
      'CURSOR_TRIMMED',
      false,
      expect.stringMatching(/partition 1: .*\/1: the cursor 0 .*the earliest is 3/),
    ])
    await append(topic, { 0: ['b'] })
    await eventually(() => handled.values[0]?.length === 2, 5000, 'the other')
    await cursors.reset(`c/${topic}/1`, '2')
    await eventually(() => handled.values[1]?.length === 1, 5000, 'the partition')
    await append(topic, { 1: ['y'] })
    await eventually(() => handled.values[1]?.length === 2, 5000, 'what follows')
    expect(await run.abort()).toEqual({ reason: 'aborted' })
    expect([handled.values, told.length]).toEqual([{ 0: ['a', 'b'], 1: ['x', 'y'] }, 1])
  })

  test.each(['the head', 'an abort', 'the last of them'])(
    'for good is what the whole ends with, at %s',
    async (end) => {
      const made = await newTopic(2)
      const { topic } = made
      await append(topic, { 0: ['a'], 1: ['x'] })
      const cursors = memoryCursors()
      for (const partition of end === 'the last of them' ? [0, 1] : [1])
        await cursors.set(`c/${topic}/${partition}`, `${partition + 7}`, '')
      const handled = recorder()
      const { ended, abort } = running((signal) =>
        source(topic).run({ cursors, consumer: handled.consumer() }, { ...SOON, signal, toHead: end === 'the head' }),
      )
      if (end === 'an abort') {
        await eventually(() => handled.values[0] !== undefined, 5000, 'the other')
        expect(codeOf(await errorOf(abort()))).toBe('CURSOR_AHEAD')
      }
      const error = await errorOf(ended)
      expect([codeOf(error), isRetriable(error)]).toEqual(['CURSOR_AHEAD', false])
      expect(String(error)).toMatch(
        end === 'the last of them' ? /2 of.*partition 0: .*; partition 1: / : /partition 1: /,
      )
      expect(handled.values).toEqual(end === 'the last of them' ? {} : { 0: ['a'] })
    },
  )

  test('since its broker is dead does not hold up those of others, nor their start', async () => {
    await using nodes = await kafkaNodes({ brokers: 2 })
    const { url } = nodes
    const kafka = testClient(url)
    const [admin, producer] = [kafka.admin(), kafka.producer({ allowAutoTopicCreation: false })]
    await Promise.all([admin.connect(), producer.connect()])
    onTestFinished(async () => void (await Promise.all([admin.disconnect(), producer.disconnect()])))
    const topic = fresh('topic')
    const replicaAssignment = [1, 2].map((node, partition) => ({ partition, replicas: [node] }))
    await createTopics(admin, [{ topic, replicaAssignment }])
    const send = async (partition: number, value: string): Promise<void> =>
      void (await producer.send({ topic, messages: [{ partition, value }] }))
    await send(0, 'a')
    await send(1, 'x')
    await send(1, 'y')
    const cursors = memoryCursors()
    const orders = kafkaTopic(adapterClient(url), { topic })
    expect((await orders.backlog({ cursors, consumer: 'c' })).count).toBe(3n)
    const handled = recorder()
    const failed = new Set<number | undefined>()
    const start = () =>
      running((signal) =>
        orders.run(
          { cursors, consumer: handled.consumer() },
          { ...SOON, signal, observer: (partition) => ({ failed: () => void failed.add(partition) }) },
        ),
      )
    const first = start()
    await eventually(() => Object.values(handled.values).flat().length === 3, 10_000, 'the first events')
    await nodes.kill(2)
    await eventually(() => failed.has(1), 10_000, 'noticing it')
    await send(0, 'b')
    await eventually(() => handled.values[0]?.length === 2, 10_000, 'the other partition')
    await eventually(
      async () => codeOf(await errorOf(orders.backlog({ cursors, consumer: 'c' }))) === 'KAFKA_LEADER_NOT_AVAILABLE',
      10_000,
      'a partition without a leader',
    )
    expect(await first.abort()).toMatchObject({ reason: 'aborted' })
    failed.clear()
    const second = start()
    await send(0, 'c')
    await eventually(() => handled.values[0]?.length === 3, 10_000, 'the other partition after a start')
    await nodes.start(2)
    await send(1, 'z')
    await eventually(() => handled.values[1]?.length === 3, 20_000, 'the partition')
    expect(await second.abort()).toEqual({ reason: 'aborted' })
    expect(handled.values).toEqual({ 0: ['a', 'b', 'c'], 1: ['x', 'y', 'z'] })
    expect([...failed]).toContain(1)
    expect([...failed]).not.toContain(0)
  }, 120_000)
})

describe('the topic', () => {
  test('may get more partitions, which are read from their earliest', async () => {
    const made = await newTopic(1)
    const { topic } = made
    const handled = recorder()
    const cursors = memoryCursors()
    const opened: (number | undefined)[] = []
    const run = running((signal) =>
      source(topic).run(
        { cursors, consumer: handled.consumer() },
        { ...SOON, fromHead: true, signal, observer: (partition) => ({ opened: () => void opened.push(partition) }) },
      ),
    )
    await eventually(() => opened.length === 1, 5000, 'the first partition')
    await made.admin.createPartitions({ topicPartitions: [{ topic, count: 30 }] })
    await append(topic, { 0: ['a'], 1: ['x', 'y'], 29: ['z'] })
    await eventually(() => Object.values(handled.values).flat().length === 4, 10_000, 'the new partitions')
    expect(handled.values).toEqual({ 0: ['a'], 1: ['x', 'y'], 29: ['z'] })
    await eventually(() => opened.length === 30, 5000, 'all partitions')
    expect(await run.abort()).toEqual({ reason: 'aborted' })
    expect(opened.toSorted((a, b) => Number(a) - Number(b))).toEqual(Array.from({ length: 30 }, (_, i) => i))
  })

  test('may get more partitions while it is not run, or is not heard of, and none of their events is passed over', async () => {
    const made = await newTopic(2)
    const { topic } = made
    const handled = recorder()
    const cursors = memoryCursors()
    const grow = (count: number): Promise<boolean> =>
      made.admin.createPartitions({ topicPartitions: [{ topic, count }] })
    const runUntil = async (partitions: number): Promise<void> => {
      const run = running((signal) =>
        source(topic).run({ cursors, consumer: handled.consumer() }, { ...SOON, fromHead: true, signal }),
      )
      await eventually(async () => (await cursors.list?.())?.size === partitions, 10_000, 'the cursors')
      await run.abort()
    }
    await append(topic, { 0: ['old'], 1: ['old'] })
    await runUntil(2)
    await grow(4)
    await runUntil(4)
    await append(topic, { 2: ['x', 'y'] })
    await source(topic).run({ cursors, consumer: handled.consumer() }, { fromHead: true, toHead: true })
    await cursors.reset(`c/${topic}/1`, '')
    await source(topic).run({ cursors, consumer: handled.consumer() }, { fromHead: true, toHead: true })
    expect(handled.values).toEqual({ 1: ['old'], 2: ['x', 'y'] })
  })

  test('whose observer of a partition cannot be made tries again, with each partition’s own', async () => {
    const { topic } = await newTopic(3)
    const told: string[] = []
    let failures = 2
    const observer = (partition: number | undefined) => {
      if (partition === 1 && failures-- > 0) throw new Error('no observer')
      return { opened: ({ name }: { name: string }) => void told.push(`${partition} ${name}`) }
    }
    await source(topic).run(
      { cursors: memoryCursors(), consumer: recorder().consumer() },
      { ...SOON, observer, toHead: true },
    )
    expect(told.toSorted()).toEqual([0, 1, 2].map((each) => `${each} c/${topic}/${each}`))
  })

  test('is not read with cursors of an earlier one, nor are its partitions without one', async () => {
    const made = await newTopic(2)
    const { topic } = made
    await append(topic, { 0: ['a'] })
    const cursors = memoryCursors()
    const orders = source(topic)
    await orders.run({ cursors, consumer: recorder().consumer() }, { toHead: true })
    await made.recreate()
    await append(topic, { 0: ['new', 'new'], 1: ['new'] })
    const handled = recorder()
    let asked = 0
    const slow: CursorStore = {
      ...cursors,
      // The other partition would be far ahead.
      get: async (name, o) => {
        if (name.endsWith('/0') && asked++ > 0) await new Promise((resolve) => setTimeout(resolve, 500))
        return cursors.get(name, o)
      },
    }
    for (const work of [
      () => orders.run({ cursors: slow, consumer: handled.consumer() }, { toHead: true }),
      () => orders.backlog({ cursors, consumer: 'c' }),
    ]) {
      const error = await errorOf(work())
      expect([codeOf(error), isRetriable(error), String(error)]).toEqual([
        'CURSOR_AHEAD',
        false,
        expect.stringMatching(/earlier log of this name/),
      ])
    }
    expect(handled.values).toEqual({})
  })

  test('that is made anew while it is read ends the whole, before anything of the new one is handled', async () => {
    const made = await newTopic(2)
    const { topic } = made
    const handled = recorder()
    const opened = new Set<number | undefined>()
    const { ended } = running((signal) =>
      source(topic).run(
        { cursors: memoryCursors(), consumer: handled.consumer() },
        {
          ...SOON,
          partitionsEveryMs: 60_000,
          signal,
          observer: (partition) => ({ opened: () => void opened.add(partition) }),
        },
      ),
    )
    await eventually(() => opened.size === 2, 5000, 'the partitions')
    await made.recreate()
    await append(topic, { 0: ['new', 'new'], 1: ['new'] })
    expect(codeOf(await errorOf(ended, 20_000))).toBe('CURSOR_AHEAD')
    expect(handled.values).toEqual({})
  })

  test('with fewer partitions than there are cursors is not read', async () => {
    const { topic } = await newTopic(2)
    const cursors = memoryCursors()
    await cursors.set(`c/${topic}/2`, '5', '')
    const error = await errorOf(source(topic).run({ cursors, consumer: recorder().consumer() }, { toHead: true }))
    expect([codeOf(error), String(error)]).toEqual(['CURSOR_AHEAD', expect.stringMatching(/\/2".*partitions 0 to 1/)])
  })

  test('that is not there is looked for again', async () => {
    const topic = fresh('topic')
    const told: unknown[] = []
    const run = running((signal) =>
      source(topic).run(
        { cursors: memoryCursors(), consumer: recorder().consumer() },
        { ...SOON, signal, observer: (partition) => ({ failed: (error) => void told.push(partition, codeOf(error)) }) },
      ),
    )
    await eventually(() => told.length >= 4, 10_000, 'failures')
    expect(await run.abort()).toMatchObject({ reason: 'aborted' })
    expect(new Set(told)).toEqual(new Set([undefined, 'KAFKA_UNKNOWN_TOPIC_OR_PARTITION']))
  })
})

test('of two runners of one name at least one ends, and says that there is another', async () => {
  const { topic, producer } = await newTopic(3)
  const cursors = memoryCursors()
  const runs = [1, 3].map((batchSize) =>
    running((signal) =>
      source(topic, { batchSize }).run(
        { cursors, consumer: recorder().consumer() },
        { ...SOON, maxDelayMs: 50, signal },
      ),
    ),
  )
  const first = Promise.race(runs.map(({ ended }) => ended))
  let isOver = false
  first.catch(() => {
    isOver = true
  })
  const messages = [0, 1, 2].flatMap((partition) => Array.from({ length: 20 }, () => ({ partition, value: 'x' })))
  await eventually(
    async () => {
      await producer.send({ topic, messages })
      return isOver
    },
    30_000,
    'the duel',
  )
  const error = await errorOf(first)
  expect([codeOf(error), isRetriable(error)]).toEqual(['ANOTHER_RUNNER', false])
})

test('another runner of one partition ends the whole', async () => {
  const { topic } = await newTopic(2)
  const cursors = memoryCursors()
  const contested: CursorStore = {
    ...cursors,
    set: async (consumer, cursor, expected) => {
      if (consumer.endsWith('/1'))
        throw new CursorConflictError({ consumer, expected, actual: 'that of another', reset: false })
      await cursors.set(consumer, cursor, expected)
    },
  }
  const handled = recorder()
  const { ended } = running((signal) =>
    source(topic).run({ cursors: contested, consumer: handled.consumer() }, { ...SOON, signal }),
  )
  await append(topic, { 0: ['a'] })
  await eventually(() => handled.values[0]?.length === 1, 5000, 'the other')
  await append(topic, { 1: ['x'] })
  expect(codeOf(await errorOf(ended))).toBe('ANOTHER_RUNNER')
  expect(handled.values).toEqual({ 0: ['a'], 1: ['x', 'x', 'x'] })
})

describe('an abort', () => {
  const left = (): number => process.getActiveResourcesInfo().filter((name) => /^TCP|^Timeout/.test(name)).length

  test('leaves neither a socket nor a timer, whenever it comes, and saves what was handled', async () => {
    const { topic } = await newTopic(4)
    await append(topic, { 0: ['a', 'b'], 1: ['c'], 2: ['d'] })
    const before = left() // the test's own may yet end, and those of others
    for (let delay = 0; delay < 90; delay += 6) {
      const cursors = memoryCursors()
      const handled = recorder()
      const run = running((signal) => source(topic).run({ cursors, consumer: handled.consumer() }, { signal }))
      await new Promise((resolve) => setTimeout(resolve, delay))
      expect(await run.abort()).toEqual({ reason: 'aborted' })
      const saved = Object.entries(handled.values).map(([partition, { length }]) => [
        `c/${topic}/${partition}`,
        length - 1,
      ])
      expect(await offsets(cursors)).toEqual(Object.fromEntries(saved))
    }
    await eventually(() => left() <= before, 1000, 'nothing is left')
  })

  test('waits for the handlers, and tells what they throw', async () => {
    const { topic } = await newTopic(2)
    await append(topic, { 0: ['a'], 1: ['x'] })
    let busy = 0
    const late = new Error('late')
    const run = running((signal) =>
      source(topic).run(
        {
          cursors: memoryCursors(),
          consumer: (partition) => ({
            name: 'c',
            handle: async (_, o) => {
              busy++
              await new Promise<void>((resolve) => o.signal.addEventListener('abort', () => resolve()))
              await new Promise((resolve) => setTimeout(resolve, 20))
              busy--
              if (partition === 1) throw late
            },
          }),
        },
        { signal },
      ),
    )
    await eventually(() => busy === 2, 5000, 'both handlers')
    const { reason, error } = await run.abort()
    expect([reason, busy, error]).toEqual(['aborted', 0, late])
  })

  test('that came before does nothing', async () => {
    const orders = source('never-asked-for')
    const signal = AbortSignal.abort()
    expect(await orders.run({ cursors: memoryCursors(), consumer: recorder().consumer() }, { signal })).toEqual({
      reason: 'aborted',
    })
  })
})

test('a broker that cannot be reached is told, and found again', async () => {
  const { topic } = await newTopic(2)
  const { host, port, url } = inject('servers').kafka
  const proxy = await tcpProxy({ host, port })
  onTestFinished(() => proxy[Symbol.asyncDispose]())
  const socketFactory = ({ onConnect }: { onConnect: () => void }) =>
    connect({ host: proxy.host, port: proxy.port }, onConnect)
  const handled = recorder()
  const told = new Set<number | undefined>()
  let cut = false
  const run = running((signal) =>
    kafkaTopic(new Kafka({ brokers: [url], ...kafkaFailFast, socketFactory }), { topic }).run(
      { cursors: memoryCursors(), consumer: handled.consumer() },
      { ...SOON, signal, observer: (partition) => ({ failed: () => void (cut && told.add(partition)) }) },
    ),
  )
  await append(topic, { 0: ['a'], 1: ['x'] })
  await eventually(() => Object.values(handled.values).flat().length === 2, 5000, 'the first events')
  cut = true
  proxy.cut()
  await eventually(() => told.size === 3, 5000, 'noticing it')
  expect(told).toEqual(new Set([0, 1, undefined]))
  proxy.restore()
  await append(topic, { 0: ['b'], 1: ['y'] })
  await eventually(() => Object.values(handled.values).flat().length === 4, 5000, 'the next events')
  expect(await run.abort()).toEqual({ reason: 'aborted' })
  expect(handled.values).toEqual({ 0: ['a', 'b'], 1: ['x', 'y'] })
})

test('options that are wrong are refused, with what to do', async () => {
  expect(() => source('')).toThrow(/topic must be a string/)
  expect(() => source('t', { batchSize: 0 })).toThrow(/batchSize must be/)
  const { topic } = await newTopic(2)
  const cursors = memoryCursors()
  const refused = async (consumer: (partition: number) => unknown, options: TopicRunOptions = {}): Promise<string> => {
    const spec = { cursors, consumer: consumer as (partition: number) => Consumer }
    const error = await errorOf(source(topic).run(spec, { toHead: true, ...options }))
    expect(codeOf(error)).toBe('OPTION_INVALID')
    return String(error)
  }
  const handle = (): void => {}
  expect(await refused((partition) => ({ name: `c${partition}`, handle }))).toMatch(/same name/)
  expect(await refused(() => ({ name: '', handle }))).toMatch(/name/)
  expect(await refused(() => ({ name: 'c' }))).toMatch(/partition 0 needs a function handle/)
  expect(await refused(() => ({ name: 'c', handle }), { partitionsEveryMs: 0 })).toMatch(/partitionsEveryMs/)
  expect(await refused(() => ({ name: 'c', handle }), { delayMs: -1 })).toMatch(/delayMs/)
  for (const consumer of ['', undefined as never, 7 as never])
    expect(codeOf(await errorOf(source(topic).backlog({ cursors, consumer })))).toBe('OPTION_INVALID')
})

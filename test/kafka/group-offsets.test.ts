import { execFile } from 'node:child_process'
import { connect } from 'node:net'
import { promisify } from 'node:util'
import { type Consumer as GroupMember, Kafka } from 'kafkajs'
import { beforeAll, describe, expect, inject, test } from 'vitest'
import {
  type GroupOffsetsOptions,
  kafkaFailFast,
  kafkaGroupOffsets,
  kafkaPartition,
  kafkaTopic,
} from '../../src/adapters/kafka/index.ts'
import type { KafkaClient } from '../../src/adapters/kafka/kafka-client.ts'
import { codeOf } from '../../src/core/errors.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { run } from '../../src/core/run.ts'
import { commandLineClient, type TcpProxy, tcpProxy } from '../../src/testing/servers/index.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { onTestFinished } from '../tools/on-test-finished.ts'
import { errorOf, eventually, within } from '../tools/reader.ts'
import { adapterClient, type TopicAdmin, testClient, topicAdmin } from './fixture.ts'
import { lossyProxy } from './lossy-proxy.ts'
import { patchedClient } from './patched-client.ts'

const TOOL = 'org.apache.kafka.tools.consumer.group.ConsumerGroupCommand'
const CONSOLE = 'org.apache.kafka.tools.consumer.ConsoleConsumer'

/** A group, and a topic whose partition i holds i + 1 events. */
async function newGroup(
  partitions: number,
): Promise<TopicAdmin & { readonly topic: string; readonly group: string; append(partition: number): Promise<void> }> {
  const topic = fresh('topic')
  const topics = await topicAdmin(topic, { partitions })
  onTestFinished(() => topics[Symbol.asyncDispose]())
  const append = async (partition: number): Promise<void> =>
    void (await topics.producer.send({ topic, messages: [{ partition, value: 'x' }] }))
  for (let partition = 0; partition < partitions; partition++)
    for (let i = 0; i <= partition; i++) await append(partition)
  return { ...topics, topic, group: fresh('group'), append }
}

/** Opens them; they are closed with the test at the latest. */
async function opened(options: GroupOffsetsOptions, kafka: KafkaClient = adapterClient()) {
  const offsets = await kafkaGroupOffsets(kafka, options)
  onTestFinished(() => offsets[Symbol.asyncDispose]())
  return offsets
}

/** A member of a group. */
async function member(group: string, topic: string): Promise<GroupMember> {
  const consumer = testClient().consumer({ groupId: group, sessionTimeout: 6000 })
  onTestFinished(() => consumer.disconnect())
  await consumer.connect()
  await consumer.subscribe({ topic })
  const joined = new Promise<void>((resolve) => consumer.on(consumer.events.GROUP_JOIN, () => resolve()))
  await consumer.run({ autoCommit: false, eachMessage: async () => {} })
  await within(joined, 20_000, 'joining the group')
  return consumer
}

/** What is stored for a group, by partition. */
async function stored({ admin, topic, group }: { admin: TopicAdmin['admin']; topic: string; group: string }) {
  const [found] = await admin.fetchOffsets({ groupId: group, topics: [topic] })
  return Object.fromEntries(found?.partitions.map(({ partition, offset }) => [partition, Number(offset)]) ?? [])
}

const noConsumer = { name: 'c', handle: () => {} }

beforeAll(async () => {
  // A new broker has no coordinator of groups until it was asked for one.
  const admin = testClient().admin()
  await admin.connect()
  await eventually(
    async () => (await admin.fetchOffsets({ groupId: fresh('group') }).catch(() => undefined)) !== undefined,
    30_000,
    'the coordinator of groups',
  )
  await admin.disconnect()
})

test("Kafka's own tool shows what is consumed of a topic, and what is left", async () => {
  const made = await newGroup(3)
  const { topic, group } = made
  const cursors = memoryCursors()
  {
    await using offsets = await kafkaGroupOffsets(adapterClient(), { group, topic })
    await kafkaTopic(adapterClient(), { topic }).run(
      { cursors, consumer: () => noConsumer },
      { toHead: true, observer: offsets.observer },
    )
  }
  for (const partition of [0, 2, 2]) await made.append(partition)
  const [java, ...prefix] = await commandLineClient('kafka', TOOL)
  const args = ['--bootstrap-server', inject('servers').kafka.url, '--describe', '--group', group]
  const { stdout } = await promisify(execFile)(java as string, [...prefix, ...args])
  const [names = [], ...rows] = stdout
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(({ length }) => length > 5)
  const column = (row: string[], name: string): string | undefined => row[names.indexOf(name)]
  const shown = ['GROUP', 'TOPIC', 'PARTITION', 'CURRENT-OFFSET', 'LOG-END-OFFSET', 'LAG']
  expect(rows.map((row) => shown.map((name) => column(row, name))).toSorted()).toEqual([
    [group, topic, '0', '1', '2', '1'],
    [group, topic, '1', '2', '2', '0'],
    [group, topic, '2', '3', '5', '2'],
  ])
})

test('a run over one partition shows its offset while it goes on, once a second at most, and at its end', async () => {
  const made = await newGroup(1)
  const { topic, group } = made
  let commits = 0
  const counting = patchedClient(({ request }) => {
    if (request.apiName === 'OffsetCommit') commits++
    return undefined
  })
  const started = Date.now()
  const offsets = await kafkaGroupOffsets(counting, { group, topic })
  const controller = new AbortController()
  const saves: string[] = []
  const { observer } = offsets
  const { stream } = kafkaPartition(adapterClient(), { topic, partition: 0 })
  const ended = run(
    { stream, cursors: memoryCursors(), consumer: noConsumer },
    {
      signal: controller.signal,
      observer: {
        ...observer(0),
        saved: (cursor) => {
          saves.push(cursor)
          observer(0).saved?.(cursor)
        },
      },
    },
  )
  for (let i = 1; i <= 30; i++) {
    await made.append(0)
    await eventually(() => saves.at(-1)?.startsWith(`${i}@`) === true, 5000, 'the save')
  }
  await eventually(async () => (await stored(made))[0] === 31, 10_000, 'the offset')
  await made.append(0)
  await eventually(() => saves.at(-1)?.startsWith('31@') === true, 5000, 'the save')
  controller.abort()
  await ended
  await offsets[Symbol.asyncDispose]()
  expect(await stored(made)).toEqual({ 0: 32 })
  expect(commits).toBeLessThanOrEqual(2 + (Date.now() - started) / 1000)
})

test('a cursor that was stored before is shown although nothing new comes', async () => {
  const made = await newGroup(2)
  const { topic, group } = made
  const cursors = memoryCursors()
  const orders = kafkaTopic(adapterClient(), { topic })
  const spec = { cursors, consumer: () => noConsumer }
  await orders.run(spec, { toHead: true })
  const offsets = await opened({ group, topic })
  await orders.run(spec, { toHead: true, observer: offsets.observer })
  await offsets[Symbol.asyncDispose]()
  expect(await stored(made)).toEqual({ 0: 1, 1: 2 })
})

describe.concurrent('a group with members', () => {
  test('is refused before anything is handled', async () => {
    const { topic, group } = await newGroup(1)
    const consumer = await member(group, topic)
    const error = await errorOf(kafkaGroupOffsets(adapterClient(), { group, topic }))
    expect([codeOf(error), String(error)]).toEqual([
      'OPTION_INVALID',
      expect.stringMatching(/without members.*but it has some: choose a name/),
    ])
    await consumer.disconnect()
    await opened({ group, topic }) // it has no members now
  })

  test('of the newer protocol is refused, too', async () => {
    const { topic, group, admin } = await newGroup(1)
    const [java, ...prefix] = await commandLineClient('kafka', CONSOLE)
    const url = inject('servers').kafka.url
    const args = ['--bootstrap-server', url, '--topic', topic, '--group', group]
    const child = execFile(java as string, [
      ...prefix,
      ...args,
      '--command-property',
      'group.protocol=consumer',
      '--from-beginning',
    ])
    onTestFinished(() => void child.kill('SIGKILL'))
    await eventually(
      async () => (await admin.listGroups()).groups.some(({ groupId }) => groupId === group),
      30_000,
      'the group',
    )
    expect((await admin.describeGroups([group])).groups[0]?.state).toBe('Dead') // as the older protocol sees it
    const error = await errorOf(kafkaGroupOffsets(adapterClient(), { group, topic }))
    expect([codeOf(error), String(error)]).toEqual(['OPTION_INVALID', expect.stringMatching(/has some/)])
  })

  test('that appears later is noted once, disturbs nothing, and is written again when they have left', async () => {
    const made = await newGroup(1)
    const { topic, group } = made
    const notes: string[] = []
    let asked = 0
    const counting = patchedClient(({ request }) => {
      if (request.apiName === 'DescribeGroups') asked++
      return undefined
    })
    const offsets = await opened({ group, topic, note: (text) => void notes.push(text) }, counting)
    const consumer = await member(group, topic)
    const cursors = memoryCursors()
    const { stream } = kafkaPartition(adapterClient(), { topic, partition: 0 })
    const spec = { stream, cursors, consumer: noConsumer }
    await run(spec, { toHead: true, observer: offsets.observer(0) })
    await eventually(() => notes.length > 0, 5000, 'the note')
    await made.append(0)
    expect(await run(spec, { toHead: true, observer: offsets.observer(0) })).toMatchObject({ reason: 'head' })
    await eventually(() => asked === 3, 10_000, 'another attempt') // the first was at the opening
    expect(notes).toEqual([expect.stringMatching(/group-.*cannot be shown.*but it has some/)])
    expect(await stored(made)).toEqual({ 0: -1 })
    await consumer.disconnect()
    await eventually(async () => (await stored(made))[0] === 2, 20_000, 'the offset')
  })
})

test.concurrent('a connection that the broker closes while it is idle is made anew, without a note', async () => {
  const made = await newGroup(1)
  const { topic, group } = made
  const proxy = await lossyProxy()
  const notes: string[] = []
  const offsets = await opened({ group, topic, note: (text) => void notes.push(text) }, proxy.client)
  for (const [i, cursor] of ['4', '5', '6'].entries()) {
    if (i > 0) await proxy.close('OffsetCommit')
    offsets.observer(0).saved?.(cursor)
    await eventually(async () => (await stored(made))[0] === Number(cursor) + 1, 4000, 'the offset')
  }
  expect(notes).toEqual([])
})

test.concurrent('the offsets are not what a run goes on from: they go backward, and vanish', async () => {
  const made = await newGroup(1)
  const { topic, group, admin } = made
  const cursors = memoryCursors()
  const handled: string[] = []
  const consumer = () => ({ name: 'c', handle: ({ id }: { id: string }) => void handled.push(id) })
  const orders = kafkaTopic(adapterClient(), { topic })
  const next = async (): Promise<void> => {
    await made.append(0)
    await using offsets = await kafkaGroupOffsets(adapterClient(), { group, topic })
    await orders.run({ cursors, consumer }, { toHead: true, observer: offsets.observer })
  }
  await next()
  expect(handled).toEqual(['0', '1'])
  for (const offset of ['100', '0']) {
    await admin.setOffsets({ groupId: group, topic, partitions: [{ partition: 0, offset }] })
    expect(await stored(made)).toEqual({ 0: Number(offset) })
    await next()
  }
  await admin.deleteGroups([group])
  expect(await stored(made)).toEqual({ 0: -1 })
  await next()
  expect(handled).toEqual(['0', '1', '2', '3', '4'])
  expect(await stored(made)).toEqual({ 0: 5 })
})

describe('a broker that does not answer', () => {
  /** A client whose connections can be cut. */
  async function proxied(): Promise<{ readonly proxy: TcpProxy; readonly kafka: Kafka }> {
    const { host, port, url } = inject('servers').kafka
    const proxy = await tcpProxy({ host, port })
    onTestFinished(() => proxy[Symbol.asyncDispose]())
    const socketFactory = ({ onConnect }: { onConnect: () => void }) =>
      connect({ host: proxy.host, port: proxy.port }, onConnect)
    const kafka = new Kafka({ brokers: [url], ...kafkaFailFast, socketFactory })
    return { proxy, kafka }
  }

  test.each(['cut', 'stall'] as const)('after a %s is noted, and neither holds a run up nor the end', async (fault) => {
    const made = await newGroup(1)
    const { topic, group } = made
    const { proxy, kafka } = await proxied()
    const notes: string[] = []
    const offsets = await opened({ group, topic, note: (text) => void notes.push(text) }, kafka)
    proxy[fault]()
    const { stream } = kafkaPartition(adapterClient(), { topic, partition: 0 })
    const spec = { stream, cursors: memoryCursors(), consumer: noConsumer }
    expect(await run(spec, { toHead: true, observer: offsets.observer(0) })).toMatchObject({ reason: 'head' })
    if (fault === 'cut') await eventually(() => notes.length === 1, 5000, 'the note')
    await within(offsets[Symbol.asyncDispose](), 5000, 'the end')
    expect(notes).not.toEqual([])
    for (const note of notes) expect(note).toMatch(/cannot be shown at the moment/)
    expect(await stored(made)).toEqual({ 0: -1 })
  })

  test('as they are opened is noted; they are shown once it does', async () => {
    const made = await newGroup(1)
    const { topic, group } = made
    const { proxy, kafka } = await proxied()
    proxy.cut()
    const notes: string[] = []
    const offsets = await opened({ group, topic, note: (text) => void notes.push(text) }, kafka)
    expect(notes).toEqual([expect.stringMatching(/cannot be shown at the moment/)])
    proxy.restore()
    offsets.observer(0).saved?.('4')
    await eventually(async () => (await stored(made))[0] === 5, 5000, 'the offset')
  })
})

test('an abort ends the opening, and leaves nothing', async () => {
  const { topic, group } = await newGroup(1)
  const left = (): number => process.getActiveResourcesInfo().filter((name) => /^TCP|^Timeout/.test(name)).length
  const before = left()
  for (let delay = 0; delay < 60; delay += 4) {
    const controller = new AbortController()
    const opening = kafkaGroupOffsets(adapterClient(), { group, topic, signal: controller.signal })
    opening.catch(() => {})
    await new Promise((resolve) => setTimeout(resolve, delay))
    controller.abort(controller)
    await opening.then(
      (offsets) => offsets[Symbol.asyncDispose](),
      (error) => expect(error).toBe(controller),
    )
  }
  await eventually(() => left() <= before, 1000, 'nothing is left')
})

test('options that are wrong are refused', async () => {
  for (const wrong of [
    { group: '', topic: 't' },
    { group: 'g', topic: '' },
  ])
    expect(codeOf(await errorOf(kafkaGroupOffsets(adapterClient(), wrong)))).toBe('OPTION_INVALID')
  const patient = new Kafka({ brokers: [inject('servers').kafka.url], logLevel: 0 })
  expect(codeOf(await errorOf(kafkaGroupOffsets(patient, { group: 'g', topic: 't' })))).toBe('OPTION_INVALID')
})

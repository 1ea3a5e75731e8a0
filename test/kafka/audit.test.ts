import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ConfigResourceTypes } from 'kafkajs'
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test } from 'vitest'
import { type KafkaSink, type KafkaSinkOptions, kafkaSink } from '../../src/adapters/kafka/index.ts'
import { codeOf, isRetriable } from '../../src/core/errors.ts'
import { insertInto, jsonLines, events as newEvents, newFolder, run } from '../cli/command.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { errorOf, eventually } from '../tools/reader.ts'
import { adapterClient, testClient } from './fixture.ts'
import { type KafkaNodes, kafkaNodes } from './kafka-nodes.ts'
import { events, SOURCE } from './sink-route.ts'

interface NewTopic {
  readonly replicas?: number
  readonly config?: Readonly<Record<string, string>>
}

/** Makes topics; they are deleted with the test. */
async function makeTopics(brokers: string, topics: Readonly<Record<string, NewTopic>>): Promise<void> {
  const admin = testClient(brokers).admin()
  await admin.connect()
  onTestFinished(async () => {
    await admin.deleteTopics({ topics: Object.keys(topics) })
    await admin.disconnect()
  })
  await admin.createTopics({
    waitForLeaders: false,
    topics: Object.entries(topics).map(([topic, { replicas = 1, config = {} }]) => ({
      topic,
      replicationFactor: replicas,
      configEntries: Object.entries(config).map(([name, value]) => ({ name, value })),
    })),
  })
  for (const topic of Object.keys(topics))
    await eventually(
      () =>
        admin.fetchTopicOffsets(topic).then(
          () => true,
          () => false,
        ),
      30_000,
      topic,
    )
}

/** How many replicas a topic has, and what is set of it. */
async function settingsOf(brokers: string, topic: string): Promise<Record<string, unknown>> {
  const admin = testClient(brokers).admin()
  await admin.connect()
  const [metadata] = (await admin.fetchTopicMetadata({ topics: [topic] })).topics
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }],
  })
  await admin.disconnect()
  const entries = resources[0]?.configEntries.map(({ configName, configValue }) => [configName, configValue]) ?? []
  return {
    ...Object.fromEntries(entries),
    partitions: metadata?.partitions.length,
    replicas: metadata?.partitions[0]?.replicas.length,
  }
}

/** A sink into topics of its own, and what it has noted. */
function sinkInto(
  brokers: string,
  options: Partial<KafkaSinkOptions> & { topic?: string; checkpointTopic?: string } = {},
): { sink: KafkaSink; topic: string; checkpointTopic: string; notes: string[] } {
  const notes: string[] = []
  const names = { topic: fresh('out'), checkpointTopic: fresh('checkpoints') }
  const sink = kafkaSink(adapterClient(brokers), { ...names, note: (text) => void notes.push(text), ...options })
  return { ...names, ...options, sink, notes }
}

const safe = { 'min.insync.replicas': '2' }
const compact = { 'cleanup.policy': 'compact' }

describe('with three brokers', () => {
  let nodes: KafkaNodes
  beforeAll(async () => {
    nodes = await kafkaNodes({ brokers: 3 })
  }, 120_000)
  afterAll(() => nodes[Symbol.asyncDispose]())

  test('topics are created so that a broker may be lost, and then have no risks', async () => {
    const { sink, topic, checkpointTopic, notes } = sinkInto(nodes.url, { strict: true, partitions: 4 })
    await sink.createTopic()
    await nodes.areKnown(topic)
    const writer = await sink.open({ route: 'r', source: SOURCE })
    onTestFinished(() => writer[Symbol.asyncDispose]())
    await writer.append(events(20), '20')
    const both = { 'min.insync.replicas': '2', 'unclean.leader.election.enable': 'false', replicas: 3 }
    expect(await settingsOf(nodes.url, topic)).toMatchObject({ ...both, 'cleanup.policy': 'delete', partitions: 4 })
    expect(await settingsOf(nodes.url, checkpointTopic)).toMatchObject({ ...both, ...compact, partitions: 1 })
    expect([await sink.audit(), notes]).toEqual([[], []])
  })

  test('a topic that is there stays as it is, and its risks are named with setting, value and risk', async () => {
    const { sink, topic, checkpointTopic, notes } = sinkInto(nodes.url)
    await makeTopics(nodes.url, {
      [topic]: { replicas: 1 },
      [checkpointTopic]: { replicas: 3, config: { ...compact, 'unclean.leader.election.enable': 'true' } },
    })
    await nodes.areKnown(topic, checkpointTopic)
    await sink.createTopic()
    expect(await settingsOf(nodes.url, topic)).toMatchObject({ replicas: 1, 'min.insync.replicas': '1' })
    const risks = [
      `the topic ${topic} has one replica, although there are 3 brokers: all that it holds is lost with the disk of one; give it 3 (kafka-reassign-partitions.sh)`,
      expect.stringMatching(
        `^min.insync.replicas of the topic ${checkpointTopic} is 1, with 3 replicas: .* set it to 2$`,
      ),
      expect.stringMatching(
        `^unclean.leader.election.enable of the topic ${checkpointTopic} is true: .* set it to false$`,
      ),
    ]
    expect(await sink.audit()).toEqual(risks)
    expect(notes).toEqual([]) // they are noted when it is opened, and only once
    for (let i = 0; i < 2; i++) await (await sink.open({ route: 'r', source: SOURCE }))[Symbol.asyncDispose]()
    expect(notes).toHaveLength(3)
    expect(notes[0]).toBe(`${sink.name}: ${risks[0]}`)
  })

  test('a strict sink refuses them, and takes nothing over', async () => {
    const { sink, topic, checkpointTopic } = sinkInto(nodes.url)
    await makeTopics(nodes.url, {
      [topic]: { replicas: 3 },
      [checkpointTopic]: { replicas: 3, config: { ...compact, ...safe } },
    })
    await nodes.areKnown(topic, checkpointTopic)
    const writer = await sink.open({ route: 'r', source: SOURCE })
    onTestFinished(() => writer[Symbol.asyncDispose]())
    const { sink: strict } = sinkInto(nodes.url, { topic, checkpointTopic, strict: true })
    const error = await errorOf(strict.open({ route: 'r', source: SOURCE }))
    expect([codeOf(error), isRetriable(error)]).toEqual(['DESTINATION_AT_RISK', false])
    expect(String(error)).toMatch(`min.insync.replicas of the topic ${topic} is 1, with 3 replicas`)
    await writer.append(events(1), '1') // is not fenced
  })
})

describe('with one broker', () => {
  const brokers = inject('servers').kafka.url

  test('a replica is not missed that there can be none of', async () => {
    const { sink, topic, notes } = sinkInto(brokers, { strict: true })
    await sink.createTopic()
    await (await sink.open({ route: 'r', source: SOURCE }))[Symbol.asyncDispose]()
    expect(await settingsOf(brokers, topic)).toMatchObject({ replicas: 1, 'min.insync.replicas': '1', partitions: 1 })
    expect(notes).toEqual([])
  })

  test.each([
    [
      { 'cleanup.policy': 'compact,delete' },
      ['cleanup.policy of the topic OUT is compact,delete: of the events of a key only the last is kept'],
    ],
    [{ 'retention.bytes': '1000000' }, ['retention.bytes of the topic OUT is 1000000: events are deleted as soon as']],
    [{ 'retention.ms': '5400000' }, ['retention.ms of the topic OUT is 5400000: events are deleted after 1.5 h']],
    [{ 'retention.ms': '-1' }, []],
    [{ 'retention.ms': '259200000' }, []],
    [
      { 'cleanup.policy': 'compact', 'retention.ms': '1', 'retention.bytes': '1' },
      ['cleanup.policy of the topic OUT is compact:'],
    ],
  ])('events in a topic with %o', async (config, risks) => {
    const { sink, topic } = sinkInto(brokers)
    await makeTopics(brokers, { [topic]: { config } })
    const found = await sink.audit()
    expect(found.map((risk) => risk.replace(topic, 'OUT'))).toEqual(risks.map((risk) => expect.stringContaining(risk)))
  })

  test.each(['delete', 'compact,delete'])('checkpoints in a topic whose cleanup.policy is %s', async (policy) => {
    const { sink, topic, checkpointTopic } = sinkInto(brokers)
    await makeTopics(brokers, { [topic]: {}, [checkpointTopic]: { config: { 'cleanup.policy': policy } } })
    expect(await sink.audit()).toEqual([
      `cleanup.policy of the topic ${checkpointTopic} is ${policy}: the checkpoint of a route that stands still is deleted; set it to compact`,
    ])
  })
})

describe('at the command line', () => {
  const brokers = inject('servers').kafka.url

  async function route(sink = ''): Promise<{ cwd: string; risk: string }> {
    const [topic, checkpointTopic] = [fresh('out'), fresh('checkpoints')]
    await makeTopics(brokers, { [topic]: { config: { 'retention.bytes': '5000000' } } })
    const cwd = newFolder()
    insertInto(join(cwd, 'shop.db'), 'events', newEvents(5))
    const destination = `url: kafka://${brokers}, topic: ${topic}, checkpointTopic: ${checkpointTopic}${sink}`
    const route = `{ source: { url: sqlite:shop.db }, sink: { ${destination} } }`
    writeFileSync(join(cwd, 'bridge.yaml'), `createTables: true\nroutes:\n  orders: ${route}\n`)
    return { cwd, risk: `retention.bytes of the topic ${topic} is 5000000: ` }
  }

  test('check prints what the audit finds, and run warns of it and goes on', async () => {
    const { cwd, risk } = await route()
    const checked = await run(['check', 'bridge.yaml'], { cwd })
    expect(checked).toMatchObject({ code: 0, stdout: expect.stringContaining(risk) })
    const ran = await run(['run', 'bridge.yaml', '--once'], { cwd })
    expect(ran.code).toBe(0)
    expect(jsonLines(ran.stdout).filter(({ level }) => level === 'warn')).toMatchObject([
      { route: 'orders', msg: expect.stringContaining(risk) },
    ])
    expect(ran.stdout).toContain('5 events forwarded')
  })

  test('with strict: true both refuse', async () => {
    const { cwd, risk } = await route(', strict: true')
    const checked = await run(['check', 'bridge.yaml'], { cwd })
    expect(checked).toMatchObject({ code: 1, stdout: expect.stringContaining(risk) })
    const ran = await run(['run', 'bridge.yaml'], { cwd })
    expect(ran.code).toBe(1)
    expect(jsonLines(ran.stdout).filter(({ level }) => level === 'error')).toMatchObject([
      { code: 'DESTINATION_AT_RISK', msg: expect.stringContaining(risk) },
    ])
  })
})

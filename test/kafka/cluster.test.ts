import { expect, onTestFinished, test } from 'vitest'
import { kafkaPartition } from '../../src/adapters/kafka/index.ts'
import { codeOf, isRetriable } from '../../src/core/errors.ts'
import type { EventStream } from '../../src/core/stream.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { errorOf, eventually, reader } from '../tools/reader.ts'
import { adapterClient, testClient } from './fixture.ts'
import { kafkaNodes } from './kafka-nodes.ts'

const LIMIT_MS = 20_000

test('a cluster whose leaders die or move costs an error in time, and no event', async () => {
  await using nodes = await kafkaNodes({ brokers: 3 })
  const { url } = nodes
  const kafka = testClient(url)
  const [admin, producer] = [kafka.admin(), kafka.producer({ allowAutoTopicCreation: false })]
  await Promise.all([admin.connect(), producer.connect()])
  onTestFinished(async () => {
    await Promise.all([admin.disconnect(), producer.disconnect()])
  })
  const [topic, lone, unclean] = [fresh('replicated'), fresh('lone'), fresh('unclean')]
  /** Undefined while kafkajs finds no leader, or asks a broker that has not heard of the topic. */
  const partitionsOf = async (name: string) =>
    (await admin.fetchTopicMetadata({ topics: [name] }).catch(() => undefined))?.topics[0]?.partitions
  const leaderOf = async (name: string): Promise<number> => (await partitionsOf(name))?.[0]?.leader ?? -1
  const inSync = async (name: string): Promise<number> => (await partitionsOf(name))?.[0]?.isr.length ?? 0
  let sent = 0
  const send = async (count: number): Promise<void> => {
    const messages = Array.from({ length: count }, () => ({ value: String(sent++) }))
    await producer.send({ topic, acks: -1, messages })
  }
  const open = (name: string, after: string): Promise<EventStream> =>
    kafkaPartition(adapterClient(url), { topic: name, partition: 0 }).stream(after, {})
  /** Opens a stream as `supervise` does: after an error that may pass, again. */
  const opened = async (after: string) => {
    let stream: EventStream | undefined
    await eventually(
      async () => {
        stream = await open(topic, after).catch((error) => {
          if (!isRetriable(error)) throw error
          return undefined
        })
        return stream !== undefined
      },
      LIMIT_MS,
      'a leader',
    )
    const reading = reader(stream as EventStream, after)
    onTestFinished(() => reading[Symbol.asyncDispose]())
    return reading
  }
  const seen: string[] = []
  const take = async (from: ReturnType<typeof reader>, count: number): Promise<void> => {
    seen.push(...(await from.take(count)).map(({ metadata }) => String(metadata)))
  }

  await admin.createTopics({
    topics: [
      { topic, replicaAssignment: [{ partition: 0, replicas: [2, 3, 1] }] }, // the first broker is the controller
      { topic: lone, replicaAssignment: [3, 1].map((node, partition) => ({ partition, replicas: [node] })) },
      {
        topic: unclean,
        replicaAssignment: [{ partition: 0, replicas: [2, 3] }],
        configEntries: [{ name: 'unclean.leader.election.enable', value: 'true' }],
      },
    ],
    waitForLeaders: false,
  })
  await eventually(async () => (await inSync(topic)) === 3, LIMIT_MS, 'three replicas')

  // The leader dies under a stream that has more to read.
  await send(20)
  const first = await opened('')
  await take(first, 12)
  const dead = await leaderOf(topic)
  expect(dead).toBe(2)
  const waiting = errorOf(first.take(1000), 5000, 'noticing that the leader is dead')
  await nodes.kill(dead)
  const death = await waiting
  expect([codeOf(death), isRetriable(death)]).toEqual(['KAFKA_CONNECTION', true])

  // What followed is read from another leader, and what comes now.
  const second = await opened(`11@${first.cursor.split('@')[1]}`)
  await eventually(async () => (await leaderOf(topic)) !== dead, LIMIT_MS, 'another leader')
  await send(20)
  await take(second, 28)
  await nodes.start(dead)
  await eventually(async () => (await inSync(topic)) === 3, LIMIT_MS, 'all replicas')

  // The leadership moves while everybody is alive.
  const old = await leaderOf(topic)
  const replicas = [1, 2, 3].filter((node) => node !== old)
  const moving = errorOf(second.take(1000), LIMIT_MS, 'noticing that another broker leads')
  await admin.alterPartitionReassignments({ topics: [{ topic, partitionAssignment: [{ partition: 0, replicas }] }] })
  const moved = await moving
  expect([codeOf(moved), isRetriable(moved)]).toEqual(['KAFKA_NOT_LEADER_OR_FOLLOWER', true])
  await send(5)
  await take(await opened(second.cursor), 5)
  expect(seen).toEqual(Array.from({ length: 45 }, (_, i) => String(i)))

  // A replica that has missed something is made the leader: what was acknowledged is lost.
  const five = Array.from({ length: 5 }, () => ({ value: 'x' }))
  await producer.send({ topic: unclean, messages: five })
  await eventually(async () => (await inSync(unclean)) === 2, LIMIT_MS, 'two replicas')
  await nodes.kill(3)
  await producer.send({ topic: unclean, messages: five })
  const lost = reader(await open(unclean, ''))
  await lost.take(10)
  await nodes.kill(2)
  expect(isRetriable(await errorOf(lost.take(1), 5000))).toBe(true)
  await nodes.start(3)
  await eventually(async () => (await leaderOf(unclean)) === 3, LIMIT_MS, 'the replica that was behind')
  const again = async (): Promise<unknown> => await errorOf(open(unclean, lost.cursor), 5000)
  await eventually(async () => codeOf(await again()) === 'CURSOR_AHEAD', LIMIT_MS, 'its answer')
  expect(await again()).toMatchObject({
    reason: 'beyond',
    cursor: '9',
    message: expect.stringContaining('which is 4.'),
  })

  // The only replica of a partition is gone: that one cannot be read, but the others of its topic can.
  await producer.send({ topic: lone, messages: [{ value: 'there', partition: 1 }] })
  await nodes.kill(3)
  const leaderless = async (): Promise<unknown> => await errorOf(open(lone, ''), 5000)
  await eventually(async () => codeOf(await leaderless()) === 'KAFKA_LEADER_NOT_AVAILABLE', LIMIT_MS, 'no leader')
  const error = await leaderless()
  expect(isRetriable(error)).toBe(true)
  expect(String(error)).toMatch(/LEADER_NOT_AVAILABLE.*none of the brokers that hold the partition/)
  const other = reader(
    await kafkaPartition(adapterClient(url), { topic: lone, partition: 1 }).stream('', { toHead: true }),
  )
  expect((await other.rest()).map(({ metadata }) => String(metadata))).toEqual(['there'])
}, 120_000)

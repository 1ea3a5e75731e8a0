import { Kafka, logLevel } from 'kafkajs'
import { type Event, type EventStream, memoryCursors, run, wireNames } from 'reflex-bridge'
import { kafkaFailFast, kafkaPartition, kafkaSink } from 'reflex-bridge/kafka'
import { startServer } from 'reflex-bridge/testing'
import { COUNT, sampleEvents } from '../events.ts'
import { latency } from '../latency.ts'
import { compare, type Result, rate } from '../measure.ts'

process.env['KAFKAJS_NO_PARTITIONER_WARNING'] = '1'

const PAGE = 1000

/** Kafka: source and run against a bare fetch loop of kafkajs, the sink against its transactions and its idempotent producer, and the latency. */
export async function kafkaCases(): Promise<Result[]> {
  await using stack = new AsyncDisposableStack()
  const server = stack.use(await startServer('kafka'))
  const kafka = new Kafka({ brokers: [server.url], ...kafkaFailFast })
  // What kafkajs needs not to wait for 300 ms after each transaction.
  const retry = { initialRetryTime: 5, maxRetryTime: 50, retries: 50, factor: 0, multiplier: 1.5 }
  const patient = new Kafka({ brokers: [server.url], logLevel: logLevel.NOTHING, retry })
  const admin = patient.admin()
  await admin.connect()
  stack.defer(() => admin.disconnect())
  const events: Event[] = sampleEvents().map((event, i) => ({
    timestamp: 0,
    metadata: null,
    headers: {},
    ...event,
    id: String(i + 1),
  }))
  let round = 0
  const newTopic = async (): Promise<string> => {
    const topic = `bench-${++round}`
    // kafkajs makes one batch of what it is given, however large.
    const configEntries = [{ name: 'max.message.bytes', value: '8388608' }]
    await admin.createTopics({ topics: [{ topic, numPartitions: 1, configEntries }], waitForLeaders: true })
    return topic
  }

  const append = async (topic: string, delivery: 'once' | 'at-least-once', page = PAGE): Promise<void> => {
    await using writer = await kafkaSink(kafka, { topic, delivery }).open({ route: 'bench', source: 'bench' })
    for (let i = 0; i < COUNT; i += page) {
      const batch = events.slice(i, i + page)
      await writer.append(batch, batch.at(-1)?.id ?? '')
    }
  }
  const messagesOf = (part: readonly Event[]) =>
    part.map(({ id, type, foreignId, metadata }) => ({
      key: foreignId,
      value: metadata as Buffer,
      headers: { [wireNames.source]: 'bench', [wireNames.sourceId]: id, [wireNames.type]: String(type) },
    }))

  const [own, foreign] = [await newTopic(), await newTopic()]
  await append(own, 'once')
  const others = patient.producer()
  await others.connect()
  for (let i = 0; i < COUNT; i += PAGE)
    await others.send({
      topic: foreign,
      messages: messagesOf(events.slice(i, i + PAGE)).map(({ key, value }) => ({ key, value })),
    })
  await others.disconnect()
  const results: Result[] = []
  for (const [what, topic] of [
    ['events of ours', own],
    ['records of others', foreign],
  ] as const)
    results.push(
      await compare({
        case: `Kafka source + run, ${what}`,
        unit: 'events/s',
        referenceName: 'bare fetch loop (kafkajs)',
        ours: () => {
          const { stream } = kafkaPartition(kafka, { topic, partition: 0 })
          return rate(COUNT, () =>
            run({ stream, cursors: memoryCursors(), consumer: { name: 'bench', handle: () => {} } }, { toHead: true }),
          )
        },
        reference: () => bareFetch(patient, topic),
      }),
    )
  for (const [delivery, page, name] of [
    ['once', PAGE, 'transactions with a cursor record (kafkajs)'],
    ['once', 5 * PAGE, 'transactions with a cursor record (kafkajs)'],
    ['at-least-once', PAGE, 'idempotent producer with a cursor record (kafkajs)'],
  ] as const) {
    const once = delivery === 'once'
    results.push(
      await compare({
        case: `Kafka sink, ${delivery}, ${page.toLocaleString('en')} at a time`,
        unit: 'events/s',
        referenceName: name,
        ours: async () => {
          const topic = await newTopic()
          return rate(COUNT, () => append(topic, delivery, page))
        },
        reference: async () => {
          const [topic, cursors] = [await newTopic(), await newTopic()]
          const identity = once ? { transactionalId: topic } : {}
          const producer = patient.producer({ idempotent: true, maxInFlightRequests: 1, ...identity })
          await producer.connect()
          const figure = await rate(COUNT, async () => {
            for (let i = 0; i < COUNT; i += page) {
              const messages = messagesOf(events.slice(i, i + page))
              const sender = once ? await producer.transaction() : producer
              await sender.send({ topic, acks: -1, messages })
              await sender.send({ topic: cursors, acks: -1, messages: [{ key: 'bench', value: String(i) }] })
              if ('commit' in sender) await sender.commit()
            }
          })
          await producer.disconnect()
          return figure
        },
      }),
    )
  }

  const producer = patient.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  stack.defer(() => producer.disconnect())
  const made = new Map<string, Promise<unknown>>()
  const topicOf = (topic: string): Promise<unknown> => {
    const creating = made.get(topic) ?? admin.createTopics({ topics: [{ topic }], waitForLeaders: true })
    made.set(topic, creating)
    return creating
  }
  results.push(
    ...(await latency('Kafka send → handler', {
      referenceName: 'bare fetch loop (kafkajs)',
      write: async (topic) => {
        await topicOf(topic)
        await producer.send({ topic, acks: -1, messages: [{ value: 'x' }] })
      },
      open: async (topic): Promise<EventStream> => {
        await topicOf(topic)
        return kafkaPartition(kafka, { topic, partition: 0 }).stream('', {})
      },
      bare: async (topic, onEvent, signal) => {
        await topicOf(topic)
        const { cluster, fetch } = await fetcher(patient, topic)
        let offset = 0n
        while (!signal.aborted) {
          for (const message of await fetch(offset, 200)) {
            offset = BigInt(message.offset) + 1n
            onEvent()
          }
        }
        await cluster.disconnect()
      },
    })),
  )
  return results
}

/** `Cluster` of kafkajs, as far as it is used. */
interface BareCluster {
  connect(): Promise<void>
  disconnect(): Promise<void>
  addTargetTopic(topic: string): Promise<void>
  findBroker(o: { nodeId: string }): Promise<{
    fetch(o: object): Promise<{ responses: { partitions: { messages: BareMessage[] }[] }[] }>
  }>
  findLeaderForPartitions(topic: string, partitions: number[]): Record<string, number[]>
  fetchTopicsOffset(topics: object[]): Promise<{ partitions: { offset: string }[] }[]>
}

interface BareMessage {
  readonly offset: string
  readonly isControlRecord?: boolean
  readonly batchContext?: { readonly firstOffset: string; readonly lastOffsetDelta: number }
}

interface BareFetcher {
  readonly cluster: BareCluster
  fetch(offset: bigint, maxWaitTime?: number): Promise<BareMessage[]>
}

/** The cluster behind a consumer of kafkajs that joins no group, and its fetch from partition 0. */
export async function fetcher(kafka: Kafka, topic: string): Promise<BareFetcher> {
  let found: unknown
  kafka.consumer({
    groupId: 'bench',
    partitionAssigners: [
      ({ cluster }) => {
        found = cluster
        return {} as never
      },
    ],
  })
  const cluster = found as BareCluster
  await cluster.connect()
  await cluster.addTargetTopic(topic)
  const [leader = ''] = Object.keys(cluster.findLeaderForPartitions(topic, [0]))
  const broker = await cluster.findBroker({ nodeId: leader })
  const fetch = async (offset: bigint, maxWaitTime = 500) => {
    const maxBytes = 1024 * 1024
    const topics = [{ topic, partitions: [{ partition: 0, fetchOffset: String(offset), maxBytes }] }]
    const { responses } = await broker.fetch({ maxWaitTime, minBytes: 1, maxBytes, isolationLevel: 1, topics })
    return responses[0]?.partitions[0]?.messages ?? []
  }
  return { cluster, fetch }
}

/** Every message once, to a handler that does nothing. What was aborted would come as well. */
async function bareFetch(kafka: Kafka, topic: string): Promise<number> {
  let handled = 0
  const handle = (message: object): void => {
    if (message !== undefined) handled++
  }
  const figure = await rate(COUNT, async () => {
    const { cluster, fetch } = await fetcher(kafka, topic)
    const [offsets] = await cluster.fetchTopicsOffset([{ topic, partitions: [{ partition: 0 }], fromBeginning: false }])
    const end = BigInt(offsets?.partitions[0]?.offset ?? 0)
    for (let offset = 0n; offset < end; ) {
      const messages = await fetch(offset)
      for (const message of messages) if (!message.isControlRecord && BigInt(message.offset) >= offset) handle(message)
      const last = messages.at(-1)?.batchContext
      if (last !== undefined) offset = BigInt(last.firstOffset) + BigInt(last.lastOffsetDelta) + 1n
    }
    await cluster.disconnect()
  })
  if (handled !== COUNT) throw new Error(`the bare loop has read ${handled} messages of ${COUNT}`)
  return figure
}

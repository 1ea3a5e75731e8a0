import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Kafka, type Message } from 'kafkajs'
import { decodeRecord, encodeRecord } from '../../src/adapters/kafka/codec.ts'
import { kafkaFailFast, kafkaPartition, kafkaSink } from '../../src/adapters/kafka/index.ts'
import { connectKafka } from '../../src/adapters/kafka/kafka-connection.ts'
import { partitionBatches } from '../../src/adapters/kafka/partition-batches.ts'
import { partitionOf } from '../../src/adapters/kafka/partition-log.ts'
import type { Event, NewEvent } from '../../src/core/event.ts'
import { wireNames } from '../../src/core/wire.ts'
import type { Address } from '../../src/testing/servers/index.ts'
import type { SinkSubject } from '../../src/testing/sink/sink-subject.ts'
import type { SourceSubject } from '../../src/testing/source/source-subject.ts'
import { type AdapterSubjects, type ServerFaults, type SubjectServer, serverFaults } from './adapter-subjects.ts'
import { type FreshTopic, freshTopics } from './kafka-topics.ts'

process.env['KAFKAJS_NO_PARTITIONER_WARNING'] = '1'

/** kafkajs's `ConfigResourceTypes.TOPIC`, which Node finds only in its default export. */
const TOPIC = 2

/** A broker that was silent for too long leads nothing for a moment, which begins only once it speaks again. */
const TAKEN_IN_MS = 1000

/** The client that is handed to an adapter. A broker tells clients its own address: `via` leads them elsewhere all the same. */
export function kafkaAdapterClient(brokers: string, via?: Address): Kafka {
  const socketFactory = via && {
    socketFactory: ({ onConnect }: { onConnect: () => void }) => connect({ host: via.host, port: via.port }, onConnect),
  }
  return new Kafka({ brokers: brokers.split(','), ...kafkaFailFast, ...socketFactory })
}

/** A client of the tests' own, which tries again. */
export function kafkaTestClient(brokers: string): Kafka {
  return new Kafka({
    brokers: brokers.split(','),
    logLevel: 0,
    retry: { initialRetryTime: 50, retries: 20, maxRetryTime: 500 },
  })
}

/** Topics of one partition, and routes into them. */
export async function kafkaSubjects(server: SubjectServer): Promise<AdapterSubjects> {
  const own = await serverFaults(server)
  const topics = freshTopics(() => kafkaTestClient(server.url))
  const client = (): Kafka => kafkaAdapterClient(server.url, own)
  const faults = (topic: FreshTopic): Partial<ServerFaults['faults'] & Pick<SourceSubject, 'freeze'>> =>
    own === undefined
      ? {}
      : {
          ...own.faults,
          restart: async () => {
            await own.faults.restart()
            await topic.isThere()
          },
          freeze: async () => {
            const thaw = await own.faults.freeze()
            return async () => {
              thaw()
              await topic.isThere({ forMs: TAKEN_IN_MS })
            }
          },
        }

  async function source(): Promise<SourceSubject> {
    const topic = await topics.take()
    const { name, admin } = topic
    return {
      source: kafkaPartition(client(), { topic: name, partition: 0, batchSize: 3 }),
      append: async (events) => {
        const first = events.length === 0 ? 0n : await topic.send(events.map(recordOf))
        return events.map((_, i) => String(first + BigInt(i)))
      },
      trim: async (id) => {
        await topic.isThere() // kafkajs must have heard of it
        await admin.deleteTopicRecords({ topic: name, partitions: [{ partition: 0, offset: id }] })
      },
      recreate: topic.recreate,
      corrupt: async () => void (await topic.send([{ value: '', headers: { [wireNames.type]: Buffer.of(0xff) } }])),
      malformed: ['abc', '-2', '1-0', '01', '+1', '1.5', '9223372036854775808', ' 1', '@', '1@'],
      ...faults(topic),
      [Symbol.asyncDispose]: topic[Symbol.asyncDispose],
    }
  }

  /** Into one topic, or by the entity into several. */
  async function sink(delivery: 'once' | 'at-least-once', count = 1): Promise<SinkSubject> {
    const topic = await topics.take()
    const all = [topic]
    while (all.length < count) all.push(await topics.take())
    const names = all.map(({ name }) => name)
    const of = ({ foreignId }: Event): string => names[foreignId.charCodeAt(foreignId.length - 1) % count] as string
    const { name, admin } = topic
    const where = count === 1 ? { topic: name } : { topic: { name: `all of ${name}`, of }, topics: names }
    const setLargest = (value: string): Promise<void> => each(names, (name) => setLargestOf(name, value))
    const setLargestOf = async (name: string, value: string): Promise<void> => {
      const resource = { type: TOPIC, name, configEntries: [{ name: 'max.message.bytes', value }] }
      await admin.alterConfigs({ validateOnly: false, resources: [resource] })
      // The controller has taken it; the broker hears of it a little later.
      const asked = { includeSynonyms: false, resources: [{ type: TOPIC, name, configNames: ['max.message.bytes'] }] }
      const isHeard = async (): Promise<boolean> =>
        (await admin.describeConfigs(asked)).resources[0]?.configEntries[0]?.configValue === value
      while (!(await isHeard())) await sleep(5)
    }
    return {
      sink: () => kafkaSink(client(), { ...where, delivery }),
      read: async () => {
        const events = names.map((each) => committedEvents(kafkaAdapterClient(server.url), each))
        return (await Promise.all(events)).flat()
      },
      ordered: count === 1 ? 'all' : 'by foreignId',
      delivery: delivery === 'once' ? 'effectively-once' : delivery,
      wipe: () => each(all, ({ recreate }) => recreate()),
      refuse: async () => {
        // Less than any event; but where there are transactions, no less than the record that ends one.
        await setLargest(delivery === 'once' ? '150' : '10')
        return () => setLargest('1048588')
      },
      oversize: 1024 * 1024,
      foreign: async () => void (await topic.send([{ value: 'by others' }])),
      ...faults(topic),
      [Symbol.asyncDispose]: () => each(all, (one) => one[Symbol.asyncDispose]()),
    }
  }

  return {
    sources: { kafkaPartition: source },
    sinks: {
      kafkaSink: () => sink('once'),
      'kafkaSink, at least once': () => sink('at-least-once'),
      'kafkaSink, three topics': () => sink('once', 3),
    },
    stores: {},
    [Symbol.asyncDispose]: async () => {
      await topics[Symbol.asyncDispose]()
      await own?.[Symbol.asyncDispose]()
    },
  }
}

async function each<T>(all: readonly T[], work: (one: T) => PromiseLike<void>): Promise<void> {
  for (const one of all) await work(one)
}

/** The record of an event as `kafkaSink` writes it, but with the event's own time. */
function recordOf(event: NewEvent): Message {
  const whole: Event = { id: '0', timestamp: Date.now(), metadata: null, headers: {}, ...event }
  const { key, value, headers: fields } = encodeRecord(whole, 'suite')
  const headers: Record<string, string[]> = Object.create(null)
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string
    headers[name] ??= []
    headers[name].push(fields[i + 1] as string)
  }
  const time = Math.floor(whole.timestamp)
  const times = time >= 0 && time <= Date.now() ? { timestamp: String(time) } : {}
  return { key, value: value && Buffer.from(value), headers: { ...headers }, ...times }
}

/** The events of a partition, once no transaction is open: what was committed may be seen a moment later. */
export async function committedEvents(kafka: Kafka, topic: string, partition = 0): Promise<Event[]> {
  await using connection = await connectKafka(kafka, { log: topic, topic })
  const at = { log: topic, topic, partition }
  const all = await partitionOf(connection, { ...at, isolation: 'all' })
  const committed = await partitionOf(connection, at)
  const end = (await all.bounds()).high
  let { low, high } = await committed.bounds()
  for (const deadline = Date.now() + 15_000; high < end; high = (await committed.bounds()).high) {
    if (Date.now() > deadline) throw new Error(`${topic}/${partition}: a transaction has been open for 15 s`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  const events: Event[] = []
  const reading = { ...at, from: low, proven: false, end, batchSize: 1000, batchBytes: 8 << 20, types: undefined }
  for await (const batch of partitionBatches(committed, { ...reading, toEvent: decodeRecord }))
    events.push(...batch.events)
  return events
}

import { jetstream } from '@nats-io/jetstream'
import { connect, headers } from '@nats-io/transport-node'
import { Redis } from 'ioredis'
import { Kafka, logLevel } from 'kafkajs'
import { wireNames } from 'reflex-bridge'
import { ensureStream, jetstreamFailFast, jetstreamPublisher } from 'reflex-bridge/jetstream'
import { kafkaFailFast, kafkaPublisher } from 'reflex-bridge/kafka'
import { bytesCodec, headerNames, publisher } from 'reflex-bridge/pubsub'
import { redisFailFast, redisPublisher } from 'reflex-bridge/redis'
import { startServer } from 'reflex-bridge/testing'
import { COUNT, sampleEvents } from '../events.ts'
import { compare, type Result, rate } from '../measure.ts'

process.env['KAFKAJS_NO_PARTITIONER_WARNING'] = '1'

/** So many publishes are under way at any time, each by a caller who waits for its own answer. */
const CALLERS = 1000

/** A message as both sides send it: the bare clients are given what a publisher writes. */
interface Sample {
  readonly foreignId: string
  readonly data: Buffer
  readonly fields: Readonly<Record<string, string>>
}

/** Publishing single events by many at once, into each broker, against the same messages sent by the bare client in its own way. */
export async function publishCases(): Promise<Result[]> {
  const samples = sampleEvents().map(({ foreignId, metadata }): Sample => {
    const fields = {
      [wireNames.source]: 'bench',
      [wireNames.sourceId]: crypto.randomUUID(),
      [wireNames.type]: '1',
      [wireNames.foreignId]: foreignId,
      [wireNames.timestamp]: '2026-11-26T10:36:25.123000Z',
      [headerNames.encoding]: 'bytes',
      [headerNames.client]: 'bench',
    }
    return { foreignId, data: metadata as Buffer, fields }
  })
  const ours = (to: Parameters<typeof publisher>[0]['to']): Promise<number> => {
    const { publish } = publisher({ to, client: 'bench' })
    return byMany(samples, ({ foreignId, data }) => publish({ type: 1, foreignId, codec: bytesCodec, data }))
  }
  return [await kafkaCase(samples, ours), await jetstreamCase(samples, ours), await redisCase(samples, ours)]
}

type Ours = (to: Parameters<typeof publisher>[0]['to']) => Promise<number>

/** Events a second, of callers each of whom sends the next one when the last is confirmed. */
async function byMany(samples: readonly Sample[], send: (sample: Sample) => Promise<unknown>): Promise<number> {
  let next = 0
  const caller = async (): Promise<void> => {
    for (let sample = samples[next++]; sample !== undefined; sample = samples[next++]) await send(sample)
  }
  return await rate(COUNT, () => Promise.all(Array.from({ length: CALLERS }, caller)))
}

async function kafkaCase(samples: readonly Sample[], ours: Ours): Promise<Result> {
  await using stack = new AsyncDisposableStack()
  const server = stack.use(await startServer('kafka'))
  const kafka = new Kafka({ brokers: [server.url], ...kafkaFailFast })
  const patient = new Kafka({ brokers: [server.url], logLevel: logLevel.NOTHING })
  const admin = patient.admin()
  await admin.connect()
  stack.defer(() => admin.disconnect())
  const producer = patient.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  stack.defer(() => producer.disconnect())
  let round = 0
  const newTopic = async (): Promise<string> => {
    const topic = `bench-${++round}`
    const configEntries = [{ name: 'max.message.bytes', value: '8388608' }]
    await admin.createTopics({ topics: [{ topic, numPartitions: 1, configEntries }], waitForLeaders: true })
    return topic
  }
  return await compare({
    case: `Kafka, ${CALLERS.toLocaleString('en')} publishes at once`,
    unit: 'events/s',
    // One message at a time it has no batches of its own: this is what its documentation says to do.
    referenceName: `send() of ${CALLERS.toLocaleString('en')} messages each (kafkajs)`,
    ours: async () => ours(kafkaPublisher(kafka, { topic: await newTopic() })),
    reference: async () => {
      const topic = await newTopic()
      return await rate(COUNT, async () => {
        for (let i = 0; i < COUNT; i += CALLERS) {
          const messages = samples
            .slice(i, i + CALLERS)
            .map(({ foreignId, data, fields }) => ({ key: foreignId, value: data, headers: { ...fields } }))
          await producer.send({ topic, acks: -1, messages })
        }
      })
    },
  })
}

async function jetstreamCase(samples: readonly Sample[], ours: Ours): Promise<Result> {
  await using server = await startServer('nats')
  const fresh = async (stream: string): Promise<string> => {
    await ensureStream({
      connect: () => connect({ servers: server.url, ...jetstreamFailFast }),
      stream,
      subjects: [`${stream}.>`],
    })
    return stream
  }
  const connection = await connect({ servers: server.url })
  await using _ = { [Symbol.asyncDispose]: () => connection.close() }
  const client = jetstream(connection)
  let round = 0
  return await compare({
    case: `JetStream, ${CALLERS.toLocaleString('en')} publishes at once`,
    unit: 'events/s',
    referenceName: 'publish() by as many callers (@nats-io/jetstream)',
    ours: async () => {
      const stream = await fresh(`bench${++round}`)
      return ours(
        jetstreamPublisher({
          connect: () => connect({ servers: server.url, ...jetstreamFailFast }),
          stream,
          subject: stream,
        }),
      )
    },
    reference: async () => {
      const stream = await fresh(`bench${++round}`)
      return await byMany(samples, ({ data, fields }) => {
        const own = headers()
        for (const [name, value] of Object.entries(fields)) own.set(name, value)
        return client.publish(`${stream}.1`, data, { headers: own })
      })
    },
  })
}

async function redisCase(samples: readonly Sample[], ours: Ours): Promise<Result> {
  await using server = await startServer('redis')
  const redis = new Redis(server.url, { ...redisFailFast })
  using _ = { [Symbol.dispose]: () => redis.disconnect() }
  let round = 0
  return await compare({
    case: `Redis, ${CALLERS.toLocaleString('en')} publishes at once`,
    unit: 'events/s',
    referenceName: 'xadd() by as many callers (ioredis)',
    ours: async () => {
      await redis.flushdb()
      return ours(redisPublisher(redis, { key: `bench-${++round}` }))
    },
    reference: async () => {
      await redis.flushdb()
      const key = `bench-${++round}`
      return await byMany(samples, ({ data, fields }) =>
        redis.xadd(key, '*', ...(Object.entries(fields).flat() as [string, string]), 'metadata', data),
      )
    },
  })
}

import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect, headers } from '@nats-io/transport-node'
import { type Event, type EventStream, memoryCursors, run, wireNames } from 'reflex-bridge'
import { jetstreamFailFast, jetstreamSink, jetstreamSource } from 'reflex-bridge/jetstream'
import { startServer } from 'reflex-bridge/testing'
import { COUNT, sampleEvents } from '../events.ts'
import { latency } from '../latency.ts'
import { compare, type Result, rate } from '../measure.ts'

const PAGE = 1000
/** Of what goes message by message, a fifth is enough. */
const SOME = COUNT / 5

/** JetStream: source and run against bare consume loops, the sink against bare atomic batches, and the latency. */
export async function jetstreamCases(): Promise<Result[]> {
  await using stack = new AsyncDisposableStack()
  const server = stack.use(await startServer('nats'))
  const nats = await connect({ servers: server.url })
  stack.defer(() => nats.close())
  const manager = await jetstreamManager(nats)
  const client = jetstream(nats)
  const connectOnce = () => connect({ servers: server.url, ...jetstreamFailFast })
  const events: Event[] = sampleEvents().map((event, i) => ({
    timestamp: 0,
    metadata: null,
    headers: {},
    ...event,
    id: String(i + 1),
  }))
  let round = 0
  const newStream = async (name = `bench-${++round}`, { atomic = true } = {}): Promise<string> => {
    await manager.streams.add({ name, subjects: [`${name}.>`], allow_atomic: atomic })
    return name
  }
  const append = async (stream: string, count = COUNT): Promise<void> => {
    const sink = jetstreamSink({ connect: connectOnce, stream, subject: stream })
    await using writer = await sink.open({ route: 'bench', source: 'bench' })
    for (let i = 0; i < count; i += PAGE) {
      const batch = events.slice(i, i + PAGE)
      await writer.append(batch, batch.at(-1)?.id ?? '')
    }
  }
  /** The headers that the sink writes. */
  const headersOf = ({ id, type, foreignId }: Event) => {
    const fields = headers()
    fields.set(wireNames.source, 'bench')
    fields.set(wireNames.sourceId, id)
    fields.set(wireNames.type, String(type))
    fields.set(wireNames.foreignId, foreignId)
    fields.set(wireNames.timestamp, '2026-11-23T10:36:25.123456Z')
    return fields
  }
  const publishBare = async (stream: string) => {
    let last = 0
    for (let i = 0; i < COUNT; i += PAGE) {
      const [first, ...rest] = events.slice(i, i + PAGE) as [Event, ...Event[]]
      const message = (event: Event) => [`${stream}.1`, event.metadata ?? '', { headers: headersOf(event) }] as const
      const [subject, payload, options] = message(first)
      const batch = await client.startBatch(subject, payload, { ...options, expect: { lastSequence: last } })
      for (const event of rest.slice(0, -1)) batch.add(...message(event))
      last = (await batch.commit(...message(rest.at(-1) as Event))).seq
    }
  }
  /** As fast as the client can without a hole: each message is bound to the one before it, and many are in flight. */
  const publishChain = async (stream: string) => {
    const inFlight: Promise<unknown>[] = []
    for (const [i, event] of events.slice(0, SOME).entries()) {
      const previous = i === 0 ? {} : { expect: { lastMsgID: String(i) } }
      const options = { headers: headersOf(event), msgID: event.id, ...previous }
      inFlight.push(client.publish(`${stream}.1`, event.metadata ?? '', options))
      if (inFlight.length === 1000) await inFlight.shift()
    }
    await Promise.all(inFlight)
  }
  /** Appends to a fresh stream with the sink. */
  const appendRate = async (atomic: boolean, count = SOME): Promise<number> => {
    const stream = await newStream(undefined, { atomic })
    return rate(count, () => append(stream, count))
  }
  const consumeBare = async (stream: string, look: (fields: { get(name: string): string } | undefined) => void) => {
    const consumer = await client.consumers.get(stream)
    const messages = await consumer.consume({ max_messages: 8000 })
    let left = COUNT
    for await (const { headers } of messages) {
      look(headers)
      if (--left === 0) return
    }
  }

  const ofOurs = await newStream()
  await append(ofOurs)
  const ofOthers = await newStream()
  for (let i = 0; i < COUNT; i += PAGE)
    await Promise.all(events.slice(i, i + PAGE).map(({ metadata }) => client.publish(`${ofOthers}.1`, metadata ?? '')))
  const results: Result[] = []
  for (const [what, stream, look, referenceName] of [
    ['messages without headers', ofOthers, () => {}, 'bare consume loop (@nats-io/jetstream)'],
    ['events of ours', ofOurs, (fields) => fields?.get(wireNames.sourceId), 'bare consume loop that reads one header'],
  ] as [string, string, Parameters<typeof consumeBare>[1], string][]) {
    results.push(
      await compare({
        case: `JetStream source + run, ${what}`,
        unit: 'events/s',
        referenceName,
        ours: () => {
          const source = jetstreamSource({ connect: connectOnce, stream })
          const spec = {
            stream: source.stream,
            cursors: memoryCursors(),
            consumer: { name: 'bench', handle: () => {} },
          }
          return rate(COUNT, () => run(spec, { toHead: true }))
        },
        reference: () => rate(COUNT, () => consumeBare(stream, look)),
      }),
    )
  }
  results.push(
    await compare({
      case: 'JetStream sink, atomic batches',
      unit: 'events/s',
      referenceName: 'bare atomic batches (@nats-io/jetstream)',
      ours: () => appendRate(true, COUNT),
      reference: async () => {
        const stream = await newStream()
        return rate(COUNT, () => publishBare(stream))
      },
    }),
    await compare({
      case: 'JetStream sink, message by message',
      unit: 'events/s',
      referenceName: 'bare chain of message ids, 1,000 in flight',
      ours: () => appendRate(false),
      reference: async () => {
        const stream = await newStream(undefined, { atomic: false })
        return rate(SOME, () => publishChain(stream))
      },
    }),
    await compare({
      case: 'JetStream sink, atomic batches',
      unit: 'events/s',
      referenceName: 'the sink message by message',
      ours: () => appendRate(true),
      reference: () => appendRate(false),
    }),
    ...(await latency('JetStream publish → handler', {
      referenceName: 'bare consume (@nats-io/jetstream)',
      write: async (stream) => {
        await newStream(stream)
        await client.publish(`${stream}.1`, 'x')
      },
      open: async (stream): Promise<EventStream> => {
        await newStream(stream)
        return jetstreamSource({ connect: connectOnce, stream }).stream('', {})
      },
      bare: async (stream, onEvent, signal) => {
        await newStream(stream)
        const messages = await (await client.consumers.get(stream)).consume()
        signal.addEventListener('abort', () => messages.stop())
        for await (const _ of messages) onEvent()
      },
    })),
  )
  return results
}

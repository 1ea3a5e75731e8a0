import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect, headers } from '@nats-io/transport-node'
import { wireNames } from 'reflex-bridge'
import { jetstreamFailFast, jetstreamSink, jetstreamSource } from 'reflex-bridge/jetstream'
import type { Destination, Row } from '../destination.ts'

/** A stream, with a subject for each type of event. The bare client publishes a page as one atomic batch behind the last one. */
export const jetstreamDestination: Destination = {
  server: 'nats',
  title: 'JetStream',
  referenceName: 'bare select, atomic batches (@nats-io/jetstream)',
  open: async (url) => {
    const connection = await connect({ servers: url })
    const manager = await jetstreamManager(connection)
    const client = jetstream(connection)
    return {
      create: async (log) => {
        await manager.streams.add({ name: log, subjects: [`${log}.>`], allow_atomic: true })
      },
      sink: (log) =>
        jetstreamSink({ connect: () => connect({ servers: url, ...jetstreamFailFast }), stream: log, subject: log }),
      source: (log) => jetstreamSource({ connect: () => connect({ servers: url, ...jetstreamFailFast }), stream: log }),
      config: (log) => ({ url, stream: log, subject: log }),
      publisher: async (log) => {
        const subject = `${log}.1` // all of the events that are measured have this type
        let last = 0
        return async (page) => {
          const messages = page.map(message)
          const [first, ...rest] = messages as [Message, ...Message[]]
          if (rest.length === 0) {
            const expect = { lastSubjectSequence: last }
            last = (await client.publish(subject, first.payload, { headers: first.headers, expect })).seq
            return
          }
          const options = { headers: first.headers, expect: { lastSubjectSequence: last } }
          const batch = await client.startBatch(subject, first.payload, options)
          for (const { payload, headers } of rest.slice(0, -1)) batch.add(subject, payload, { headers })
          const end = rest.at(-1) as Message
          last = (await batch.commit(subject, end.payload, { headers: end.headers })).seq
        }
      },
      [Symbol.asyncDispose]: () => connection.close(),
    }
  },
}

interface Message {
  readonly payload: Buffer
  readonly headers: ReturnType<typeof headers>
}

function message({ id, foreign_id, type, timestamp, metadata }: Row): Message {
  const fields = headers()
  fields.set(wireNames.source, 'bench')
  fields.set(wireNames.sourceId, id)
  fields.set(wireNames.type, String(type))
  fields.set(wireNames.foreignId, foreign_id)
  fields.set(wireNames.timestamp, timestamp)
  return { payload: metadata ?? Buffer.alloc(0), headers: fields }
}

import { jetstreamFailFast, jetstreamSource } from '../../../adapters/jetstream/index.ts'
import { decodeHeaderText, wireNames } from '../../../core/index.ts'
import { importClient } from '../../../service/config/import-client.ts'
import type { Broker } from '../broker.ts'
import type { AuditEntry } from '../stage.ts'

/** A JetStream stream, with a subject for each type of event. */
export const jetstreamBroker: Broker = {
  name: 'jetstream',
  server: 'nats',
  variable: 'NATS_URL',
  title: 'NATS JetStream',
  open: async ({ url }, { run: stream, stack }) => {
    const { connect } = await importClient('@nats-io/transport-node', () => import('@nats-io/transport-node'))
    const { jetstream, jetstreamManager } = await importClient('@nats-io/jetstream', () => import('@nats-io/jetstream'))
    type Connection = Awaited<ReturnType<typeof connect>>
    const connected = async <T>(work: (connection: Connection) => Promise<T>): Promise<T> => {
      const connection = await connect({ servers: url })
      try {
        return await work(connection)
      } finally {
        await connection.close()
      }
    }
    await connected(async (connection) => {
      const manager = await jetstreamManager(connection)
      await manager.streams.add({ name: stream, subjects: [`${stream}.>`], allow_atomic: true })
    })
    stack.defer(() => connected(async (connection) => (await jetstreamManager(connection)).streams.delete(stream)))

    async function* entries(): AsyncGenerator<AuditEntry> {
      const connection = await connect({ servers: url })
      try {
        const { state } = await (await jetstreamManager(connection)).streams.info(stream)
        if (state.messages === 0) return
        const consumer = await jetstream(connection).consumers.get(stream) // an ordered one, from the first message
        const messages = await consumer.consume({ max_messages: 1000 })
        for await (const { headers, seq } of messages) {
          const text = (name: string): string => decodeHeaderText(headers?.get(name) ?? '')
          yield { sourceId: text(wireNames.sourceId), orderId: text(wireNames.foreignId) }
          if (seq === state.last_seq) return
        }
      } finally {
        await connection.close()
      }
    }
    return {
      sink: { url, stream, subject: stream },
      source: jetstreamSource({ connect: () => connect({ servers: url, ...jetstreamFailFast }), stream }),
      entries,
    }
  },
}

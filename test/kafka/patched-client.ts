import type { KafkaClient } from '../../src/adapters/kafka/kafka-client.ts'
import { adapterClient } from './fixture.ts'

/** A request of ours, or of kafkajs, as its connections send it. */
export interface SentRequest {
  readonly request: { readonly apiName: string; readonly apiVersion: number }
  readonly response: { decode(payload: Buffer): Promise<unknown>; parse(data: unknown): Promise<unknown> }
}

interface Connection {
  send(request: SentRequest): Promise<unknown>
}

interface Cluster {
  readonly brokerPool: { readonly connectionPoolBuilder: { build(o: object): Promise<{ pool: Connection[] }> } }
}

/** A Kafka of the adapter's each of whose requests goes through `change`, which may answer with another one. */
export function patchedClient(change: (request: SentRequest) => SentRequest | undefined): KafkaClient {
  const kafka = adapterClient()
  const patch = ({ brokerPool: { connectionPoolBuilder: builder } }: Cluster): void => {
    const { build } = builder
    builder.build = async (o) => {
      const made = await build.call(builder, o)
      for (const connection of made.pool) {
        const { send } = connection
        connection.send = (request) => send.call(connection, change(request) ?? request)
      }
      return made
    }
  }
  const consumer: KafkaClient['consumer'] = ({ partitionAssigners, ...options }) =>
    (kafka as KafkaClient).consumer({
      ...options,
      partitionAssigners: partitionAssigners.map((assigner) => (context) => {
        patch(context.cluster as Cluster)
        return assigner(context)
      }),
    })
  return Object.assign(Object.create(kafka), kafka, { consumer })
}

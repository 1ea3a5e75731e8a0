import { inject } from 'vitest'
import type { ConnectNats } from '../../src/adapters/jetstream/index.ts'
import type { NewEvent } from '../../src/core/event.ts'
import { type Server, type StartServerOptions, startServer } from '../../src/testing/servers/index.ts'
import { messageOf, natsClients } from '../subjects/jetstream.ts'
import { type NatsAdmin, natsAdmin } from '../subjects/nats-admin.ts'
import { onTestFinished } from '../tools/on-test-finished.ts'

export type ClientName = keyof typeof natsClients
/** The clients that the adapter works with. */
export const clientNames = Object.keys(natsClients) as ClientName[]

/** What is handed to an adapter. */
export function connector(
  client: ClientName,
  url: string = inject('servers').nats.url,
  options: object = {},
): ConnectNats {
  return natsClients[client](url, options)
}

/** A server whose process the test controls. */
export async function ownServer(options: StartServerOptions = {}): Promise<Server & Required<Pick<Server, 'process'>>> {
  const server = await startServer('nats', { from: ['native'], ...options })
  onTestFinished(() => server[Symbol.asyncDispose]())
  return server as Server & Required<Pick<Server, 'process'>>
}

/** An admin that ends with the test. */
export async function testAdmin(url: string = inject('servers').nats.url, options: object = {}): Promise<NatsAdmin> {
  const admin = await natsAdmin(url, options)
  onTestFinished(() => admin[Symbol.asyncDispose]())
  return admin
}

/** Appends as `jetstreamSink` writes; resolves with the sequences. */
export async function appendTo(admin: NatsAdmin, stream: string, events: readonly NewEvent[]): Promise<string[]> {
  const messages = events.map((event) => messageOf(event, stream))
  return await Promise.all(messages.map(({ subject, data, headers }) => admin.publish(subject, data, headers)))
}

import type { TestProject } from 'vitest/node'
import {
  commandLineClient,
  type Server,
  type ServerName,
  type ServerOrigin,
  startServers,
} from '../src/testing/servers/index.ts'

/** The servers started once per run and shared by all test files. */
export const sharedServers: readonly ServerName[] = ['redis', 'mysql', 'nats', 'kafka']

/** What a test file gets of a shared server: `inject('servers').redis.url`. A test that needs faults starts its own. */
export interface SharedServer {
  readonly name: ServerName
  readonly version: string
  readonly url: string
  readonly host: string
  readonly port: number
  readonly origin: ServerOrigin
  /** argv prefixes by tool: `redis-cli`, `mysql`, and Kafka's main classes. */
  readonly cli: Readonly<Record<string, readonly string[]>>
}

declare module 'vitest' {
  export interface ProvidedContext {
    servers: Readonly<Record<ServerName, SharedServer>>
  }
}

const tools: Readonly<Record<ServerName, readonly string[]>> = {
  redis: ['redis-cli'],
  mysql: ['mysql'],
  nats: [],
  kafka: [
    ...['TopicCommand', 'ConsoleProducer', 'consumer.ConsoleConsumer', 'GetOffsetShell'].map(
      (name) => `org.apache.kafka.tools.${name}`,
    ),
    'test/kafka/TransactionalProducers.java', // in place of a main class, Java takes a source and compiles it
  ],
}

/** vitest globalSetup: starts {@link sharedServers} in parallel, provides their addresses, and ends them after the run. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const servers = await startServers(sharedServers)
  project.provide('servers', {
    redis: await serializable(servers.redis),
    mysql: await serializable(servers.mysql),
    nats: await serializable(servers.nats),
    kafka: await serializable(servers.kafka),
  })
  return async () => {
    await servers[Symbol.asyncDispose]()
  }
}

async function serializable(server: Server): Promise<SharedServer> {
  const { name, version, url, host, port, origin } = server
  const cli: Record<string, readonly string[]> = {}
  for (const tool of tools[name]) cli[tool] = server.cli(tool) ?? (await commandLineClient(name, tool))
  return { name, version, url, host, port, origin, cli }
}

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import { inject } from 'vitest'
import { redisFailFast } from '../../src/adapters/redis/index.ts'
import type { Server, StartServerOptions } from '../../src/testing/servers/index.ts'
import { startServer } from '../../src/testing/servers/index.ts'
import { clientsOf } from '../subjects/redis.ts'
import { onTestFinished } from '../tools/on-test-finished.ts'

/** A test's own client, which reconnects; ends with the test. */
export function testClient(url: string = inject('servers').redis.url, options: object = {}): Redis {
  const client = new Redis(url, { lazyConnect: true, ...options })
  client.on('error', () => {}) // while the server is down
  onTestFinished(() => client.disconnect())
  return client
}

/** The client that is handed to an adapter; it is never connected itself. */
export function adapterClient(url: string = inject('servers').redis.url, options: object = {}): Redis {
  return new Redis(url, { ...redisFailFast, ...options })
}

/** A server whose process the test controls. */
export async function ownServer(options: StartServerOptions = {}): Promise<Server & Required<Pick<Server, 'process'>>> {
  const server = await startServer('redis', { from: ['native'], ...options })
  onTestFinished(() => server[Symbol.asyncDispose]())
  return server as Server & Required<Pick<Server, 'process'>>
}

/** Runs redis-cli on the shared server. */
export async function cli(...args: string[]): Promise<string> {
  const { host, port, cli } = inject('servers').redis
  const [command = '', ...prefix] = cli['redis-cli'] ?? []
  const { stdout } = await promisify(execFile)(command, [...prefix, '-h', host, '-p', String(port), ...args])
  return stdout.trimEnd()
}

/** How many connections of adapters there are for `user`. */
export async function socketsOf(admin: Redis, user: string): Promise<number> {
  return (await clientsOf(admin, user)).filter((client) => client.includes(' name=reflex-')).length
}

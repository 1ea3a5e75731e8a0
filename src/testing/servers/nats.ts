import { join } from 'node:path'
import { ask } from './ask.ts'
import { findExecutable } from './find-executable.ts'
import { nativePackages } from './native-packages.ts'
import { parseAddress } from './parse-address.ts'
import { runCommand } from './run-command.ts'
import type { Installation, ServerContext, ServerDefinition } from './server-definition.ts'

/** NATS 2.15 with JetStream, or NATS 2.9 in the older column. */
export const nats: ServerDefinition = {
  name: 'nats',
  variable: 'NATS_URL',
  title: (column) => (column === 'current' ? 'nats 2.15' : 'nats 2.9'),
  url: ({ host, port }) => `nats://${host}:${port}`,
  // A list of servers is allowed: the first one is asked.
  address: (url) =>
    parseAddress(
      'NATS_URL',
      (url.includes('://') ? url : `nats://${url}`).split(',')[0] ?? '',
      ['nats:', 'tls:', 'ws:', 'wss:'],
      4222,
    ),
  container: (context) => ({
    image: context.env['NATS_IMAGE'] || (context.column === 'current' ? 'nats:2.15' : 'nats:2.9'),
    port: 4222,
    command: ['-js', '-sd', '/data', ...context.args],
    environment: () => [],
  }),
  async installed(context) {
    const server = await findExecutable('nats-server', context.env)
    if (server === undefined) return undefined
    const version =
      /v(\d+\.\d+\.\d+)/.exec(await runCommand([server, '--version'], { signal: context.signal }))?.[1] ?? ''
    const [major = 0, minor = 0] = version.split('.').map(Number)
    if (major !== 2 || (context.column === 'current' ? minor < 11 : minor > 10)) return undefined
    return installation(context, version, [server])
  },
  async fetched(context) {
    const suite = context.column === 'current' ? 'unstable' : 'bookworm'
    const packages = ['nats-server']
    const root = await nativePackages({ suite, name: 'nats', title: nats.title(context.column), packages }, context)
    return installation(context, 'unknown', [join(root.folder, 'usr/sbin/nats-server')]) // linked statically: it needs no loader
  },
  probe: (address, signal) =>
    ask<{ version?: string }>(
      address,
      '',
      (received) => {
        const line = /^INFO (\{.*\})\s*\r\n/.exec(received.toString())?.[1]
        if (line === undefined) return undefined
        return JSON.parse(line) as { version?: string }
      },
      signal,
    ).then((info) => info.version),
}

function installation(context: ServerContext, version: string, server: readonly string[]): Installation {
  return {
    version,
    command: (folder, port) => [
      ...server,
      '-js',
      '-sd',
      join(folder, 'jetstream'),
      '-a',
      '127.0.0.1',
      '-p',
      `${port}`,
      ...context.args,
    ],
    cli: () => undefined,
  }
}

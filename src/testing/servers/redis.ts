import { ask } from './ask.ts'
import { findExecutable } from './find-executable.ts'
import { nativePackages } from './native-packages.ts'
import { parseAddress } from './parse-address.ts'
import { runCommand } from './run-command.ts'
import type { Installation, ServerContext, ServerDefinition } from './server-definition.ts'

/** Redis 8, or Redis 7.0 in the older column; Valkey in both if `REFLEX_BRIDGE_REDIS` is `valkey`. */
export const redis: ServerDefinition = {
  name: 'redis',
  variable: 'REDIS_URL',
  title: (column) => (column === 'current' ? 'redis 8.0' : 'redis 7.0'),
  url: ({ host, port }) => `redis://${host}:${port}`,
  address: (url) => parseAddress('REDIS_URL', url, ['redis:', 'rediss:'], 6379),
  container: (context) => ({
    image: context.env['REDIS_IMAGE'] || imageOf(context),
    port: 6379,
    // Only the host's 127.0.0.1 reaches it, yet to the server that is a foreign address.
    command: [`${productOf(context)}-server`, '--protected-mode', 'no', ...settings(context)],
    environment: () => [],
  }),
  async installed(context) {
    const product = productOf(context)
    const server = await findExecutable(`${product}-server`, context.env)
    if (server === undefined) return undefined
    const version = /v=(\d+\.\d+\.\d+)/.exec(await runCommand([server, '--version'], { signal: context.signal }))?.[1]
    const wanted = product === 'valkey' ? /^/ : context.column === 'current' ? /^8\./ : /^7\./
    if (version === undefined || !wanted.test(version)) return undefined
    const cli = await findExecutable(`${product}-cli`, context.env)
    return installation(context, version, [server], cli === undefined ? undefined : [cli])
  },
  async fetched(context) {
    const product = productOf(context)
    const suite = product === 'valkey' || context.column === 'current' ? 'unstable' : 'bookworm'
    const packages = [`${product}-server`, `${product}-tools`]
    const title = product === 'valkey' ? product : redis.title(context.column)
    const root = await nativePackages({ suite, name: product, title, packages }, context)
    // The server's file is a link to the one that checks an RDB, which looks at the name it was called by.
    return installation(context, 'unknown', root.run(`usr/bin/${product}-server`), root.run(`usr/bin/${product}-cli`))
  },
  probe(address, signal, url) {
    if (url?.startsWith('rediss:')) return ask(address, '', () => undefined, signal)
    const { username, password } = new URL(url ?? 'redis://')
    const words = [username, password].filter(Boolean).map(decodeURIComponent)
    const auth = password === '' ? '' : `${['AUTH', ...words].map((word) => JSON.stringify(word)).join(' ')}\r\n`
    return ask<{ version?: string | undefined }>(
      address,
      `${auth}INFO server\r\nPING\r\n`, // INFO alone is answered while the server still loads its data
      (received) => {
        const text = received.toString('latin1')
        if (/^\+PONG\r\n/m.test(text)) {
          const [, version] = /^valkey_version:(\S+)\r/m.exec(text) ?? /^redis_version:(\S+)\r/m.exec(text) ?? []
          return { version }
        }
        if (/^-(?:NOAUTH|NOPERM)/m.test(text)) return {}
        const refused = /^-(.*)\r/m.exec(text)?.[1]
        if (refused !== undefined) throw new Error(refused)
        return undefined
      },
      signal,
    ).then((answer) => answer.version)
  },
}

function productOf({ env }: ServerContext): 'redis' | 'valkey' {
  const product = env['REFLEX_BRIDGE_REDIS'] || 'redis'
  if (product === 'redis' || product === 'valkey') return product
  throw new TypeError(`REFLEX_BRIDGE_REDIS: expected redis or valkey, got ${JSON.stringify(product)}`)
}

function imageOf(context: ServerContext): string {
  if (productOf(context) === 'valkey') return 'valkey/valkey:9'
  return context.column === 'current' ? 'redis:8' : 'redis:7.0'
}

function settings(context: ServerContext): string[] {
  return ['--save', '', '--appendonly', context.appendonly ? 'yes' : 'no', ...context.args]
}

function installation(
  context: ServerContext,
  version: string,
  server: readonly string[],
  cli?: readonly string[],
): Installation {
  return {
    version,
    command: (folder, port) => [
      ...server,
      '--port',
      `${port}`,
      '--bind',
      '127.0.0.1',
      '--dir',
      folder,
      ...settings(context),
    ],
    cli: (tool) => (tool === 'redis-cli' ? cli : undefined),
  }
}

import type { Server, ServerName, StartServerOptions } from './server.ts'
import { startServer } from './start-server.ts'

/** Several servers by name; disposing them disposes each. */
export type Servers<N extends ServerName = ServerName> = Readonly<Record<N, Server>> & AsyncDisposable

/**
 * Starts several servers at once, each as {@link startServer} does. Where one fails, the others are ended before it throws.
 *
 * @example
 * await using servers = await startServers(['redis', 'mysql'])
 */
export async function startServers<N extends ServerName>(
  names: readonly N[],
  options: StartServerOptions = {},
): Promise<Servers<N>> {
  const failed = new AbortController()
  const signal = options.signal === undefined ? failed.signal : AbortSignal.any([options.signal, failed.signal])
  let first: { error: unknown } | undefined
  const started = await Promise.all(
    names.map((name) =>
      startServer(name, { ...options, signal }).catch((error: unknown) => {
        first ??= { error }
        failed.abort(error)
        return undefined
      }),
    ),
  )
  const servers = started.filter((server) => server !== undefined)
  const dispose = async () => {
    const results = await Promise.allSettled(servers.map((server) => server[Symbol.asyncDispose]()))
    const errors = results.filter((result) => result.status === 'rejected').map((result): unknown => result.reason)
    if (errors.length > 0) throw new AggregateError(errors, 'servers could not be ended')
  }
  if (first !== undefined) {
    await dispose()
    throw first.error
  }
  const byName = Object.fromEntries(servers.map((server) => [server.name, server])) as Record<N, Server>
  return { ...byName, [Symbol.asyncDispose]: dispose }
}

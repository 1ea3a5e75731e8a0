import type { Address, ServerColumn, ServerName } from './server.ts'

/** What every step of finding a server needs: {@link StartServerOptions} with the defaults filled in. */
export interface ServerContext {
  readonly column: ServerColumn
  readonly args: readonly string[]
  readonly appendonly: boolean
  readonly readyTimeoutMs: number
  readonly signal: AbortSignal
  readonly env: Readonly<Record<string, string | undefined>>
  log(line: string): void
}

/** Executables of one server, on PATH or in the cache, and how they are used. */
export interface Installation {
  readonly version: string
  /** Fills `folder` with the data a first start needs. */
  prepare?(folder: string): Promise<void>
  /** Writes what depends on the port; called once before the first start on that port. */
  configure?(folder: string, port: number): Promise<void>
  /** The whole command line of the server with its data in `folder`. */
  command(folder: string, port: number): readonly string[]
  cli(tool: string): readonly string[] | undefined
}

/** A container that runs the server. `command` undefined means the image's own. */
export interface ContainerSpec {
  readonly image: string
  readonly port: number
  readonly command?: readonly string[]
  /** Environment of the container, given the address clients will use. */
  environment(address: Address): readonly string[]
}

/** One kind of server: how it is named, given, run in a container, found, fetched and asked. */
export interface ServerDefinition {
  readonly name: ServerName
  /** The environment variable that gives a running server, for example `REDIS_URL`. */
  readonly variable: string
  /** Product and version for messages, for example `mysql 9.7`. */
  title(column: ServerColumn): string
  url(address: Address): string
  /** Splits a URL of the environment. Throws a TypeError that names the variable where it cannot. */
  address(url: string): Address
  container(context: ServerContext): ContainerSpec
  /** Executables on PATH, of the right version; undefined where there are none. */
  installed(context: ServerContext): Promise<Installation | undefined>
  /** Executables in the cache, fetched where they are not there yet. */
  fetched(context: ServerContext): Promise<Installation>
  /** Resolves with the server's version (undefined where it does not say) once it answers; rejects while it does not. */
  probe(address: Address, signal: AbortSignal, url?: string): Promise<string | undefined>
}

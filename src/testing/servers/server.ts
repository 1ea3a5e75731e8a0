/** The servers this package's adapters speak to. `mysql` is MySQL, or MariaDB in the older column. */
export type ServerName = 'kafka' | 'nats' | 'redis' | 'mysql'

/** Which column of the version matrix: `current` (Kafka 4.3, NATS 2.15, Redis 8, MySQL 9.7) or `older` (Kafka 4.3, NATS 2.9, Redis 7.0, MariaDB 10.11). */
export type ServerColumn = 'current' | 'older'

/** Where a server came from: a URL in the environment, a container, or binaries of this machine or of the cache. */
export type ServerOrigin = 'environment' | 'docker' | 'native'

/** Host name or IP address and TCP port. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** A server that answers. Disposing it ends what was started for it and removes its data; a server given by the environment is left alone. */
export interface Server extends Address, AsyncDisposable {
  readonly name: ServerName
  /** As the server itself says it, for example `8.0.6`; `unknown` where it does not say. */
  readonly version: string
  /** `redis://…`, `mysql://root@…/`, `nats://…`; for Kafka the broker list, `127.0.0.1:9092`. */
  readonly url: string
  readonly origin: ServerOrigin
  /** Control over the process, for faults; undefined where we did not start it (origin `environment`). */
  readonly process?: ServerProcess
  /**
   * The argv prefix of a command line client, to be followed by its own arguments (host and port too): `cli('redis-cli')`, `cli('mysql')`,
   * and for Kafka any main class, `cli('org.apache.kafka.tools.TopicCommand')`. Undefined where this machine has none.
   */
  cli(tool: string): readonly string[] | undefined
}

/** Faults for one server process (in Docker: its container). Every member throws where the process is not in the state it needs. */
export interface ServerProcess {
  /** Process id of the running, or of the last, process. */
  readonly pid: number
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>
  /** SIGTERM; resolves when the process is gone, after 20 s at most (then it is killed). */
  stop(): Promise<void>
  /** SIGSTOP: connections stay open and nothing answers. */
  freeze(): void
  /** SIGCONT. */
  thaw(): void
  /** Starts it again on the same port and data; resolves when it answers. */
  start(): Promise<void>
}

/** How servers are found and started; every option has a default. */
export interface StartServerOptions {
  /** @default the environment's `REFLEX_BRIDGE_SERVERS`, or `current` */
  readonly column?: ServerColumn | undefined
  /** Where the server may come from; the order is always environment, docker, native. @default all three */
  readonly from?: readonly ServerOrigin[] | undefined
  /** Arguments added to the server's own, last; not applied to a server given by the environment. @default none */
  readonly args?: readonly string[] | undefined
  readonly redis?: {
    /** Write every command to the append-only file, so that data survives a kill. @default true */
    readonly appendonly?: boolean | undefined
  }
  /** How long one server may take to answer, in milliseconds; fetching is not counted. @default 60000 */
  readonly readyTimeoutMs?: number | undefined
  /** Aborts fetching and starting; what was started is ended. */
  readonly signal?: AbortSignal | undefined
  /** Receives progress lines such as `fetching mysql 9.7`. @default one line each on stderr */
  readonly log?: ((line: string) => void) | undefined
  /** The environment variables to read. @default process.env */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
}

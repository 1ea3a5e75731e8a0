import { OptionError } from '../../core/errors.ts'

/** A pool of `mysql2/promise`, as far as it is used here. */
export interface MysqlPool {
  getConnection(): Promise<MysqlConnection & { release(): void; destroy(): void }>
  /** The pool of callbacks under it. */
  readonly pool: object
}

/** A connection of mysql2, of promises or of callbacks, as far as it is used here. */
export interface MysqlConnection {
  query(...args: never[]): unknown
}

/**
 * Options of a pool, and of every connection that is given to `insert`: ids are exact above 2^53, and no timestamp passes
 * through a `Date`, which has no µs, or through a local time zone.
 *
 * @example createPool({ ...mysqlOptions, uri: 'mysql://app@127.0.0.1/shop' })
 */
export const mysqlOptions = {
  supportBigNumbers: true,
  bigNumberStrings: true,
  dateStrings: true,
  timezone: 'Z',
} as const

/** The settings that mysql2 keeps of a connection's options. */
export interface ConnectionConfig {
  readonly database?: string | undefined
  readonly [option: string]: unknown
}

/** The pool of callbacks under a pool of promises, as mysql2 makes it. */
export interface CorePool {
  readonly config: { readonly connectionConfig: ConnectionConfig }
  readonly constructor: new (options: { config: object }) => CorePool
  getConnection(callback: (error: Error | null, connection: CoreConnection) => void): void
  end(callback: () => void): void
}

/** The connection of callbacks under a connection of promises. */
export interface CoreConnection {
  readonly config: ConnectionConfig
  query(options: object, callback?: (error: Error | null, result: unknown) => void): CoreQuery
  on(event: 'error', listener: (error: Error) => void): unknown
}

/** A query that is under way. */
export interface CoreQuery {
  on(event: 'result', listener: (row: readonly unknown[]) => void): CoreQuery
  on(event: 'error', listener: (error: Error) => void): CoreQuery
  on(event: 'end', listener: () => void): CoreQuery
}

/** Refuses what is not a pool of `mysql2/promise` with `mysqlOptions` and a database. */
export function checkPool(pool: MysqlPool): { readonly core: CorePool; readonly database: string } {
  const core = (pool as Partial<MysqlPool> | null | undefined)?.pool as Partial<CorePool> | undefined
  const config = core?.config?.connectionConfig
  if (typeof core?.getConnection !== 'function' || typeof core.constructor !== 'function' || config === undefined) {
    throw new OptionError(
      'expected a pool of mysql2/promise, made by createPool({ ...mysqlOptions, … }), but found something else; of a pool of callbacks, hand in pool.promise()',
    )
  }
  checkConfig('the pool', config)
  if (!config.database) throw new OptionError('the pool must name its database: set the option database')
  return { core: core as CorePool, database: config.database }
}

/** The connection of callbacks under `connection`. Refuses what is not a connection of mysql2 with `mysqlOptions`. */
export function checkConnection(connection: MysqlConnection): CoreConnection {
  if (typeof (connection as Partial<MysqlPool> | null | undefined)?.getConnection === 'function') {
    throw new OptionError(
      'expected the connection whose transaction the events belong to, but found a pool: each of its queries may run on another connection, and be committed alone. Borrow a connection with pool.getConnection(), begin the transaction on it and hand it in; for events that belong to no other change, call append(…)',
    )
  }
  const inner = (connection as { connection?: unknown } | null | undefined)?.connection
  const core = (inner ?? connection) as Partial<CoreConnection> | null | undefined
  if (typeof core?.query !== 'function' || core.config === undefined) {
    throw new OptionError('expected a connection of mysql2, of promises or of callbacks, but found something else')
  }
  checkConfig('the connection', core.config)
  return core as CoreConnection
}

/**
 * Runs a statement on the application's connection, whatever its options make of rows: an array each, values as mysql2
 * reads them.
 */
export function runQuery(connection: CoreConnection, sql: string, values: readonly unknown[]): Promise<unknown> {
  const typeCast = (_field: unknown, next: () => unknown): unknown => next()
  return new Promise((resolve, reject) => {
    connection.query({ sql, values, rowsAsArray: true, nestTables: false, typeCast }, (error, result) =>
      error ? reject(error) : resolve(result),
    )
  })
}

function checkConfig(what: string, config: ConnectionConfig): void {
  for (const [option, value] of Object.entries(mysqlOptions)) {
    if (config[option] === value) continue
    throw new OptionError(
      `${what} must have the option ${option}: ${JSON.stringify(value)}, but it is ${JSON.stringify(config[option])}: create it with { ...mysqlOptions, … }`,
    )
  }
}

import { connect, type Socket } from 'node:net'
import { ReflexError } from '../../core/errors.ts'
import type { CoreConnection, CorePool, CoreQuery } from './mysql-pool.ts'

/** A row, by the order of its columns. */
export type Row = readonly unknown[]

/**
 * A connection that is not one of the pool's. One call at a time. A server that says nothing for 4 s, a lost connection and
 * an abort reject the pending call and every later one, and close the connection at once.
 */
export interface OwnConnection extends AsyncDisposable {
  /** The rows of one statement; those of `show` and `select` only. */
  rows(sql: string, values?: readonly unknown[]): Promise<readonly Row[]>
  /** Sends statements together. The rows of each; the first that fails ends it. */
  script(...statements: readonly string[]): Promise<readonly (readonly Row[])[]>
  /** Calls `each` with every row as it comes. What it throws rejects the call. */
  forEachRow(sql: string, each: (row: Row) => void): Promise<void>
}

/** A dead or frozen server is noticed within 5 s (rule 3). */
const SILENT_MS = 4000
/** How long a connection may take to say goodbye. */
const GOODBYE_MS = 300
const MULTI_STATEMENTS = 1 << 16
const UTF8MB4_UNICODE_CI = 224

/** What a session needs whatever the server's defaults are. A lock on a table is waited for in slices of 1 s. */
const SESSION = [
  `set session time_zone = '+00:00', autocommit = 1, lock_wait_timeout = 1, wait_timeout = 28800,
    sql_select_limit = 18446744073709551615, sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'`,
  'set session transaction isolation level read committed',
]

/** Opens a connection with the options of `pool`, outside of it: a stream that waits takes none away from the application. */
export async function openConnection(
  name: string,
  pool: CorePool,
  signal: AbortSignal | undefined,
): Promise<OwnConnection> {
  signal?.throwIfAborted()
  let socket: Socket | undefined
  const own = new pool.constructor({ config: privateConfig(pool, (opened) => (socket = opened)) })
  let failure: { readonly error: unknown } | undefined
  let pending: ((error: unknown) => void) | undefined

  const fail = (error: unknown): void => {
    failure ??= { error }
    pending?.(failure.error)
    socket?.destroy()
  }
  const onAbort = (): void => fail(signal?.reason)
  signal?.addEventListener('abort', onAbort, { once: true })

  const call = <T>(
    start: (resolve: (value: T) => void, reject: (error: unknown) => void) => void,
    what: string,
  ): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      if (failure !== undefined) return reject(failure.error)
      let heard = socket?.bytesRead ?? 0
      const listen = (): NodeJS.Timeout =>
        setTimeout(() => {
          const now = socket?.bytesRead ?? 0
          if (now === heard) return fail(unresponsive(name, what))
          heard = now
          timer = listen()
        }, SILENT_MS)
      let timer = listen()
      const settle = (): void => {
        clearTimeout(timer)
        pending = undefined
      }
      pending = (error) => {
        settle()
        reject(error)
      }
      start((value) => {
        settle()
        resolve(value)
      }, pending)
    })

  const close = async (): Promise<void> => {
    signal?.removeEventListener('abort', onAbort)
    const idle = failure === undefined && pending === undefined
    failure ??= { error: new ReflexError('CONNECTION_CLOSED', `${name}: the connection was closed`) }
    pending?.(failure.error)
    if (idle && socket !== undefined && !socket.destroyed) await goodbye(own, socket)
    socket?.destroy()
  }

  try {
    const connection = await call<CoreConnection>((resolve, reject) => {
      own.getConnection((error, connected) => {
        if (error) return reject(error)
        connected.on('error', fail)
        resolve(connected)
      })
    }, 'a new connection')

    const send = (sql: string, values: readonly unknown[] | undefined): Promise<unknown> =>
      call((resolve, reject) => {
        connection.query({ sql, values, rowsAsArray: true }, (error, result) =>
          error ? reject(error) : resolve(result),
        )
      }, sql)
    const script = async (...statements: readonly string[]): Promise<readonly (readonly Row[])[]> => {
      // Two at least, so that the answer is one array of results.
      const results = (await send(['do 0', ...statements].join('; '), undefined)) as readonly unknown[]
      return results.slice(1).map((result) => (Array.isArray(result) ? (result as readonly Row[]) : []))
    }
    await script(...SESSION)
    return {
      rows: async (sql, values) => (await send(sql, values)) as readonly Row[],
      script,
      forEachRow: (sql, each) =>
        call((resolve, reject) => readRows(connection.query({ sql, rowsAsArray: true }), each, resolve, reject), sql),
      [Symbol.asyncDispose]: close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

function readRows(
  query: CoreQuery,
  each: (row: Row) => void,
  resolve: () => void,
  reject: (error: unknown) => void,
): void {
  let failed: { readonly error: unknown } | undefined
  query
    .on('result', (row) => {
      if (failed !== undefined) return
      try {
        each(row)
      } catch (error) {
        failed = { error } // thrown here it would break the connection
      }
    })
    .on('error', (error) => {
      failed ??= { error }
    })
    .on('end', () => (failed === undefined ? resolve() : reject(failed.error)))
}

/** A private pool's configuration: the options of the application's pool but for what rows look like. */
function privateConfig(pool: CorePool, onSocket: (socket: Socket) => void): object {
  const theirs = pool.config.connectionConfig
  const connectionConfig = Object.create(
    Object.getPrototypeOf(theirs) as object,
    Object.getOwnPropertyDescriptors(theirs),
  ) as Record<string, unknown>
  Object.assign(connectionConfig, {
    charsetNumber: UTF8MB4_UNICODE_CI,
    clientFlags: (theirs['clientFlags'] as number) | MULTI_STATEMENTS,
    multipleStatements: true,
    compress: false, // mysql2 warns on the console when compressed answers to several statements come together
    typeCast: true,
    nestTables: undefined,
    decimalNumbers: false,
    jsonStrings: true,
    namedPlaceholders: false,
    queryFormat: undefined,
    // The socket is ours, so that it can be closed at any time: mysql2 leaves what is pending for ever.
    stream: (options: unknown): Socket => {
      const socket =
        typeof theirs['stream'] === 'function'
          ? (theirs['stream'] as (options: unknown) => Socket)(options)
          : theirs['socketPath']
            ? connect(theirs['socketPath'] as string)
            : connect({
                host: theirs['host'] as string,
                port: theirs['port'] as number,
                keepAlive: true,
                noDelay: true,
              })
      onSocket(socket)
      return socket
    },
  })
  return { ...pool.config, connectionConfig, connectionLimit: 1, maxIdle: 1, queueLimit: 0, resetOnRelease: false }
}

async function goodbye(own: CorePool, socket: Socket): Promise<void> {
  const gone = Promise.withResolvers<void>()
  const timer = setTimeout(gone.resolve, GOODBYE_MS)
  socket.once('close', gone.resolve)
  own.end(() => {})
  await gone.promise
  clearTimeout(timer)
}

function unresponsive(name: string, what: string): ReflexError {
  const found = what.length > 80 ? `${what.slice(0, 80)}…` : what
  return new ReflexError(
    'SERVER_UNRESPONSIVE',
    `${name}: the server has not answered for ${SILENT_MS} ms (${found}): it is frozen, overloaded or cut off`,
  )
}

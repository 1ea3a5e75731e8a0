import { statSync } from 'node:fs'
import { resolve } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { type Clock, systemClock } from '../../core/clock.ts'
import { OptionError, ReflexError } from '../../core/errors.ts'
import { explainSqlite, isBusy } from './explain-sqlite.ts'
import { loadSqlite } from './load-sqlite.ts'
import { prepare } from './prepare.ts'

/** Where a database is. */
export interface Place {
  /** The application's handle, if it was given. */
  readonly handle: DatabaseSync | undefined
  /** The file; undefined of a database in memory. */
  readonly path: string | undefined
  /** Tells the file that the handle was opened on from another one that stands there later. */
  readonly identity: string | undefined
}

/** Where the database of a handle or a path is. `name` is for errors. */
export function locate(name: string, target: DatabaseSync | string): Place {
  if (typeof target !== 'string') {
    try {
      const path = target.location() ?? undefined
      return { handle: target, path, identity: path === undefined ? undefined : identify(path) }
    } catch (error) {
      throw explainSqlite(error, name)
    }
  }
  if (target === '' || target === ':memory:' || target.startsWith('file:')) {
    throw new OptionError(
      `${name}: expected the path of a file, but found ${JSON.stringify(target)}: a database in memory is given by its handle`,
    )
  }
  return { handle: undefined, path: resolve(target), identity: undefined }
}

/** A way to a database that waits for locks without blocking the process. */
export interface Connection extends Disposable {
  readonly database: DatabaseSync
  /** True if the application's own handle is used. */
  readonly shared: boolean
  /**
   * Runs `work` as soon as nothing is in its way: a lock of another connection or, on a shared handle, a transaction of the
   * application. `work` must be synchronous, and undo what it did when it throws. Errors are explained.
   *
   * Throws `SQLITE_BUSY` after 4 s of waiting, and `SQLITE_REPLACED` if another file stands in the place of the one that is open.
   */
  use<T>(
    work: () => T,
    options?: { readonly clock?: Clock | undefined; readonly signal?: AbortSignal | undefined },
  ): Promise<T>
}

/** How long a lock is waited for, in ms: a peer that is stuck is noticed in under 5 s (rule 3). */
const WAIT_MS = 4000
const LONGEST_PAUSE_MS = 25

/** Connects to the file of a place; the handle itself is used, instead, with `share`, and for a database in memory, which has no other. */
export function connect(
  name: string,
  { handle, path, identity: expected }: Place,
  { readOnly = false, share = false }: { readonly readOnly?: boolean; readonly share?: boolean } = {},
): Connection {
  const shared = handle !== undefined && (share || path === undefined)
  const database = shared ? handle : open(name, path as string, readOnly)
  const identity = expected ?? (path === undefined ? undefined : identify(path))

  const attempt = <T>(work: () => T): T => {
    if (path !== undefined && identify(path) !== identity) {
      throw new ReflexError(
        'SQLITE_REPLACED',
        `${name}: the file ${path} was deleted or replaced while this process had it open, and what is written to the old one is lost: ` +
          'check which of the two counts, and start the process again',
        { retriable: false },
      )
    }
    if (!shared || path === undefined) return work()
    // The application's handle waits inside of SQLite, and this process with it: whoever holds the lock may be in this process.
    const { timeout } = prepare(database, 'pragma busy_timeout').get() as { timeout: number }
    database.exec('pragma busy_timeout = 0')
    try {
      return work()
    } finally {
      database.exec(`pragma busy_timeout = ${timeout}`)
    }
  }

  return {
    database,
    shared,
    use: async (work, { clock = systemClock, signal } = {}) => {
      const deadline = clock.now() + WAIT_MS
      for (let pause = 1; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
        signal?.throwIfAborted()
        const late = clock.now() >= deadline
        try {
          if (!database.isTransaction) return attempt(work)
          if (late) {
            throw new ReflexError(
              'SQLITE_BUSY',
              `${name}: the application has kept a transaction open on its handle for ${WAIT_MS} ms: keep transactions short`,
            )
          }
        } catch (error) {
          if (late || !isBusy(error)) throw explainSqlite(error, name)
        }
        await clock.sleep(pause, signal)
      }
    },
    [Symbol.dispose]: () => {
      if (!shared && database.isOpen) database.close()
    },
  }
}

function open(name: string, path: string, readOnly: boolean): DatabaseSync {
  const { DatabaseSync } = loadSqlite()
  const url = pathToFileURL(path)
  url.searchParams.set('mode', readOnly ? 'ro' : 'rw') // "rw" does not create a file that is missing
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(url, { readOnly, timeout: 0, enableForeignKeyConstraints: false })
    database.exec('pragma synchronous = full')
    return database
  } catch (error) {
    database?.close()
    throw explainSqlite(error, name)
  }
}

function identify(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false })
  return stat && `${stat.dev}:${stat.ino}`
}

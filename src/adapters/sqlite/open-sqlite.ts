import type { DatabaseSync } from 'node:sqlite'
import { explainSqlite, isBusy } from './explain-sqlite.ts'
import { loadSqlite } from './load-sqlite.ts'

/** How long a statement on a handle of `openSqlite` waits for another process's lock, in ms. It blocks this process meanwhile. */
const BUSY_TIMEOUT_MS = 5000

/**
 * Opens a database file for an application that writes events, and creates it if it is missing (not with `readOnly`).
 * Journal mode WAL, so that readers and the one writer do not block each other; synchronous FULL, so that a commit survives a
 * power cut and not only a crash of the process; a busy timeout of 5 s, so that several processes can share the file (a statement that waits blocks its process, so keep transactions short); foreign
 * keys are not enforced. `:memory:` is a database of this handle alone.
 *
 * Throws a `ReflexError` that says what to do when the file cannot be opened, and on a Node below 22.22.
 */
export function openSqlite(path: string, { readOnly = false }: { readonly readOnly?: boolean } = {}): DatabaseSync {
  const { DatabaseSync } = loadSqlite()
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(path, { readOnly, timeout: BUSY_TIMEOUT_MS, enableForeignKeyConstraints: false })
    database.exec('pragma synchronous = full')
    if (!readOnly) switchToWal(database)
    return database
  } catch (error) {
    database?.close()
    throw explainSqlite(error, path)
  }
}

/** Two processes that open a new file at once both want the exclusive lock for this, and SQLite does not wait for that one. */
function switchToWal(database: DatabaseSync): void {
  const deadline = Date.now() + BUSY_TIMEOUT_MS
  for (;;) {
    try {
      database.exec('pragma journal_mode = wal')
      return
    } catch (error) {
      if (!isBusy(error) || Date.now() > deadline) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }
}

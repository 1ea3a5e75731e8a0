import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** A new folder; what is in it goes with it. */
export function newFolder(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'reflex-bridge-sqlite-'))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

/** The path of a file in a new folder that ends with the test. */
export function newFile(): string {
  const folder = newFolder()
  onTestFinished(folder.remove)
  return join(folder.path, 'test.db')
}

/** How many connections of this process are open on `file`; undefined where the system does not tell. */
export function openConnections(file: string): number | undefined {
  if (process.platform !== 'linux') return undefined
  // Each has its own descriptor of the write-ahead log. Those of the database itself SQLite keeps for the next connection.
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === `${file}-wal`
    } catch {
      return false // the descriptor of the listing itself
    }
  }).length
}

import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileLock } from './file-lock.ts'

/** The cache of fetched servers: `REFLEX_BRIDGE_CACHE`, else `reflex-bridge` in `XDG_CACHE_HOME`, else in `~/.cache`. */
export function cacheFolder(env: Readonly<Record<string, string | undefined>>): string {
  return env['REFLEX_BRIDGE_CACHE'] || join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'reflex-bridge')
}

/**
 * Makes `folder` once per machine: `fill` gets an empty folder beside it, which is renamed when `fill` is done. So a
 * folder of that name is always a finished one, and of two processes one fills and the other waits.
 */
export async function cachedFolder(
  folder: string,
  fill: (partial: string) => Promise<void>,
  signal: AbortSignal,
): Promise<string> {
  if (existsSync(folder)) return folder
  await mkdir(dirname(folder), { recursive: true })
  await using _lock = await fileLock(`${folder}.lock`, signal)
  if (existsSync(folder)) return folder
  await removeLeftovers(folder)
  const partial = `${folder}.partial-${process.pid}-${randomBytes(3).toString('hex')}`
  try {
    await mkdir(partial)
    await fill(partial)
    await rename(partial, folder)
  } catch (error) {
    await rm(partial, { recursive: true, force: true })
    if (!existsSync(folder)) throw error // without a lock another process may have been first
  }
  return folder
}

async function removeLeftovers(folder: string): Promise<void> {
  const prefix = `${basename(folder)}.partial-`
  for (const name of await readdir(dirname(folder))) {
    if (!name.startsWith(prefix)) continue
    if (!isAlive(Number.parseInt(name.slice(prefix.length), 10)))
      await rm(join(dirname(folder), name), { recursive: true, force: true })
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

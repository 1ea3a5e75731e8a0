import { spawn } from 'node:child_process'
import { once } from 'node:events'

/**
 * Waits for an exclusive lock on `path` among all processes of this machine and holds it until disposed. The kernel
 * frees it when the holder dies in any way, so it is never stale. Where there is no `flock` command, nothing is locked.
 */
export async function fileLock(path: string, signal: AbortSignal): Promise<AsyncDisposable> {
  signal.throwIfAborted()
  // `cat` holds the lock for as long as our end of its standard input is open.
  const holder = spawn('flock', [path, 'sh', '-c', 'echo locked; exec cat'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    detached: true,
  })
  const ended = new Promise<void>((resolve) => holder.once('close', () => resolve()).once('error', () => resolve()))
  holder.stdin.on('error', () => {})
  const release = async () => {
    holder.stdin.end()
    await ended
  }
  try {
    const settled = new AbortController()
    await Promise.race([once(holder.stdout, 'data', { signal: AbortSignal.any([signal, settled.signal]) }), ended])
    settled.abort()
  } catch (error) {
    if (holder.pid !== undefined) holder.kill('SIGKILL')
    holder.stdin.destroy()
    throw error
  }
  return { [Symbol.asyncDispose]: release }
}

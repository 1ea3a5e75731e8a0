import { readdirSync, readFileSync } from 'node:fs'

const GIVE_UP_AFTER_MS = 1000
const pause = new Int32Array(new SharedArrayBuffer(4))

/**
 * Blocks until a process that was sent SIGSTOP has stopped: a busy machine may let its threads run on for some milliseconds, and
 * answer. Where there is no /proc to tell, it does not wait.
 */
export function awaitStopped(pid: number): void {
  const deadline = Date.now() + GIVE_UP_AFTER_MS
  while (Date.now() < deadline && isRunning(pid)) Atomics.wait(pause, 0, 0, 1)
}

function isRunning(pid: number): boolean {
  try {
    // The state follows the name, which is in parentheses and may hold anything.
    return readdirSync(`/proc/${pid}/task`).some(
      (task) => !/\) [TtZX] [^)]*$/.test(readFileSync(`/proc/${pid}/task/${task}/stat`, 'latin1')),
    )
  } catch {
    return false
  }
}

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Socket } from 'node:net'

/** Ends a process group and removes a folder when this process is gone, however it ended. */
export interface Watchdog {
  /** The process group to end; undefined when there is none any more. */
  watch(pid: number | undefined): void
  /** Lets it go: there is nothing left to clean up. */
  release(): Promise<void>
}

// It reads until its standard input closes, which the kernel does for us: at exit, on any signal, after SIGKILL.
const script = `
pid=
while IFS= read -r line; do
  case $line in done) exit 0 ;; *) pid=$line ;; esac
done
[ -z "$pid" ] || kill -s KILL -- "-$pid"
tries=0
while ! rm -rf -- "$1" && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.1; done
`

/** Starts a watchdog for `folder`. It needs no handlers in this process and does not keep it alive. */
export async function startWatchdog(folder: string): Promise<Watchdog> {
  const child = spawn('/bin/sh', ['-c', script, 'reflex-bridge-watchdog', folder], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  child.stdin.on('error', () => {})
  await once(child, 'spawn')
  child.unref()
  const input = child.stdin as unknown as Socket
  input.unref()
  return {
    watch: (pid) => {
      input.write(`${pid ?? ''}\n`)
    },
    release: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'close')
      child.ref()
      input.end('done\n')
      await ended
    },
  }
}

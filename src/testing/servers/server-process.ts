import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { awaitStopped } from './await-stopped.ts'
import { freePort } from './free-port.ts'
import { listensOn } from './listens-on.ts'
import type { Address, ServerProcess } from './server.ts'
import type { Installation } from './server-definition.ts'
import { startWatchdog } from './watchdog.ts'

/** What to run and how to see that it answers. */
export interface ServerProcessOptions {
  /** For folder names and messages, for example `redis`. */
  readonly name: string
  readonly installation: Installation
  readonly readyTimeoutMs: number
  readonly signal: AbortSignal
  probe(address: Address, signal: AbortSignal): Promise<string | undefined>
}

/** A running native server. Disposing it kills the process group and removes the data. */
export interface RunningServer extends AsyncDisposable {
  readonly address: Address
  readonly version: string | undefined
  readonly process: ServerProcess
}

const portAttempts = 5

/**
 * Starts a server on a free port of 127.0.0.1 with its data in a fresh temporary folder and resolves when it answers.
 * A port that was taken in the meantime is replaced by another. Throws with the last lines of the server's log, and the
 * path of a copy of it, where the server ends by itself or does not answer in time.
 */
export async function startServerProcess(options: ServerProcessOptions): Promise<RunningServer> {
  const { name, installation, signal } = options
  const folder = await mkdtemp(join(tmpdir(), `reflex-bridge-${name}-`))
  const log = join(folder, 'server.log')
  const watchdog = await startWatchdog(folder)
  let child: ChildProcess | undefined
  let disposed = false

  const gone = () => child === undefined || child.exitCode !== null || child.signalCode !== null
  const running = (): ChildProcess & { pid: number } => {
    if (child?.pid === undefined || gone()) throw new Error(`${name} is not running`)
    return child as ChildProcess & { pid: number }
  }
  const signalGroup = (name: NodeJS.Signals) => process.kill(-running().pid, name)
  const ended = async (current: ChildProcess) => {
    if (current.exitCode === null && current.signalCode === null) await once(current, 'exit')
    watchdog.watch(undefined)
  }

  async function launch(port: number): Promise<string | undefined> {
    const [command = '', ...args] = installation.command(folder, port)
    await using output = await open(log, 'a')
    const started = spawn(command, args, { cwd: folder, detached: true, stdio: ['ignore', output.fd, output.fd] })
    child = started
    watchdog.watch(started.pid)
    let failed: Error | undefined
    started.on('error', (error) => {
      failed = error
    })
    const deadline = Date.now() + options.readyTimeoutMs
    for (;;) {
      await setTimeout(20)
      signal.throwIfAborted()
      if (failed !== undefined) throw failed
      const address = { host: '127.0.0.1', port }
      const answer = await options.probe(address, signal).then(
        (version) => ({ version }),
        (error: unknown) => ({ error }),
      )
      if (gone()) throw await failure(`ended with ${started.exitCode ?? started.signalCode} before it answered`)
      if ('version' in answer && (await listensOn(running().pid, port))) return answer.version
      if (Date.now() > deadline) {
        const last = 'error' in answer ? String(answer.error) : 'another process has its port'
        throw await failure(`did not answer within ${options.readyTimeoutMs} ms (${last})`)
      }
    }
  }

  async function failure(what: string): Promise<Error> {
    const text = await readFile(log, 'utf8').catch(() => '')
    const copy = join(tmpdir(), `${basename(folder)}.log`)
    await copyFile(log, copy).catch(() => {})
    return new Error(
      `${name} ${what}; the end of its log (${copy}):\n${text.trimEnd().split('\n').slice(-20).join('\n')}`,
    )
  }

  async function dispose(): Promise<void> {
    if (disposed) return
    disposed = true
    if (!gone()) {
      const current = running()
      signalGroup('SIGKILL')
      await ended(current)
    }
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
    await watchdog.release()
  }

  try {
    await installation.prepare?.(folder)
    for (let attempt = 1; ; attempt++) {
      signal.throwIfAborted()
      const port = await freePort()
      await installation.configure?.(folder, port)
      try {
        const version = await launch(port)
        return { address: { host: '127.0.0.1', port }, version, process: control(port), [Symbol.asyncDispose]: dispose }
      } catch (error) {
        const taken =
          gone() &&
          /address already in use|another process|bind on TCP|Could not create server TCP/i.test(String(error))
        if (!taken || attempt === portAttempts) throw error
        await rm(join(tmpdir(), `${basename(folder)}.log`), { force: true })
        await rm(log, { force: true })
      }
    }
  } catch (error) {
    await dispose()
    throw error
  }

  function control(port: number): ServerProcess {
    return {
      get pid() {
        return child?.pid ?? -1
      },
      kill: async () => {
        const current = running()
        signalGroup('SIGKILL')
        await ended(current)
      },
      stop: async () => {
        const current = running()
        signalGroup('SIGCONT')
        current.kill('SIGTERM')
        const late = new AbortController()
        await Promise.race([ended(current), setTimeout(20_000, undefined, { signal: late.signal }).catch(() => {})])
        late.abort()
        if (!gone()) signalGroup('SIGKILL')
        await ended(current)
      },
      freeze: () => {
        signalGroup('SIGSTOP')
        awaitStopped(running().pid)
      },
      thaw: () => {
        signalGroup('SIGCONT')
      },
      start: async () => {
        if (disposed) throw new Error(`${name} was disposed`)
        if (!gone()) throw new Error(`${name} is already running`)
        await launch(port)
      },
    }
  }
}

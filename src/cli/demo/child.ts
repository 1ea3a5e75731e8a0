import { type ChildProcess, spawn } from 'node:child_process'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ReflexError } from '../../core/index.ts'

/** A process of the demo. */
export interface Child {
  readonly process: ChildProcess
  /** Resolves when it has printed something, or is gone. */
  readonly spoke: Promise<void>
  /** Resolves with the exit code, or the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>
  /** The last lines that it printed. */
  output(): string
}

const KEPT_LINES = 20

/** Starts one of the demo's own files as a process, which ends when the demo does. */
export function startChild(name: 'writer' | 'bridge-process', ...args: readonly string[]): Child {
  const file = fileURLToPath(new URL(`./${name}${extname(import.meta.filename)}`, import.meta.url))
  const child = spawn(process.execPath, [...process.execArgv, file, ...args], {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  const spoke = Promise.withResolvers<void>()
  let lines: string[] = []
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      spoke.resolve()
      lines = [...lines, ...text.split('\n').filter(Boolean)].slice(-KEPT_LINES)
    })
  }
  const exited = new Promise<number | NodeJS.Signals>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      spoke.resolve()
      resolve(code ?? (signal as NodeJS.Signals))
    })
  })
  exited.catch(() => {}) // whoever waits for it is told
  return { process: child, spoke: spoke.promise, exited, output: () => lines.join('\n') }
}

/** Sends it the signal if it is still there; resolves with how it ended. */
export async function endChild(child: Child, signal: NodeJS.Signals): Promise<number | NodeJS.Signals> {
  if (child.process.exitCode === null && child.process.signalCode === null) child.process.kill(signal)
  return child.exited
}

/** Throws with its last words if it ended, other than with exit code 0 where it `mayExit`. */
export async function checkAlive(what: string, child: Child, { mayExit }: { mayExit: boolean }): Promise<void> {
  const { exitCode, signalCode } = child.process
  if (exitCode === null && signalCode === null) return
  if (mayExit && exitCode === 0) return
  await child.exited
  throw new ReflexError('DEMO_FAILED', `${what} ended by itself with ${exitCode ?? signalCode}:\n${child.output()}`)
}

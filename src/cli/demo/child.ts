import { type ChildProcess, spawn } from 'node:child_process'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'

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

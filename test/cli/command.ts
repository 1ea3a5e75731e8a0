import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { onTestFinished } from 'vitest'
import { openSqlite, sqliteEvents } from '../../src/adapters/sqlite/index.ts'
import type { NewEvent } from '../../src/core/event.ts'

/** The command line as a process: what it has printed so far, and how it ended. */
export interface Running {
  readonly child: ChildProcess
  stdout(): string
  stderr(): string
  /** Resolves when it has printed what matches, on either stream; rejects if it ends before. */
  printed(pattern: RegExp): Promise<void>
  readonly ended: Promise<Ended>
}

/** How a process ended. */
export interface Ended {
  /** 128 and the signal's number where a signal ended it, as a shell has it. */
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const main = resolve('src/cli/main.ts')

/** Compiling the sources takes longer than most of the tests: it is done once. */
const compiled = join(tmpdir(), 'reflex-bridge-compiled')

/** How the command line is started from its sources. */
export const argv: readonly string[] = [process.execPath, '--conditions=reflex-bridge-source', main]

/** Starts `reflex-bridge` with these arguments. It is ended with the test. */
export function start(args: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}): Running {
  const { cwd, env } = options
  const [node, ...rest] = argv as [string, ...string[]]
  const child = spawn(node, [...rest, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(cwd === undefined ? {} : { cwd }),
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], NODE_COMPILE_CACHE: compiled, ...env },
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  let stdout = ''
  let stderr = ''
  const heard = new Set<() => void>()
  const hear = (): void => {
    for (const each of heard) each()
  }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    hear()
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
    hear()
  })
  const ended = once(child, 'close').then(([code, signal]) => {
    hear()
    return {
      code:
        signal === null
          ? (code as number)
          : 128 + { SIGKILL: 9, SIGINT: 2, SIGTERM: 15, SIGPIPE: 13 }[signal as 'SIGINT'],
      stdout,
      stderr,
    }
  })
  return {
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    ended,
    printed: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (pattern.test(stdout) || pattern.test(stderr)) resolve()
          else if (child.exitCode !== null)
            reject(new Error(`it ended before it printed ${pattern}: ${stdout}${stderr}`))
          else return
          heard.delete(look)
        }
        heard.add(look)
        look()
      }),
  }
}

/** Runs `reflex-bridge` to its end. */
export function run(args: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}): Promise<Ended> {
  return start(args, options).ended
}

/** The lines of JSON in a text. */
export function jsonLines(text: string): Record<string, unknown>[] {
  return text
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

/** A new folder, removed with the test. */
export function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'reflex-bridge-cli-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Inserts events into a table of a SQLite file, both made if they are missing. Returns their ids. */
export function insertInto(path: string, table: string, events: readonly NewEvent[]): string[] {
  using database = openSqlite(path)
  const log = sqliteEvents(database, { table })
  log.createTable()
  return events.length === 0 ? [] : [...log.insert(database, ...events).ids]
}

/** So many plain events. */
export function events(count: number, from = 0): NewEvent[] {
  return Array.from({ length: count }, (_, i) => ({
    type: 1 + ((from + i) % 2),
    foreignId: `order-${from + i}`,
    metadata: Buffer.from(JSON.stringify({ total: from + i })),
  }))
}

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'

/** What a process used: memory at its peak, in bytes, and the processor's time; and what it printed. */
export interface Usage {
  /** Its resident set, as the kernel counts it. */
  readonly resident: number
  /** JavaScript objects and buffers, garbage that is not collected yet included; looked at every 5 ms. */
  readonly heap: number
  /** Of all its threads, user and system, in s. */
  readonly cpu: number
  readonly output: string
}

/** Loaded before the program: writes, at the end, what it used. The process may have been replaced meanwhile, which closes all other ways. */
const REPORTER = `
import { writeFileSync } from 'node:fs'
import { getHeapStatistics } from 'node:v8'
let heap = 0
const look = () => {
  const { used_heap_size, external_memory } = getHeapStatistics()
  heap = Math.max(heap, used_heap_size + external_memory)
}
setInterval(look, 5).unref()
process.on('exit', () => {
  look()
  const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage()
  writeFileSync(process.env.USAGE_FILE, JSON.stringify({ resident: maxRSS * 1024, heap, cpu: (userCPUTime + systemCPUTime) / 1e6 }))
})`

let started = 0

/** A process that is measured. */
export interface MeasuredProcess {
  /** Asks it to end. */
  stop(): void
  /** Resolves when it has ended; rejects if it failed. */
  readonly ended: Promise<Usage>
}

/**
 * Runs Node with these arguments, as this process was started. `compileCache` is a folder that keeps what was compiled, so that
 * from the second run on the compiler's memory is not counted.
 */
export function startMeasured(args: readonly string[], compileCache: string): MeasuredProcess {
  const usage = join(tmpdir(), `reflex-bridge-usage-${process.pid}-${++started}.json`)
  const preload = ['--import', `data:text/javascript,${encodeURIComponent(REPORTER)}`]
  const child = spawn(process.execPath, [...process.execArgv, ...preload, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_COMPILE_CACHE: compileCache, USAGE_FILE: usage },
  })
  const end = async (): Promise<Usage> => {
    const [output, errors, [code]] = await Promise.all([
      text(child.stdout as NonNullable<typeof child.stdout>),
      text(child.stderr as NonNullable<typeof child.stderr>),
      once(child, 'close'),
    ])
    if (code !== 0) throw new Error(`${args.join(' ').slice(0, 200)} ended with ${code}: ${errors}`)
    const told = await readFile(usage, 'utf8')
    await rm(usage)
    return { ...(JSON.parse(told) as Omit<Usage, 'output'>), output }
  }
  return { stop: () => void child.kill('SIGTERM'), ended: end() }
}

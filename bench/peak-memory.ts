import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'

/** The most that a process used, in bytes, and what it printed. */
export interface PeakMemory {
  /** Its resident set, as the kernel counts it. */
  readonly resident: number
  /** JavaScript objects and buffers, garbage that is not collected yet included; looked at every 5 ms. */
  readonly heap: number
  readonly output: string
}

/** Loaded before the program: tells on file descriptor 3, at the end, what it used. */
const REPORTER = `
import { writeSync } from 'node:fs'
import { getHeapStatistics } from 'node:v8'
let heap = 0
const look = () => {
  const { used_heap_size, external_memory } = getHeapStatistics()
  heap = Math.max(heap, used_heap_size + external_memory)
}
setInterval(look, 5).unref()
process.on('exit', () => {
  look()
  writeSync(3, JSON.stringify({ resident: process.resourceUsage().maxRSS * 1024, heap }))
})`

/**
 * Runs Node with these arguments to its end, as this process was started. `compileCache` is a folder that keeps what was
 * compiled, so that from the second run on the compiler's memory is not counted. Throws if the program fails.
 */
export async function peakMemory(args: readonly string[], compileCache: string): Promise<PeakMemory> {
  const preload = ['--import', `data:text/javascript,${encodeURIComponent(REPORTER)}`]
  const child = spawn(process.execPath, [...process.execArgv, ...preload, ...args], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    env: { ...process.env, NODE_COMPILE_CACHE: compileCache },
  })
  const [output, errors, told, [code]] = await Promise.all([
    text(child.stdout as NonNullable<typeof child.stdout>),
    text(child.stderr as NonNullable<typeof child.stderr>),
    text(child.stdio[3] as NonNullable<typeof child.stderr>),
    once(child, 'close'),
  ])
  if (code !== 0) throw new Error(`${args.join(' ').slice(0, 200)} ended with ${code}: ${errors}`)
  return { ...(JSON.parse(told) as Omit<PeakMemory, 'output'>), output }
}

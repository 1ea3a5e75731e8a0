import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { cell, type Job, type Message } from './message.ts'

/** What is seen of the thread. */
export interface ThreadOptions {
  /** Aborts: no further schedule is begun. */
  readonly signal: AbortSignal
  /** In ms: a thread that neither begins a schedule nor lets its event loop turn for so long, though it works, is ended. */
  readonly stuckAfterMs: number
  /** The last one is `done`, `failed` or `stuck`. */
  onMessage(message: Message): void
  /** Called every 100 ms, with the schedules that were begun for the property under way. */
  onTick(schedules: number): void
  /** What the module prints. */
  onOutput(text: string): void
}

const TICK_MS = 100
/** Loading everything may keep a busy machine for a while. In ms. */
const STUCK_LOADING_MS = 60_000

/**
 * Does the job in a thread of its own, since a module may loop for ever, exit, or throw where nobody can catch it. Resolves, with the
 * thread ended, once its last message was passed on.
 */
export async function runThread(job: Job, options: ThreadOptions): Promise<void> {
  const { signal, stuckAfterMs, onMessage, onTick, onOutput } = options
  const cells = new Int32Array(new SharedArrayBuffer(4 * Object.keys(cell).length))
  const worker = new Worker(new URL(`./verify-thread${extname(import.meta.filename)}`, import.meta.url), {
    workerData: { job, cells },
    stdout: true, // stdout is for what was found
    stderr: true,
  })
  const ended = Promise.withResolvers<void>()
  let loaded = false
  let last = false
  const pass = (message: Message): void => {
    if (last) return
    loaded ||= message.is === 'loaded'
    last = message.is === 'done' || message.is === 'failed' || message.is === 'stuck'
    onMessage(message)
    if (last) ended.resolve()
  }
  const stuck = (message: string): void =>
    pass({ is: 'stuck', message, schedules: Atomics.load(cells, cell.schedules) })
  for (const output of [worker.stdout, worker.stderr]) output.setEncoding('utf8').on('data', onOutput)
  worker.on('message', pass)
  worker.on('error', (error: unknown) => {
    const thrown = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
    stuck(`the module threw where nobody could catch it: ${thrown}`)
  })
  worker.on('exit', (code) => {
    stuck(`the module ended the process, with exit code ${code}`)
  })

  // Ticks are counted, not time: none passes while this process is stopped as a whole.
  let silent = 0
  let before = ''
  let spent = process.cpuUsage()
  const ticking = setInterval(() => {
    const schedules = Atomics.load(cells, cell.schedules)
    onTick(schedules)
    const now = `${schedules} ${Atomics.load(cells, cell.beats)}`
    if (now !== before) spent = process.cpuUsage()
    silent = now === before ? silent + TICK_MS : 0
    before = now
    const patienceMs = loaded ? stuckAfterMs : STUCK_LOADING_MS
    if (silent < patienceMs) return
    const { user, system } = process.cpuUsage(spent)
    // A thread that has not been given its turn, on a machine that is busy, is not stuck.
    if ((user + system) / 1000 < patienceMs / 2 && silent < patienceMs * 6) return
    const seconds = (silent / 1000).toFixed(0)
    stuck(`the module has kept the event loop for ${seconds} s: is there a loop that awaits nothing?`)
  }, TICK_MS)
  const stop = (): void => void Atomics.store(cells, cell.stop, 1)
  signal.addEventListener('abort', stop, { once: true })
  if (signal.aborted) stop()
  try {
    await ended.promise
  } finally {
    clearInterval(ticking)
    signal.removeEventListener('abort', stop)
    await worker.terminate() // it may still hold what keeps a process alive
  }
}

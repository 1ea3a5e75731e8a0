import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { disposeStack, ReflexError, run, supervise, wireNames } from '../../core/index.ts'
import { auditTarget, type TargetAudit } from './audit.ts'
import { type Child, startChild } from './child.ts'
import type { Stage, Target } from './stage.ts'

/** What the demo is doing right now. */
export interface Progress {
  readonly committedOrders: number
  readonly delivered: ReadonlyMap<string, number>
  readonly kills: number
  readonly failures: number
  readonly seconds: number
}

/** What the demo found in the end. */
export interface DemoAudit {
  readonly committed: number
  /** How often the bridge was killed. */
  readonly kills: number
  readonly targets: readonly TargetAudit[]
  readonly seconds: number
}

/** Options of `perform`. */
export interface PerformOptions {
  /** How many orders are committed. */
  readonly orders: number
  /** How often the bridge is killed with kill -9 on the way. */
  readonly kills: number
  readonly signal: AbortSignal
  readonly onProgress: (progress: Progress) => void
}

/** One event in so many fails its handler at first. */
const FAILS_ONE_IN = 5000
/** With nothing delivered for so long the demo stops waiting, and the audit says what is missing. */
const STALLED_AFTER_MS = 30_000

/** Writes, forwards, kills, consumes and audits. Throws when a process of it fails on its own account. */
export async function perform(stage: Stage, { orders, kills, signal, onProgress }: PerformOptions): Promise<DemoAudit> {
  const started = Date.now()
  await using stack = disposeStack()
  const folder = await mkdtemp(join(tmpdir(), 'reflex-bridge-demo-'))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const configuration = join(folder, 'bridge.json')
  const routes = Object.fromEntries(stage.targets.map(({ name, sink }) => [name, { source: stage.source, sink }]))
  await writeFile(configuration, JSON.stringify({ createTables: true, routes }))

  const end = async (child: Child, by: NodeJS.Signals): Promise<number | NodeJS.Signals> => {
    if (child.process.exitCode === null && child.process.signalCode === null) child.process.kill(by)
    return child.exited
  }
  let committedOrders = 0
  const waiting = new Set<Child>() // writers at the end of a part
  const half = Math.ceil(orders / 2)
  const writers = [half, orders - half].map((count, i) => {
    const writer = startChild('writer', stage.databaseUrl, `w${i + 1}`, String(count), String(kills + 1))
    let told = 0
    writer.process.on('message', ({ committed, partEnded }: { committed: number; partEnded: boolean }) => {
      committedOrders += committed - told
      told = committed
      if (partEnded) waiting.add(writer)
    })
    stack.defer(() => end(writer, 'SIGKILL').then(() => {}))
    return writer
  })
  let bridge = startChild('bridge-process', configuration)
  stack.defer(() => end(bridge, 'SIGKILL').then(() => {}))

  let failures = 0
  const consumers = stage.targets.map((target) => consumeForEver(target, stage, () => failures++))
  for (const { stop } of consumers) stack.defer(stop)
  const deliveredToAll = (): number => Math.min(...consumers.map(({ handled }) => handled.size))

  let killed = 0
  let written = false
  const expected = orders * 2 // each is placed, and paid
  let movedAt = Date.now()
  for (let before = -1; !written || deliveredToAll() < expected; ) {
    await sleep(50, undefined, { signal })
    onProgress({
      committedOrders,
      delivered: new Map(consumers.map(({ name, handled }) => [name, handled.size])),
      kills: killed,
      failures,
      seconds: (Date.now() - started) / 1000,
    })
    for (const { failed } of consumers) if (failed() !== undefined) throw failed()
    for (const writer of writers) await checkAlive('a writer', writer, { mayExit: true })
    written = writers.every(({ process }) => process.exitCode === 0)
    if (writers.every((writer) => waiting.has(writer) || writer.process.exitCode === 0) && killed < kills) {
      // All at work on what has just been committed, and the writers go on while it is down.
      await end(bridge, 'SIGKILL')
      killed++
      for (const writer of waiting) writer.process.send('go on')
      waiting.clear()
      bridge = startChild('bridge-process', configuration)
    }
    await checkAlive('the bridge', bridge, { mayExit: false })
    if (deliveredToAll() > before || !written) movedAt = Date.now()
    before = deliveredToAll()
    if (Date.now() - movedAt < STALLED_AFTER_MS) continue
    console.error(`nothing was delivered for ${STALLED_AFTER_MS / 1000} s; the bridge said last:\n${bridge.output()}`)
    break
  }

  await bridge.spoke // from then on it heeds signals
  const code = await end(bridge, 'SIGTERM')
  if (code !== 0)
    throw new ReflexError(
      'DEMO_FAILED',
      `the bridge was to end with exit code 0 on SIGTERM, but ended with ${code}:\n${bridge.output()}`,
    )
  for (const { stop } of consumers) await stop()

  const committed = new Set<string>()
  for await (const { sourceId } of stage.committed()) committed.add(sourceId)
  const targets: TargetAudit[] = []
  for (const [i, { name, entries }] of stage.targets.entries()) {
    targets.push(
      await auditTarget(name, { committed, entries: entries(), handled: consumers[i]?.handled ?? new Set() }),
    )
  }
  return { committed: committed.size, kills: killed, targets, seconds: (Date.now() - started) / 1000 }
}

async function checkAlive(what: string, child: Child, { mayExit }: { mayExit: boolean }): Promise<void> {
  const { exitCode, signalCode } = child.process
  if (exitCode === null && signalCode === null) return
  if (mayExit && exitCode === 0) return
  await child.exited // its last words
  throw new ReflexError('DEMO_FAILED', `${what} ended by itself with ${exitCode ?? signalCode}:\n${child.output()}`)
}

/** A consumer of one target that fails at random and is started again each time. */
function consumeForEver(
  { name, source }: Target,
  { cursors }: Stage,
  onFailure: () => void,
): { name: string; handled: ReadonlySet<string>; failed(): unknown; stop(): Promise<void> } {
  const handled = new Set<string>()
  const stopping = new AbortController()
  let failure: unknown
  const consumer = {
    name: `demo-${name}`,
    handle: ({ id, headers }: { id: string; headers: Readonly<Record<string, unknown>> }): void => {
      if (Math.random() < 1 / FAILS_ONE_IN) throw new Error(`this handler fails at random, now at event ${id}`)
      handled.add(String(headers[wireNames.sourceId]))
    },
  }
  const running = supervise((o) => run({ stream: source.stream, cursors, consumer }, o), {
    signal: stopping.signal,
    minDelayMs: 20,
    observer: { failed: onFailure },
  }).catch((error) => {
    failure = error
  })
  return {
    name,
    handled,
    failed: () => failure,
    stop: async () => {
      stopping.abort()
      await running
    },
  }
}

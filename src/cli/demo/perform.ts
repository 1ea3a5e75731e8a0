import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { disposeStack, ReflexError } from '../../core/index.ts'
import { auditTarget, type TargetAudit } from './audit.ts'
import { type Child, checkAlive, endChild } from './child.ts'
import { consumeForEver } from './consume-for-ever.ts'
import { killInTurn } from './kill-in-turn.ts'
import { startOrderWriters } from './order-writers.ts'
import type { Stage } from './stage.ts'

/** What the demo is doing right now. */
export interface Progress {
  readonly committedOrders: number
  readonly delivered: ReadonlyMap<string, number>
  readonly kills: number
  readonly brokersKilled: readonly string[]
  readonly failures: number
  readonly seconds: number
}

/** What the demo found in the end. */
export interface DemoAudit {
  readonly committed: number
  /** How often the bridge was killed. */
  readonly kills: number
  /** The brokers that were killed, in this order. */
  readonly brokersKilled: readonly string[]
  readonly targets: readonly TargetAudit[]
  readonly seconds: number
}

/** Options of `perform`. */
export interface PerformOptions {
  /** How many orders are committed. */
  readonly orders: number
  /** How often the bridge is killed with kill -9 on the way. */
  readonly kills: number
  /** Each broker is killed with kill -9 too, once, and started again on its data. */
  readonly killBrokers: boolean
  readonly signal: AbortSignal
  readonly onProgress: (progress: Progress) => void
}

const LOOKS_EVERY_MS = 50
/** With nothing delivered for so long the demo stops waiting, and the audit says what is missing. */
const STALLED_AFTER_MS = 30_000

/** Writes, forwards, kills, consumes and audits. Throws when a process of it fails on its own account. */
export async function perform(stage: Stage, options: PerformOptions): Promise<DemoAudit> {
  const { orders, kills, killBrokers, signal, onProgress } = options
  const started = Date.now()
  await using stack = disposeStack()
  const configuration = await writeConfiguration(stage, (folder) =>
    stack.defer(() => rm(folder, { recursive: true, force: true })),
  )
  const victims = killBrokers ? stage.targets : []
  const parts = kills + victims.length + 1
  const writers = stack.use(startOrderWriters(stage.databaseUrl, { orders, parts }))
  const consumers = stage.targets.map((target) => consumeForEver(target, stage.cursors))
  for (const { stop } of consumers) stack.defer(stop)
  const kill = stack.use(killInTurn({ configuration, kills, targets: victims, consumers, writers }))
  const deliveredToAll = (): number => Math.min(...consumers.map(({ handled }) => handled.size))

  const expected = orders * 2 // each is placed, and paid
  let failure: { error: unknown } | undefined
  let movedAt = Date.now()
  for (let before = -1; !kill.done() || !writers.done() || deliveredToAll() < expected; ) {
    await sleep(LOOKS_EVERY_MS, undefined, { signal })
    onProgress({
      committedOrders: writers.committedOrders(),
      delivered: new Map(consumers.map(({ name, handled }) => [name, handled.size])),
      kills: kill.kills(),
      brokersKilled: kill.brokersKilled(),
      failures: consumers.reduce((sum, { failures }) => sum + failures(), 0),
      seconds: (Date.now() - started) / 1000,
    })
    for (const { failed } of consumers) if (failed() !== undefined) throw failed()
    if (failure !== undefined) throw failure.error
    for (const writer of writers.children) await checkAlive('a writer', writer, { mayExit: true })
    if (!kill.busy()) await checkAlive('the bridge', kill.bridge(), { mayExit: false })
    if (!kill.busy() && writers.wait()) {
      kill.next().catch((error: unknown) => {
        failure = { error }
      })
    }
    if (deliveredToAll() > before || !writers.done() || kill.busy()) movedAt = Date.now()
    before = deliveredToAll()
    if (Date.now() - movedAt < STALLED_AFTER_MS) continue
    const last = kill.bridge().output()
    console.error(`nothing was delivered for ${STALLED_AFTER_MS / 1000} s; the bridge said last:\n${last}`)
    break
  }

  await endBridge(kill.bridge())
  for (const { stop } of consumers) await stop()

  const committed = new Set<string>()
  for await (const { sourceId } of stage.committed()) committed.add(sourceId)
  const targets = await Promise.all(
    stage.targets.map(({ name, entries }, i) =>
      auditTarget(name, { committed, entries: entries(), handled: consumers[i]?.handled ?? new Set() }),
    ),
  )
  return {
    committed: committed.size,
    kills: kill.kills(),
    brokersKilled: kill.brokersKilled(),
    targets,
    seconds: (Date.now() - started) / 1000,
  }
}

async function endBridge(bridge: Child): Promise<void> {
  await bridge.spoke // from then on it heeds signals
  const code = await endChild(bridge, 'SIGTERM')
  if (code === 0) return
  throw new ReflexError(
    'DEMO_FAILED',
    `the bridge was to end with exit code 0 on SIGTERM, but ended with ${code}:\n${bridge.output()}`,
  )
}

/** The path of the bridge's configuration, in a folder of its own. */
async function writeConfiguration(stage: Stage, onFolder: (folder: string) => void): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'reflex-bridge-demo-'))
  onFolder(folder)
  const routes = Object.fromEntries(stage.targets.map(({ name, sink }) => [name, { source: stage.source, sink }]))
  const path = join(folder, 'bridge.json')
  await writeFile(path, JSON.stringify({ createTables: true, routes }))
  return path
}

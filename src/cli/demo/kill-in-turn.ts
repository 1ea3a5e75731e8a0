import { setTimeout as sleep } from 'node:timers/promises'
import { type Child, endChild, startChild } from './child.ts'
import type { RunningConsumer } from './consume-for-ever.ts'
import type { OrderWriters } from './order-writers.ts'
import type { Target } from './stage.ts'

/** The bridge's process, and those who get killed with kill -9 on the way, one after the other. */
export interface KillInTurn extends AsyncDisposable {
  /** The bridge that is at work now. */
  bridge(): Child
  /** How often the bridge was killed. */
  kills(): number
  /** The brokers that were killed, in this order. */
  brokersKilled(): readonly string[]
  /** One is being killed, or started again, right now. */
  busy(): boolean
  /** Everybody has had their turn. */
  done(): boolean
  /** Kills the next one and starts it again; the writers go on. Rejects as that fails. */
  next(): Promise<void>
}

/** What `killInTurn` needs. */
export interface KillInTurnOptions {
  /** The bridge's configuration. */
  readonly configuration: string
  /** How often the bridge is killed. */
  readonly kills: number
  /** Whose brokers are killed, once each, in between. */
  readonly targets: readonly Target[]
  readonly consumers: readonly RunningConsumer[]
  readonly writers: OrderWriters
}

/** Starts the bridge. Disposing kills it for good. */
export function killInTurn({ configuration, kills, targets, consumers, writers }: KillInTurnOptions): KillInTurn {
  const victims = inTurn(kills, targets)
  const ending = new AbortController()
  const brokersKilled: string[] = []
  let bridge = startChild('bridge-process', configuration)
  let killed = 0
  let killing: Promise<void> | undefined

  /** While it is at work on what has just been committed. */
  const killBridge = async (): Promise<void> => {
    await endChild(bridge, 'SIGKILL')
    killed++
    writers.goOn()
    bridge = startChild('bridge-process', configuration)
  }
  /** Right after the bridge has appended there, with more to come. */
  const killBroker = async ({ name, process }: Target): Promise<void> => {
    const delivered = (): number | undefined => consumers.find((consumer) => consumer.name === name)?.handled.size
    const before = delivered()
    writers.goOn()
    while (delivered() === before && !writers.wait()) await sleep(1, undefined, { signal: ending.signal })
    await process?.kill()
    brokersKilled.push(name)
    await process?.start()
  }
  return {
    bridge: () => bridge,
    kills: () => killed,
    brokersKilled: () => brokersKilled,
    busy: () => killing !== undefined,
    done: () => victims.length === 0 && killing === undefined,
    next: async () => {
      const victim = victims.shift()
      if (victim === undefined) return
      killing = victim === 'bridge' ? killBridge() : killBroker(victim)
      try {
        await killing
      } finally {
        killing = undefined
      }
    },
    [Symbol.asyncDispose]: async () => {
      ending.abort()
      await killing?.catch(() => {}) // whoever called `next` is told
      await endChild(bridge, 'SIGKILL')
    },
  }
}

/** The bridge, the first broker, the bridge, the second broker, …; what is left of either comes last. */
function inTurn(kills: number, targets: readonly Target[]): ('bridge' | Target)[] {
  const rounds = Array.from({ length: Math.max(kills, targets.length) }, (_, i) => i)
  return rounds.flatMap((i) => [...(i < kills ? (['bridge'] as const) : []), ...targets.slice(i, i + 1)])
}

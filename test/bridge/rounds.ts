import { deepEqual, ok } from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { bridge } from '../../src/bridge/bridge.ts'
import { parseCheckpoint } from '../../src/bridge/checkpoint.ts'
import { isRetriable, supervise } from '../../src/core/index.ts'
import { eventually, within } from '../tools/reader.ts'
import type { Destination, OwnServer } from './destinations.ts'
import type { Origin } from './origins.ts'
import { openRoute, type RouteAt } from './real-route.ts'

/** What a route connects. */
export interface Ends {
  readonly origin: Origin
  readonly destination: Pick<Destination, 'at' | 'lines'>
  /** Default: `route`. */
  readonly name?: string
}

/** A bridge in this process. */
export interface RunningBridge extends AsyncDisposable {
  readonly repairs: readonly string[]
  /** What it has failed with so far, the newest last. */
  readonly failures: readonly string[]
  /** Rejects if it gives up. */
  readonly running: Promise<unknown>
  /** Resolves when it has ended; rejects if it had given up. */
  stop(): Promise<void>
}

/** The route of `ends`, as it is told to another process. */
export function routeAt({ origin, destination, name = 'route' }: Ends): RouteAt {
  return { name, source: origin.at(), sink: destination.at(name) }
}

/** Writes transactions of several events, two at a time and a quarter of them rolled back, until it is stopped. */
export function startWriting(origin: Origin): { stop(): Promise<void> } {
  let stopped = false
  let count = 0
  const write = async (): Promise<void> => {
    while (!stopped) {
      const events = Array.from({ length: 1 + (count % 4) }, () => ({ type: 1, foreignId: `e${count++ % 7}` }))
      await origin.write(events, count % 4 !== 0)
      await sleep(Math.random() * (count < 1000 ? 16 : 250)) // a slow machine gets no more to read than a fast one
    }
  }
  const writing = Promise.all([write(), write()])
  writing.catch(() => {}) // whoever stops it is told
  return {
    stop: async () => {
      stopped = true
      await writing
    },
  }
}

/** A bridge in this process that starts again after each failure. */
export function startBridge(at: RouteAt): RunningBridge {
  const route = openRoute(at)
  const stopping = new AbortController()
  const repairs: string[] = []
  const failures: string[] = []
  const running = supervise((o) => bridge(route.spec, o), {
    signal: stopping.signal,
    minDelayMs: 10,
    maxDelayMs: 100,
    observer: {
      repaired: (text) => repairs.push(text),
      failed: (error) => failures.push(`${performance.now().toFixed(0)} ${error}`),
    },
  })
  running.catch(() => {}) // whoever stops it is told
  const stop = async (): Promise<void> => {
    stopping.abort()
    try {
      await running
    } finally {
      await route[Symbol.asyncDispose]()
    }
  }
  return { repairs, failures, running, stop, [Symbol.asyncDispose]: () => stop().catch(() => {}) }
}

/** A bridge in a process of its own, which is killed at the latest when this is disposed of. */
export interface BridgeProcess extends AsyncDisposable {
  /** Resolves when it has saved its first checkpoint, or failed. */
  readonly atWork: Promise<void>
  /** Resolves, when it has exited, with the failure that ended it, if one had. */
  readonly ended: Promise<string | undefined>
  /** Kills it; resolves as `ended`. */
  kill(): Promise<string | undefined>
}

/** Starts it. */
export function forkBridge(at: RouteAt): BridgeProcess {
  const child = fork(fileURLToPath(new URL('forward.ts', import.meta.url)), [JSON.stringify(at)], {
    execArgv: ['--disable-warning=ExperimentalWarning', '--disable-warning=TimeoutNegativeWarning'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const saved = Promise.withResolvers<void>()
  let failure: string | undefined
  child.on('message', (message: { cursor?: string; ended?: string }) => {
    if (message.cursor !== undefined) saved.resolve()
    failure ??= message.ended
  })
  const ended = once(child, 'exit').then(() => failure)
  const kill = async (): Promise<string | undefined> => {
    child.kill('SIGKILL')
    return ended
  }
  return {
    atWork: Promise.race([saved.promise, ended.then(() => {})]),
    ended,
    kill,
    [Symbol.asyncDispose]: async () => void (await kill()),
  }
}

/** Waits until all events of the source are in the destination, then holds the two against each other. */
export async function checkEqual({ origin, destination, name = 'route' }: Ends, bridge: RunningBridge): Promise<void> {
  const expected = await origin.lines()
  ok(expected.length > 20, `only ${expected.length} events were written`)
  const last = String(expected.at(-1))
  const arrived = async (): Promise<boolean> => {
    await sleep(50)
    try {
      return String((await destination.lines(name)).at(-1)) === last
    } catch (error) {
      if (!isRetriable(error)) throw error // a server that has just started is not there yet
      return false
    }
  }
  try {
    await Promise.race([eventually(arrived, 30_000, 'the last event'), bridge.running])
  } catch (error) {
    throw new Error(`${error}, after ${bridge.failures.slice(-10).join('\n')}`, { cause: error })
  }
  deepEqual(await destination.lines(name), expected)
}

/** The checkpoint is at the last event. */
export async function checkSaved(ends: Ends): Promise<void> {
  await using route = openRoute(routeAt(ends))
  const { name, checkpoints } = route.spec
  const [last] = (await ends.origin.lines()).at(-1) ?? []
  deepEqual(parseCheckpoint(name, await checkpoints.get(name))?.cursor, last)
}

/** Lets a last bridge forward what is left, and holds the ends against each other. */
export async function checkRest(ends: Ends): Promise<RunningBridge> {
  await using rest = startBridge(routeAt(ends))
  await checkEqual(ends, rest)
  await rest.stop()
  await checkSaved(ends)
  return rest
}

/** So many processes, some of which are still at work when the next one takes over, each killed while it is at work. */
export async function killBridges(ends: Ends, rounds: number): Promise<void> {
  const writing = startWriting(ends.origin)
  const alive = new Set<BridgeProcess>()
  const kill = async (process: BridgeProcess): Promise<void> => {
    alive.delete(process)
    const failure = await process.kill()
    // Of two that are at work, one may have found out that there is another.
    ok(failure === undefined || failure === 'ANOTHER_RUNNER', `a bridge ended with ${failure}`)
  }
  try {
    for (let round = 0; round < rounds; round++) {
      const [older] = alive
      const process = forkBridge(routeAt(ends))
      alive.add(process)
      await within(process.atWork, 30_000, 'the first checkpoint')
      await sleep(Math.random() * 60)
      if (older !== undefined) await kill(older)
      if (round % 3 !== 1) await kill(process)
    }
  } finally {
    for (const process of alive) await process.kill()
    await writing.stop()
  }
  await checkRest(ends)
}

/**
 * Kills the destination so many times under a bridge, which is to find all that had been confirmed; or to refill it, where the
 * broker is one that `loses` even that.
 */
export async function killBrokers(ends: Ends, server: OwnServer, rounds: number, loses = false): Promise<void> {
  await using forwarding = startBridge(routeAt(ends))
  for (let round = 0; round < rounds; round++) {
    const writing = startWriting(ends.origin)
    await sleep(100 + Math.random() * 100)
    await server.process.kill()
    await writing.stop()
    await server.process.start()
  }
  await checkEqual(ends, forwarding)
  await forwarding.stop()
  await checkSaved(ends)
  if (!loses) deepEqual(forwarding.repairs, [])
}

/** Lets the destination lose what it has confirmed, so many times, and the last time while the source is idle. */
export async function loseTails(
  ends: Ends & { readonly destination: Destination },
  rounds: number,
): Promise<readonly string[]> {
  const { origin, destination } = ends
  await using forwarding = startBridge(routeAt(ends))
  for (let round = 1; round <= rounds; round++) {
    const writing = startWriting(origin)
    await sleep(150 + Math.random() * 100)
    if (round === rounds) {
      await writing.stop()
      await checkEqual(ends, forwarding)
    }
    const losing = destination.loseTail()
    await sleep(50)
    await writing.stop()
    await losing
  }
  await checkEqual(ends, forwarding)
  await forwarding.stop()
  await checkSaved(ends)
  ok(/refill/.test(forwarding.repairs.join()), `no repair was told: ${forwarding.repairs.join()}`)
  return forwarding.repairs
}

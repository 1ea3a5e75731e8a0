import { setTimeout as sleep } from 'node:timers/promises'
import type { EventStream, Source } from 'reflex-bridge'
import { type Server, startServer, type TcpProxy, tcpProxy } from 'reflex-bridge/testing'
import type { LogKind, OpenLogs } from '../log-kind.ts'
import { logKinds } from '../logs.ts'
import { against, quantile, type Result } from '../measure.ts'

const ROUNDS = 100
/** So many streams meet a dead peer at once. */
const STREAMS = 10
const DEATHS = 3
/** So that a read waits for what is not there yet. */
const SETTLED_MS = 50
const LOG = 'lifetimes'

const ABORT = { reference: 50, referenceName: 'rule 6: an abort' }
const CLOSED = { reference: 1000, referenceName: 'rule 6: nothing is left' }
const NOTICED = { reference: 5000, referenceName: 'rule 3: a dead peer' }

/**
 * How long a stream takes to open, beside the bare client; to end when it is aborted, and to be gone from the server; and to notice
 * a peer that is frozen, killed, or at the other end of a connection that carries nothing. In ms, p50 and p99.
 */
export async function lifetimeCases(): Promise<Result[]> {
  const results: Result[] = []
  for (const kind of logKinds) {
    await using server = await startServer(kind.server, { from: ['native', 'docker'] })
    await using proxy = await tcpProxy(server)
    await using logs = await kind.open(server.url, proxy)
    await logs.create(LOG)
    await logs.write(LOG)
    const source = logs.source(LOG)
    results.push(...(await opening(kind, logs, source)))
    results.push(...(await aborting(kind, proxy, source)))
    results.push(...(await dying(kind, server, proxy, source)))
  }
  return results
}

async function opening({ title, bareName }: LogKind, logs: OpenLogs, source: Source): Promise<Result[]> {
  const times = { open: [] as number[], first: [] as number[], closed: [] as number[], bare: [] as number[] }
  for (let round = -10; round < ROUNDS; round++) {
    const started = performance.now()
    const elapsed = (): number => performance.now() - started
    const stream = await source.stream('', {})
    const open = elapsed()
    await stream[Symbol.asyncIterator]().next()
    const first = elapsed()
    await stream[Symbol.asyncDispose]()
    const closed = elapsed()
    const bareStarted = performance.now()
    await logs.bareRead(LOG)
    if (round < 0) continue // to warm up
    times.open.push(open)
    times.first.push(first)
    times.closed.push(closed)
    times.bare.push(performance.now() - bareStarted)
  }
  const referenceName = `${bareName}, opened, read and closed`
  return [
    ...quantiles(`${title} open`, times.open, times.bare, referenceName),
    ...quantiles(`${title} open → first event`, times.first, times.bare, referenceName),
    ...quantiles(`${title} open → first event → closed`, times.closed, times.bare, referenceName),
  ]
}

async function aborting({ title }: LogKind, proxy: TcpProxy, source: Source): Promise<Result[]> {
  const rejected: number[] = []
  const gone: number[] = []
  const kept = await connectionsAtRest(proxy, source)
  for (let round = 0; round < ROUNDS; round++) {
    const caller = new AbortController()
    const stream = await source.stream('', caller)
    const failing = atHead(stream)
    await sleep(SETTLED_MS)
    const started = performance.now()
    caller.abort()
    await failing
    rejected.push(performance.now() - started)
    await stream[Symbol.asyncDispose]()
    while (proxy.connections > kept) await sleep(1)
    gone.push(performance.now() - started)
  }
  return [
    ...limited(`${title} abort → rejection`, rejected, ABORT),
    ...limited(`${title} abort → gone from the server`, gone, CLOSED),
  ]
}

/** What the client keeps of its own, as a pool does. */
async function connectionsAtRest(proxy: TcpProxy, source: Source): Promise<number> {
  await (await source.stream('', {}))[Symbol.asyncDispose]()
  await sleep(1000)
  return proxy.connections
}

/** Resolves with the time, by `performance.now()`, at which the stream fails. */
async function atHead(stream: EventStream): Promise<number> {
  try {
    for await (const _ of stream);
  } catch {
    return performance.now()
  }
  throw new Error('the stream has ended without an error')
}

async function dying({ title }: LogKind, { process }: Server, proxy: TcpProxy, source: Source): Promise<Result[]> {
  if (process === undefined) return []
  const deaths = {
    frozen: [() => process.freeze(), () => process.thaw()],
    killed: [() => process.kill(), () => process.start()],
    'half-open': [() => proxy.stall(), () => proxy.restore()],
  } as const
  const results: Result[] = []
  for (const [how, [die, revive]] of Object.entries(deaths)) {
    const times: number[] = []
    for (let round = 0; round < DEATHS; round++) {
      const opened = await Promise.all(Array.from({ length: STREAMS }, () => openOnceThere(source)))
      const failing = opened.map(atHead)
      await sleep(SETTLED_MS + (round * 1000) / DEATHS) // not always at the same point of a client's heartbeat
      const started = performance.now()
      await die()
      for (const failedAt of failing) times.push((await failedAt) - started)
      await revive()
    }
    results.push(...limited(`${title} peer ${how} → error`, times, NOTICED))
  }
  return results
}

/** A server that was away takes a moment. */
async function openOnceThere(source: Source): Promise<EventStream> {
  for (const deadline = Date.now() + 60_000; ; await sleep(200)) {
    try {
      return await source.stream('', {})
    } catch (error) {
      if (Date.now() > deadline) throw error
    }
  }
}

function quantiles(name: string, ours: number[], bare: number[], referenceName: string): Result[] {
  return shares.map(([label, share]) =>
    against({
      case: `${name}, ${label}`,
      ours: quantile(ours, share),
      reference: quantile(bare, share),
      referenceName,
      unit: 'ms',
    }),
  )
}

function limited(name: string, ours: number[], limit: Pick<Result, 'reference' | 'referenceName'>): Result[] {
  return shares.map(([label, share]) =>
    against({ case: `${name}, ${label}`, ours: quantile(ours, share), ...limit, unit: 'ms' }),
  )
}

const shares = [
  ['p50', 0.5],
  ['p99', 0.99],
] as const

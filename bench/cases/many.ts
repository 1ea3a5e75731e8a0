import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startServer } from 'reflex-bridge/testing'
import type { LogKind } from '../log-kind.ts'
import { logKinds } from '../logs.ts'
import { against, type Result } from '../measure.ts'

const READERS = 100
const SECONDS = 20
const EVENTS_A_SECOND = 20
const LOG = 'many'

/** What 100 readers in one process cost. */
interface Held {
  /** Of each reader, in bytes. */
  readonly resident: number
  readonly heap: number
  readonly sockets: number
  /** Of all of them, in % of one core. */
  readonly cpu: number
}

interface Loaded {
  readonly cpu: number
  readonly received: number
}

/** 100 logs read in one process: memory and sockets of a reader, CPU of all, without events and with 20 a second. */
export async function manyCases(): Promise<Result[]> {
  const results: Result[] = []
  for (const kind of logKinds) results.push(...(await manyOf(kind)))
  return results
}

async function manyOf({ server: name, title, plural, open }: LogKind): Promise<Result[]> {
  await using server = await startServer(name, { from: ['native', 'docker'] })
  await using logs = await open(server.url)
  await logs.create(LOG, READERS)
  for (let i = 0; i < READERS; i++) await logs.write(LOG, i)

  const what = JSON.stringify({ server: name, url: server.url })
  const program = `await (await import(${JSON.stringify(resolve('bench/cases/many.ts'))})).${holdReaders.name}(${what})`
  const child = spawn(
    process.execPath,
    [...process.execArgv, '--expose-gc', '--input-type=module', '--eval', program],
    {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    },
  )
  const ended = once(child, 'close').then(([code]) => {
    throw new Error(`the process with the readers ended with ${code}`)
  })
  ended.catch(() => {}) // when it is over
  const told = async (): Promise<unknown> => (await Promise.race([once(child, 'message'), ended]))[0]
  await told()
  const serverCpu = await stopwatch(server.process?.pid)
  const held = (await told()) as Held
  const atRest = await serverCpu()
  let sent = 0
  for (const until = performance.now() + SECONDS * 1000; performance.now() < until; await sleep(1000 / EVENTS_A_SECOND))
    await logs.write(LOG, sent++ % READERS)
  child.send('written')
  const loaded = (await told()) as Loaded
  if (loaded.received !== sent) throw new Error(`${title}: ${loaded.received} of ${sent} events came`)

  const readers = `${title}, ${READERS} ${plural}`
  const megabyte = { reference: 1000, referenceName: 'at most 1 MB', unit: 'kB' }
  const percent = { reference: 5, referenceName: 'at most 5 % of a core', unit: '%' }
  return [
    against({ case: `${readers}, resident each`, ours: held.resident / 1000, ...megabyte }),
    against({ case: `${readers}, heap each`, ours: held.heap / 1000, ...megabyte }),
    against({ case: `${readers}, sockets each`, ours: held.sockets, reference: 1, referenceName: 'one', unit: '' }),
    against({ case: `${readers}, CPU at rest`, ours: held.cpu, ...percent }),
    against({ case: `${readers}, CPU, ${EVENTS_A_SECOND} events/s`, ours: loaded.cpu, ...percent }),
    against({ case: `${readers}, the server's CPU at rest`, ours: atRest, ...percent }),
  ]
}

/** As a program of its own: opens the readers, and tells what they cost at rest, and until it is told that all has been written. */
export async function holdReaders({ server, url }: { server: string; url: string }): Promise<void> {
  const kind = logKinds.find((each) => each.server === server)
  if (kind === undefined) throw new Error(`expected one of the servers in logs.ts, but found ${server}`)
  await using logs = await kind.open(url)
  const ending = new AbortController()
  let received = 0
  const read = async (i: number): Promise<void> => {
    const stream = await logs.source(LOG, i).stream('', ending)
    for await (const { events } of stream) received += events.length
  }
  await (await logs.source(LOG, 0).stream('', {}))[Symbol.asyncDispose]() // to warm up
  await sleep(1000)
  const before = usage()
  const reading = Array.from({ length: READERS }, (_, i) => read(i))
  const failed = Promise.all(reading)
  failed.catch((error: unknown) => {
    if (!ending.signal.aborted) throw error
  })
  while (received < READERS) await sleep(100)
  await sleep(3000)
  const after = usage()
  process.send?.('open')
  const cpu = stopwatchHere()
  await sleep(SECONDS * 1000)
  const each = (of: keyof typeof after): number => (after[of] - before[of]) / READERS
  const held: Held = { resident: each('resident'), heap: each('heap'), sockets: each('sockets'), cpu: cpu() }
  received = 0
  const underLoad = stopwatchHere()
  process.send?.(held)
  await once(process, 'message')
  const loadedCpu = underLoad()
  await sleep(1000)
  const loaded: Loaded = { cpu: loadedCpu, received }
  process.send?.(loaded)
  ending.abort()
  process.disconnect()
}

function usage(): { resident: number; heap: number; sockets: number } {
  for (let i = 0; i < 3; i++) globalThis.gc?.()
  const { rss, heapUsed, external } = process.memoryUsage()
  const sockets = process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length
  return { resident: rss, heap: heapUsed + external, sockets }
}

/** Starts to measure; what is returned tells this process's CPU since then, in % of a core. */
function stopwatchHere(): () => number {
  const started = performance.now()
  const before = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 10 / (performance.now() - started)
  }
}

/** As `stopwatchHere`, of another process, where the kernel tells it. */
async function stopwatch(pid: number | undefined): Promise<() => Promise<number>> {
  const ticks = async (): Promise<number> => {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
    const [user, system] = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .slice(11, 13)
      .map(Number)
    return (user ?? Number.NaN) + (system ?? Number.NaN)
  }
  const started = performance.now()
  const before = await ticks()
  const TICKS_A_SECOND = 100
  return async () => (((await ticks()) - before) * 100_000) / TICKS_A_SECOND / (performance.now() - started)
}

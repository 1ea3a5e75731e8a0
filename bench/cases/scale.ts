import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { type Event, memoryCursors, run } from 'reflex-bridge'
import { startServer } from 'reflex-bridge/testing'
import type { OpenLogs } from '../log-kind.ts'
import { logKinds } from '../logs.ts'
import { against, quantile, type Result } from '../measure.ts'
import { startMeasured } from '../measured-process.ts'

const SIZES = [10_000, 100_000, 1_000_000]
const FULL = [...SIZES, 10_000_000]
/** Of a small log the median of so many is taken; others are long enough. */
const ROUNDS: Readonly<Record<number, number>> = { 10000: 9, 100000: 3 }
const PAGE = 1000
const PAYLOAD = Buffer.alloc(50, 'x')

/** In µs an event: of time, and of this process's CPU, which says more on a machine that is busy with other things. */
interface Costs {
  readonly writing: number
  readonly 'writing, CPU': number
  readonly reading: number
  readonly 'reading, CPU': number
}

/**
 * What an event costs, in µs, in logs of 10⁴ events up to 10⁶, or to 10⁷ if `full`, held against the smallest: events of 50 bytes,
 * written by the sink in batches of 1,000, then read by the source and run. Opening is not counted. Each size has a process of its
 * own, whose memory at the peak is told too.
 */
export async function scaleCases({ full }: { readonly full: boolean }): Promise<Result[]> {
  await using stack = new AsyncDisposableStack()
  const compileCache = await mkdtemp(join(tmpdir(), 'reflex-bridge-bench-'))
  stack.defer(() => rm(compileCache, { recursive: true, force: true }))
  const results: Result[] = []
  for (const { server: name, title } of logKinds.filter(({ hasSink }) => hasSink)) {
    await using server = await startServer(name)
    const figures: (Costs & { readonly memory: number })[] = []
    const sizes = full ? FULL : SIZES
    for (const size of sizes) {
      const what = JSON.stringify({ server: name, url: server.url, size })
      const program = `await (await import(${JSON.stringify(resolve('bench/cases/scale.ts'))})).${printCosts.name}(${what})`
      const { resident, output } = await startMeasured(['--input-type=module', '--eval', program], compileCache).ended
      figures.push({ ...(JSON.parse(output) as Costs), memory: resident / 1e6 })
      console.error(`${title}, ${size.toLocaleString('en')} events: ${output.trim()}`)
    }
    const inWords = sizes.map((size) => `${size.toLocaleString('en')} events`)
    for (const what of ['writing', 'writing, CPU', 'reading', 'reading, CPU', 'memory'] as const) {
      for (const [i, each] of figures.entries()) {
        results.push(
          against({
            case: `${title} ${what}: ${inWords[i]}`,
            ours: each[what],
            reference: figures[0]?.[what] ?? Number.NaN,
            referenceName: inWords[0] ?? '',
            unit: what === 'memory' ? 'MB' : 'µs/event',
          }),
        )
      }
    }
  }
  return results
}

/** As a program of its own: measures one size, after the smallest to warm up, and prints the costs. */
export async function printCosts({ server, url, size }: { server: string; url: string; size: number }): Promise<void> {
  const kind = logKinds.find((each) => each.server === server)
  if (kind === undefined) throw new Error(`expected one of the servers in logs.ts, but found ${server}`)
  await using logs = await kind.open(url)
  await measure(logs, `scale-${size}-warm`, SIZES[0] as number)
  const rounds: Costs[] = []
  for (let round = 0; round < (ROUNDS[size] ?? 1); round++)
    rounds.push(await measure(logs, `scale-${size}-${round}`, size))
  const median = (of: keyof Costs): number =>
    quantile(
      rounds.map((each) => each[of]),
      0.5,
    )
  const costs: Costs = {
    writing: median('writing'),
    'writing, CPU': median('writing, CPU'),
    reading: median('reading'),
    'reading, CPU': median('reading, CPU'),
  }
  console.log(JSON.stringify(costs))
}

async function measure(logs: OpenLogs, name: string, size: number): Promise<Costs> {
  await logs.create(name)
  try {
    const [writing, writingCpu] = await write(logs, name, size)
    const [reading, readingCpu] = await read(logs, name, size)
    return { writing, 'writing, CPU': writingCpu, reading, 'reading, CPU': readingCpu }
  } finally {
    await logs.remove(name)
  }
}

/** Starts to measure; what is returned tells the time and the CPU since then, in µs an event. */
function stopwatch(size: number): () => [time: number, cpu: number] {
  const started = performance.now()
  const before = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(before)
    return [((performance.now() - started) * 1000) / size, (user + system) / size]
  }
}

async function write({ sink }: OpenLogs, name: string, size: number): Promise<[time: number, cpu: number]> {
  if (sink === undefined) throw new Error('there is no sink')
  await using writer = await sink(name).open({ route: 'bench', source: 'bench' })
  const elapsed = stopwatch(size)
  for (let from = 1; from <= size; from += PAGE) await writer.append(page(from), String(from + PAGE - 1))
  return elapsed()
}

function page(from: number): Event[] {
  return Array.from({ length: PAGE }, (_, i) => ({
    id: String(from + i),
    type: 1,
    foreignId: `order-${i}`,
    timestamp: 1_700_000_000_000 + from + i,
    metadata: PAYLOAD,
    headers: {},
  }))
}

async function read({ source }: OpenLogs, name: string, size: number): Promise<[time: number, cpu: number]> {
  let handled = 0
  let elapsed = stopwatch(size)
  const consumer = { name: 'bench', handle: () => void handled++ }
  const opened = (): void => {
    elapsed = stopwatch(size)
  }
  await run({ stream: source(name).stream, cursors: memoryCursors(), consumer }, { toHead: true, observer: { opened } })
  if (handled !== size) throw new Error(`${name}: ${handled} of ${size} events came`)
  return elapsed()
}

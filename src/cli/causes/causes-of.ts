import { breather } from '../../core/breather.ts'
import { savedCursor } from '../../core/cursor.ts'
import { ReflexError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import { openStream, type Source } from '../../core/stream.ts'
import { loadConfig } from '../../service/config/load-config.ts'
import type { Endpoint } from '../../service/config/parse-endpoint.ts'
import { namedRoutes } from '../../service/control/route-actions.ts'
import { stopSignals } from '../stop-signals.ts'
import { sourceAt } from '../tail/tail-source.ts'
import { causalGraphBuilder } from './causal-graph.ts'
import { graphAsDot, graphAsJson } from './format-graph.ts'

/** Options of `causesOf`. */
export interface CausesOptions {
  /** Of a configuration. Default: its only route. */
  readonly route?: string | undefined
  /** Default: `""`, the earliest event. */
  readonly after?: Cursor | undefined
  /** Read no more than so many events, so that the graph fits into memory. */
  readonly limit: number
  readonly correlation?: string | undefined
  readonly json?: boolean | undefined
}

const PROGRESS_EVERY_MS = 500

/**
 * Prints the graph of the causes in the source at a URL, or of a route in a configuration, to stdout, and how far it came to stderr. A
 * signal ends the reading; what was read by then is printed. Throws what the source throws, and an error with the code `USAGE`.
 */
export async function causesOf(from: string, options: CausesOptions): Promise<void> {
  const { after = '', limit, correlation, json = false } = options
  const endpoint = await endpointOf(from, options.route)
  using stopping = stopSignals()
  const { signal } = stopping
  process.stdout.on('error', stopping.stop) // who read it has gone
  const told = progress()
  const builder = causalGraphBuilder()
  const breathe = breather()
  let cursor: Cursor = after
  let count = 0
  await using opened = await endpoint.open({ createTables: false, readOnly: true })
  try {
    const stream = await openStream(opened.part.stream, after, { signal, toHead: true })
    for await (const { events, cursor: next } of stream) {
      const wanted = events.slice(0, limit - count)
      for (const event of wanted) builder.add(event)
      count += wanted.length
      cursor = savedCursor(count < limit ? next : (wanted.at(-1)?.id ?? next), stream.incarnation)
      told.show(`${count} events read`)
      if (count === limit) break
      await breathe()
    }
  } catch (error) {
    if (!signal.aborted) throw error
  } finally {
    told.clear()
  }
  const graph = builder.graph(correlation)
  process.stdout.write(json ? graphAsJson(graph, { cursor }) : graphAsDot(graph))
  const causes = graph.edges.length + graph.unknown.reduce((sum, { effects }) => sum + effects.length, 0)
  const more = count === limit ? `; stopped at --limit ${limit}` : ''
  process.stderr.write(
    `${count} events, ${causes} with a cause, ${graph.unknown.length} causes not among them${more}; last cursor: ${cursor}\n`,
  )
}

async function endpointOf(from: string, route: string | undefined): Promise<Endpoint<Source>> {
  if (/^(sqlite:|[a-z]+:\/\/)/i.test(from)) {
    if (route === undefined) return sourceAt(from)
    throw usage('--route goes with a configuration file, found a URL')
  }
  const { routes } = await loadConfig(from, process.env)
  const [found, ...others] = namedRoutes(routes, route === undefined ? [] : [route])
  if (found !== undefined && others.length === 0) return found.source
  throw usage(`expected --route with one of ${routes.map(({ name }) => name).join(', ')}`)
}

/** One line that is written over, on a terminal alone. */
function progress(): { show(text: string): void; clear(): void } {
  const { stderr } = process
  let shownAt = 0
  return {
    show: (text) => {
      if (!stderr.isTTY || performance.now() - shownAt < PROGRESS_EVERY_MS) return
      shownAt = performance.now()
      stderr.write(`\r\x1b[K${text}`)
    },
    clear: () => {
      if (shownAt > 0) stderr.write('\r\x1b[K')
    },
  }
}

function usage(message: string): ReflexError {
  return new ReflexError('USAGE', message, { retriable: false })
}

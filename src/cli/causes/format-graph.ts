import { formatTimestamp } from '../../core/wire.ts'
import { printable } from '../printable.ts'
import type { CausalEvent, CausalGraph } from './causal-graph.ts'

/** The graph in DOT, the language of Graphviz. Whatever an event holds stands in quotes and can end neither them nor a line. */
export function graphAsDot({ events, edges, unknown, correlations }: CausalGraph): string {
  const byId = new Map(events.map((event) => [event.id, event]))
  const names = new Map(events.map(({ id }, i) => [id, `e${i}`]))
  const grouped = new Map([...correlations].flatMap(([name, ids]) => ids.map((id) => [id, name] as const)))
  const node = (event: CausalEvent): string => `${names.get(event.id)} [label=${quoted(labelOf(event))}]`
  const lines = ['digraph causes {', '  rankdir=LR', '  node [shape=box, fontname="sans-serif"]']
  let cluster = 0
  for (const [name, ids] of correlations) {
    lines.push(`  subgraph cluster_${cluster++} {`, `    label=${quoted([`correlation ${name}`])}`)
    for (const id of ids) lines.push(`    ${node(byId.get(id) as CausalEvent)}`)
    lines.push('  }')
  }
  for (const event of events) if (!grouped.has(event.id)) lines.push(`  ${node(event)}`)
  for (const [i, { cause, effects }] of unknown.entries()) {
    lines.push(`  u${i} [label=${quoted([cause])}, style=dashed]`)
    for (const effect of effects) lines.push(`  u${i} -> ${names.get(effect)} [style=dashed]`)
  }
  for (const { cause, effect } of edges) lines.push(`  ${names.get(cause)} -> ${names.get(effect)}`)
  return `${lines.join('\n')}\n}\n`
}

/** The graph as one JSON object on one line. */
export function graphAsJson({ events, edges, unknown, correlations }: CausalGraph, more: object): string {
  const shown = events.map(({ timestamp, ...event }) => ({ ...event, timestamp: timeOf(timestamp) }))
  return `${JSON.stringify({ events: shown, edges, unknown, correlations: Object.fromEntries(correlations), ...more })}\n`
}

function labelOf({ id, type, typeName, foreignId, client }: CausalEvent): string[] {
  return [id, typeName ?? `type ${type}`, foreignId, client ?? ''].filter((line) => line !== '')
}

/** Lines as one string of DOT, in which a backslash escapes. */
function quoted(lines: readonly string[]): string {
  return `"${lines.map((line) => printable(line).replace(/[\\"]/g, '\\$&')).join('\\n')}"`
}

/** Outside of the years 0 to 9999 the number that the source has. */
function timeOf(timestamp: number): string {
  try {
    return formatTimestamp(timestamp)
  } catch {
    return String(timestamp)
  }
}

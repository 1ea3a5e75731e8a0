import type { Event } from '../../core/event.ts'
import { typeNameHeader } from '../../core/event-template.ts'
import { wireNames } from '../../core/wire.ts'
import { firstHeader } from '../../pubsub/first-header.ts'
import { headerNames } from '../../pubsub/index.ts'

/** An event in the graph: what is shown of it. */
export interface CausalEvent {
  readonly id: string
  readonly type: number
  readonly typeName: string | undefined
  readonly foreignId: string
  readonly timestamp: number
  readonly client: string | undefined
  readonly cause: string | undefined
  readonly correlation: string | undefined
}

/** Which event caused which. */
export interface CausalGraph {
  /** In log order. */
  readonly events: readonly CausalEvent[]
  /** Ids of events. */
  readonly edges: readonly { readonly cause: string; readonly effect: string }[]
  /** Causes that are not among the events, each with those that name them. */
  readonly unknown: readonly { readonly cause: string; readonly effects: readonly string[] }[]
  /** By correlation, the ids of its events: also of the one that it is named after, which may not say so. */
  readonly correlations: ReadonlyMap<string, readonly string[]>
}

/** Collects events, a few fields of each, and makes their graph. */
export interface CausalGraphBuilder {
  add(event: Event): void
  /** The graph of what was added, or of one correlation. */
  graph(correlation?: string | undefined): CausalGraph
}

interface Collected extends CausalEvent {
  /** The log that a bridge has read it from; undefined if it was published to this one. */
  readonly source: string | undefined
  readonly sourceId: string | undefined
}

/** Makes an empty builder. */
export function causalGraphBuilder(): CausalGraphBuilder {
  const collected: Collected[] = []
  const byId = new Map<string, Collected>()
  const bySource = new Map<string, Collected>()
  const keyOf = (source: string | undefined, id: string): string => JSON.stringify([source, id])
  const causeOf = ({ source, cause }: Collected): Collected | undefined => {
    if (cause === undefined) return undefined
    // What was forwarded names its cause as its source knew it: the same id here is another event.
    return source === undefined ? byId.get(cause) : bySource.get(keyOf(source, cause))
  }

  return {
    add: (event) => {
      const one = collect(event)
      collected.push(one)
      byId.set(one.id, one)
      if (one.source !== undefined && one.sourceId !== undefined) bySource.set(keyOf(one.source, one.sourceId), one)
    },
    graph: (correlation) => {
      const groupOf = ({ id, source, sourceId, correlation: own }: Collected): string | undefined => {
        if (own !== undefined) return own
        const name = source === undefined ? id : sourceId
        return name !== undefined && roots.has(keyOf(source, name)) ? name : undefined
      }
      const correlations = new Map<string, string[]>()
      const roots = new Set<string>()
      for (const { source, correlation: named } of collected) {
        if (named === undefined) continue
        correlations.set(named, [])
        roots.add(keyOf(source, named))
      }
      const wanted = collected.filter((one) => correlation === undefined || groupOf(one) === correlation)
      for (const one of wanted) {
        const group = groupOf(one)
        if (group !== undefined) correlations.get(group)?.push(one.id)
      }
      for (const [name, ids] of correlations) if (ids.length === 0) correlations.delete(name)
      const isShown = new Set(wanted)
      const edges: { cause: string; effect: string }[] = []
      const unknown = new Map<string, string[]>()
      for (const one of wanted) {
        if (one.cause === undefined) continue
        const cause = causeOf(one)
        if (cause !== undefined && isShown.has(cause)) edges.push({ cause: cause.id, effect: one.id })
        else {
          const effects = unknown.get(one.cause) ?? []
          effects.push(one.id)
          unknown.set(one.cause, effects)
        }
      }
      return {
        events: wanted.map(({ source: _, sourceId: __, ...shown }) => shown),
        edges,
        unknown: Array.from(unknown, ([cause, effects]) => ({ cause, effects })),
        correlations,
      }
    },
  }
}

function collect({ id, type, foreignId, timestamp, headers }: Event): Collected {
  const one = (name: string): string | undefined => firstHeader(headers, name)
  const client = one(headerNames.client)
  const source = one(wireNames.source)
  return {
    id,
    type,
    typeName: one(typeNameHeader),
    foreignId,
    timestamp,
    client,
    cause: one(headerNames.cause),
    correlation: one(headerNames.correlation),
    // Of what was published to the log itself, the source is who did so, and its ids are the log's.
    source: source === client ? undefined : source,
    sourceId: one(wireNames.sourceId),
  }
}

import { routeSubject } from '../../adapters/jetstream/route-subject.ts'
import { overlap } from '../../adapters/jetstream/subjects.ts'
import type { Problem } from './config-error.ts'
import type { Endpoint } from './parse-endpoint.ts'

type AnyEndpoint = Pick<Endpoint<unknown>, 'name' | 'options'>

/** The ends of a route, as far as routes can be in each other's way. */
interface RouteEnds {
  readonly name: string
  readonly source: AnyEndpoint
  readonly sink: AnyEndpoint
  readonly checkpoints: AnyEndpoint
  readonly deadLetters?: AnyEndpoint | undefined
}

/** Routes that would hinder each other, or themselves, each told at the later one, with the name of the other. */
export function clashes(routes: readonly RouteEnds[]): Problem[] {
  return routes.flatMap((route, i) => {
    const others = routes.slice(0, i)
    const at = (part: string, message: string | undefined): Problem[] =>
      message === undefined ? [] : [{ path: ['routes', route.name, part], message }]
    return [
      ...at('sink', keyClash(route, others)),
      ...at('sink', subjectClash(route, others)),
      ...at('sink', ownSubject(route)),
      ...at('sink', topicClash(route, routes)),
      ...tableClashes(route, others),
    ]
  })
}

/**
 * Why two destinations cannot both be written to by routes: two subjects of one stream, one of them below the other, or of two streams
 * that cannot both have them. Undefined if they can, or cannot be compared.
 */
export function subjectsOverlap(one: AnyEndpoint, other: AnyEndpoint): string | undefined {
  const [a, b] = [subjectOf(one), subjectOf(other)]
  if (a === undefined || b === undefined || placeOf(one) !== placeOf(other)) return undefined
  if (a.stream !== b.stream) return overlap(a.pattern, b.pattern) ? 'a subject belongs to one stream alone' : undefined
  const isBelow = `${a.prefix}.`.startsWith(`${b.prefix}.`) || `${b.prefix}.`.startsWith(`${a.prefix}.`)
  return isBelow
    ? 'a route goes by the newest message under its prefix, and would stop at that of another one'
    : undefined
}

function subjectClash({ sink }: RouteEnds, others: readonly RouteEnds[]): string | undefined {
  for (const other of others) {
    const why = subjectsOverlap(sink, other.sink)
    if (why === undefined) continue
    const [own, its] = [sink, other.sink].map(({ options }) => JSON.stringify(options['subject']))
    return `expected a subject that shares no prefix with that of the route ${other.name}, found ${own} beside ${its}: ${why}; give the two prefixes of which neither is below the other, like orders-eu and orders-us`
  }
  return undefined
}

/** A route from a stream into the same stream reads what it writes, unless `subjects` leaves that out. */
function ownSubject({ source, sink }: RouteEnds): string | undefined {
  const to = subjectOf(sink)
  if (to === undefined || placeOf(source) !== placeOf(sink) || source.options['stream'] !== to.stream) return undefined
  const subjects = (source.options['subjects'] as readonly string[] | undefined) ?? ['>']
  if (!subjects.some((each) => overlap(each, `${to.prefix}.>`))) return undefined
  return `expected a stream, or subjects, that the source does not read: it reads ${subjects.join(', ')} of the stream ${to.stream}, so that what goes to ${to.prefix}.> would be forwarded without end; name the subjects that are meant at the source`
}

/** An exclusive key that two routes go to. */
function keyClash({ sink }: RouteEnds, others: readonly RouteEnds[]): string | undefined {
  const isExclusive = ({ options }: AnyEndpoint): boolean => options['ids'] === 'source'
  const other = others.find((each) => each.sink.name === sink.name && (isExclusive(each.sink) || isExclusive(sink)))
  if (other === undefined) return undefined
  return `expected a log of its own, since ids: source needs one, but the route ${other.name} goes there too`
}

/** Events in the topic where a route, this one or another, has its checkpoints in Kafka. */
function topicClash({ name, sink }: RouteEnds, routes: readonly RouteEnds[]): string | undefined {
  for (const topic of topicsOf(sink)) {
    const other = routes.find(
      (each) => each.sink.options['checkpointTopic'] === topic && placeOf(each.sink) === placeOf(sink),
    )
    if (other === undefined) continue
    const whose = other.name === name ? 'this route' : `the route ${other.name}`
    return `expected a topic for events alone, but ${topic} holds the checkpoints of ${whose}: name another topic, or another checkpointTopic`
  }
  return undefined
}

/** A table or key that two parts need for different things. */
function tableClashes(route: RouteEnds, others: readonly RouteEnds[]): Problem[] {
  const taken = others.flatMap((other) => usesOf(other).map((use) => ({ ...use, of: ` of the route ${other.name}` })))
  const problems: Problem[] = []
  for (const use of usesOf(route)) {
    const other = taken.find(({ log, kind }) => log === use.log && kind !== use.kind)
    taken.push({ ...use, of: '' })
    if (other === undefined) continue
    const message = `expected a ${use.log.includes('?key=') ? 'key' : 'table'} of its own, but it is that of ${other.part}${other.of}: name another one`
    problems.push({ path: ['routes', route.name, use.part], message })
  }
  return problems
}

interface Use {
  /** The name of an endpoint that stands for it. */
  readonly log: string
  readonly part: 'source' | 'sink' | 'checkpoints' | 'deadLetters'
  readonly kind: 'events' | 'checkpoints' | 'dead letters' | 'own'
}

/** What a route has in databases; its tables without a key in the configuration, too. */
function usesOf({ source, sink, checkpoints, deadLetters }: RouteEnds): readonly Use[] {
  const beside = (endpoint: AnyEndpoint, ...tables: string[]): string[] =>
    tables.map((table) => `${placeOf(endpoint)}?table=${table}`)
  const prefix = checkpoints.options['prefix']
  const keys = typeof prefix === 'string' ? [`${prefix}cursors`, `${prefix}controls:cursors`] : []
  return [
    { log: source.name, part: 'source', kind: 'events' },
    { log: sink.name, part: 'sink', kind: 'events' },
    ...beside(sink, 'routes').map((log): Use => ({ log, part: 'sink', kind: 'own' })),
    { log: checkpoints.name, part: 'checkpoints', kind: 'checkpoints' },
    ...keys.map((key): Use => ({ log: `${placeOf(checkpoints)}?key=${key}`, part: 'checkpoints', kind: 'own' })),
    ...beside(checkpoints, 'bridge_controls', 'bridge_leases').map(
      (log): Use => ({ log, part: 'checkpoints', kind: 'own' }),
    ),
    ...(deadLetters === undefined
      ? []
      : [{ log: deadLetters.name, part: 'deadLetters', kind: 'dead letters' } as const]),
  ]
}

function subjectOf({ options }: AnyEndpoint): { stream: unknown; prefix: string; pattern: string } | undefined {
  const { subject, stream } = options
  return typeof subject === 'string' ? { ...routeSubject('', subject), stream } : undefined
}

function topicsOf({ options: { topic, topics } }: AnyEndpoint): readonly string[] {
  return (topics as string[] | undefined) ?? (typeof topic === 'string' ? [topic] : [])
}

/** The URL without the log that is meant there. */
function placeOf({ name }: Pick<AnyEndpoint, 'name'>): string {
  return name.slice(0, name.lastIndexOf('?'))
}

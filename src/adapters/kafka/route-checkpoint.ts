import { CursorInvalidError, ReflexError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import type { Checkpoint, Mark } from '../../core/sink.ts'

/** One partition of one topic: `orders/0`. */
export type Place = string

/** The place of a partition. */
export function placeOf(topic: string, partition: number): Place {
  return `${topic}/${partition}`
}

/** The topic of a place. */
export function topicOf(place: Place): string {
  return place.slice(0, place.lastIndexOf('/'))
}

/** The partition that is a place. */
export function partitionAt(place: Place): { readonly topic: string; readonly partition: number } {
  const topic = topicOf(place)
  return { topic, partition: Number(place.slice(topic.length + 1)) }
}

/** Positions, by the place: of the next record. */
export type Ends = ReadonlyMap<Place, bigint>

/** From where to where at each place. */
export interface Between {
  readonly from: Ends
  readonly to: Ends
}

/** Which topic it is, should another one have the name now, and how many partitions it has: by that the partition of a key is chosen. */
export interface TopicState {
  readonly id: string
  readonly partitions: number
}

/** How far a route has got: a record of the checkpoint topic, written with the events it tells of. */
export interface RouteCheckpoint {
  /** The source's cursor. */
  readonly cursor: Cursor
  /** The source's name. */
  readonly source: string
  /** How many events the route has appended. */
  readonly count: bigint
  /** The topics that the route could write to, as they were. */
  readonly topics: ReadonlyMap<string, TopicState>
  /** By place, the end of the route's last record there; where it has none, from where on its first can come. */
  readonly ends: Ends
  /** By place that the route has written to, the source id of that last record: it must still stand before the end. */
  readonly last: ReadonlyMap<Place, string>
  /** Between these positions are events that follow the cursor: they are not to be appended again. */
  readonly skip?: Between | undefined
  /** Events may have been appended after it that no checkpoint tells of: they went without a transaction. */
  readonly openEnded: boolean
}

/** A checkpoint record that was read. */
export interface StoredCheckpoint extends RouteCheckpoint {
  /** It was written under the present leader of its partition: no record that followed it can be lost. */
  readonly isPresent: boolean
  /**
   * Whether events of no other transaction can have followed it: it is present, and no record follows it, not even one without an end:
   * its events may have got theirs.
   */
  readonly isLast: boolean
  /** By whom it was written, and what follows it, with an end or without: Kafka's producer ids. */
  readonly producers: ReadonlySet<bigint>
}

/** What a checkpoint record says of one topic. */
interface TopicPart {
  readonly topicId: string
  readonly partitions: number
  /** By partition, as all that follow. */
  readonly ends: Readonly<Record<string, string>>
  readonly last: Readonly<Record<string, string>>
  readonly skip?: { readonly from: Readonly<Record<string, string>>; readonly to: Readonly<Record<string, string>> }
}

/** The value of a checkpoint record, as JSON; of a route into the one topic `only`, what is said of that is not named after it. */
export function formatCheckpoint(
  { cursor, source, count, topics, ends, last, skip, openEnded }: RouteCheckpoint,
  only: string | undefined,
): string {
  const parts = new Map(
    Array.from(topics, ([topic, { id, partitions }]): [string, TopicPart] => {
      const of = (values: ReadonlyMap<Place, bigint | string>): Record<string, string> => {
        const found: Record<string, string> = {}
        for (let partition = 0; partition < partitions; partition++) {
          const value = values.get(placeOf(topic, partition))
          if (value !== undefined) found[partition] = String(value)
        }
        return found
      }
      const between = skip && { skip: { from: of(skip.from), to: of(skip.to) } }
      return [topic, { topicId: id, partitions, ends: of(ends), last: of(last), ...between }]
    }),
  )
  const rest = only === undefined ? { topics: Object.fromEntries(parts) } : parts.get(only)
  return JSON.stringify({ cursor, source, count: String(count), ...(openEnded ? { openEnded } : {}), ...rest })
}

/** What `formatCheckpoint` made, with the same `only`; `where` names the route in errors. */
export function parseCheckpoint(where: string, text: string, only: string | undefined): RouteCheckpoint {
  try {
    const { cursor, source, count, openEnded = false, ...rest } = JSON.parse(text)
    const parts: [string, TopicPart][] = only === undefined ? Object.entries(rest.topics) : [[only, rest]]
    const all = <T>(of: (part: TopicPart) => Readonly<Record<string, string>>, parse: (text: string) => T) =>
      new Map(
        parts.flatMap(([topic, part]) =>
          Object.entries(of(part)).map(
            ([partition, value]) => [placeOf(topic, Number(partition)), parse(value)] as const,
          ),
        ),
      )
    const skips = parts.some(([, { skip }]) => skip !== undefined)
    return {
      ...{ cursor, source, count: BigInt(count), openEnded },
      topics: new Map(parts.map(([topic, { topicId, partitions }]) => [topic, { id: topicId, partitions }])),
      ends: all(({ ends }) => ends, BigInt),
      last: all(({ last }) => last, String),
      skip: skips
        ? { from: all(({ skip }) => skip?.from ?? {}, BigInt), to: all(({ skip }) => skip?.to ?? {}, BigInt) }
        : undefined,
    }
  } catch (cause) {
    throw new ReflexError(
      'SINK_CHECKPOINT_INVALID',
      `${where}: its newest checkpoint record cannot be read: ${text.slice(0, 200)}; it was written by something else`,
      { cause, retriable: false },
    )
  }
}

/** What the bridge keeps of it: `<count>/<topic id>`. */
export interface RouteMark {
  readonly count: bigint
  /** Of several topics, a digest of their names and ids. */
  readonly topicId: string
}

/** `<count>/<topic id>`. */
export function formatMark({ count, topicId }: RouteMark): Mark {
  return `${count}/${topicId}`
}

/** What `formatMark` made. */
export function parseMark(where: string, { mark }: Checkpoint): RouteMark {
  const [, count, topicId] = /^(\d{1,20})\/([\w-]{22})$/.exec(mark) ?? []
  if (count !== undefined && topicId !== undefined) return { count: BigInt(count), topicId }
  throw new CursorInvalidError(`the mark of ${where}`, { cursor: mark, expected: '<count>/<topic id>' })
}

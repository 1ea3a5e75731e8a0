import { CursorInvalidError, ReflexError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import type { Checkpoint, Mark } from '../../core/sink.ts'

/** Positions of partitions, by their numbers: of the next record. */
export type Ends = ReadonlyMap<number, bigint>

/** From where to where in each partition. */
export interface Between {
  readonly from: Ends
  readonly to: Ends
}

/** How far a route has got: a record of the checkpoint topic, written with the events it tells of. */
export interface RouteCheckpoint {
  /** The source's cursor. */
  readonly cursor: Cursor
  /** The source's name. */
  readonly source: string
  /** How many events the route has appended. */
  readonly count: bigint
  /** Which topic it was, should another one have the name now. */
  readonly topicId: string
  /** How many partitions the topic had: by it the partition of a key is chosen. */
  readonly partitions: number
  /** Of each partition, the end of the route's last record there; where it has none, from where on its first can come. */
  readonly ends: Ends
  /** Of each partition that the route has written to, the source id of that last record: it must still stand before the end. */
  readonly last: ReadonlyMap<number, string>
  /** Between these positions are events that follow the cursor: they are not to be appended again. */
  readonly skip?: Between | undefined
}

/** A checkpoint record that was read. */
export interface StoredCheckpoint extends RouteCheckpoint {
  /** Whether it was written under the present leader of its partition: then no record that followed it can have been lost. */
  readonly sinceElection: boolean
}

/** The value of a checkpoint record, as JSON. */
export function formatCheckpoint({ count, ends, last, skip, ...rest }: RouteCheckpoint): string {
  const between = skip && { skip: { from: object(skip.from), to: object(skip.to) } }
  return JSON.stringify({ ...rest, count: String(count), ends: object(ends), last: object(last), ...between })
}

/** What `formatCheckpoint` made; `where` names the route in errors. */
export function parseCheckpoint(where: string, text: string): RouteCheckpoint {
  try {
    const { cursor, source, count, topicId, partitions, ends, last, skip } = JSON.parse(text)
    const between = skip && { skip: { from: positions(skip.from), to: positions(skip.to) } }
    return {
      ...{ cursor, source, count: BigInt(count), topicId, partitions, ends: positions(ends), ...between },
      last: byPartition(last, String),
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

function object(values: ReadonlyMap<number, bigint | string>): Record<string, string> {
  return Object.fromEntries(Array.from(values, ([partition, value]) => [partition, String(value)]))
}

function positions(values: Readonly<Record<string, string>>): Ends {
  return byPartition(values, BigInt)
}

function byPartition<T>(values: Readonly<Record<string, string>>, parse: (text: string) => T): ReadonlyMap<number, T> {
  return new Map(Object.entries(values).map(([partition, value]) => [Number(partition), parse(value)]))
}

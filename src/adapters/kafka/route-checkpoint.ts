import { CursorInvalidError, ReflexError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import type { Checkpoint, Mark } from '../../core/sink.ts'

/** Positions of partitions, by their numbers: of the next record. */
export type Ends = ReadonlyMap<number, bigint>

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
  /** The end of each partition that the route has written to, after its last record there. */
  readonly ends: Ends
  /** Between these positions are events that follow the cursor: they are not to be appended again. */
  readonly skip?: { readonly from: Ends; readonly to: Ends } | undefined
}

/** The value of a checkpoint record, as JSON. */
export function formatCheckpoint({ count, ends, skip, ...rest }: RouteCheckpoint): string {
  const between = skip && { skip: { from: object(skip.from), to: object(skip.to) } }
  return JSON.stringify({ ...rest, count: String(count), ends: object(ends), ...between })
}

/** What `formatCheckpoint` made; `where` names the route in errors. */
export function parseCheckpoint(where: string, text: string): RouteCheckpoint {
  try {
    const { cursor, source, count, topicId, partitions, ends, skip } = JSON.parse(text)
    const between = skip && { skip: { from: map(skip.from), to: map(skip.to) } }
    return { cursor, source, count: BigInt(count), topicId, partitions, ends: map(ends), ...between }
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

function object(ends: Ends): Record<string, string> {
  return Object.fromEntries(Array.from(ends, ([partition, end]) => [partition, String(end)]))
}

function map(ends: Readonly<Record<string, string>>): Ends {
  return new Map(Object.entries(ends).map(([partition, end]) => [Number(partition), BigInt(end)]))
}

import { CursorInvalidError, ReflexError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import type { Checkpoint } from '../../core/sink.ts'

/** How far a route has got. */
export interface RouteMark {
  /** The sequence of its newest message; 0 if there was none. */
  readonly seq: bigint
  /** How many events it has appended, at most: where a crash kept the number from being saved, it is too high. */
  readonly count: bigint
  /** When the stream was created, which tells a stream from a later one of the same name. */
  readonly created: string
}

/** What is found on opening. */
export interface RouteTail {
  readonly created: string
  /** The newest sequence that the stream has given, to whomever. */
  readonly lastSeq: bigint
  /** Whether the stream takes no message but those of the route's prefix. */
  readonly exclusive: boolean
  /** The newest message under the prefix. */
  readonly newest: { readonly seq: bigint; readonly sourceId: string } | undefined
  /** Counts the messages under the prefix. */
  messages(): Promise<bigint>
  /** Whether a message, whosever, has the sequence `seq`. */
  has(seq: bigint): Promise<boolean>
}

/** Where to go on. */
export interface Resumption extends Pick<RouteMark, 'seq' | 'count'> {
  readonly resumeFrom: Cursor
  readonly repair: string | undefined
}

/** `<sequence>/<events appended>/<time of the stream's creation>` */
export function formatMark({ seq, count, created }: RouteMark): string {
  return `${seq}/${count}/${created}`
}

/** What `formatMark` made. */
export function parseMark(route: string, { cursor, mark }: Checkpoint): RouteMark & { readonly cursor: Cursor } {
  const [, seq, count, created] = /^(\d{1,20})\/(\d{1,20})\/(.+)$/.exec(mark) ?? []
  if (seq !== undefined && count !== undefined && created !== undefined)
    return { cursor, seq: BigInt(seq), count: BigInt(count), created }
  throw new CursorInvalidError(`the mark of route ${route}`, { cursor: mark, expected: '<sequence>/<count>/<created>' })
}

/**
 * Holds the stream against what was saved. Nobody else writes under the route's prefix, so its newest message says how far the
 * route has got, whatever was saved: a later one than the mark was appended by a batch whose checkpoint was not saved, an earlier
 * one is all that a lost tail has left. Between the two stands removal (retention, a purge, a work queue): it leaves a sequence
 * without a message, where a server that lost its tail has either not given that sequence yet, or given it to somebody else's.
 */
export async function resume(
  where: string,
  saved: (RouteMark & { readonly cursor: Cursor }) | undefined,
  tail: RouteTail,
  { maxRefill }: { readonly maxRefill: number },
): Promise<Resumption> {
  const { newest } = tail
  const seq = newest?.seq ?? 0n
  if (saved === undefined || saved.seq === 0n)
    return { resumeFrom: newest?.sourceId ?? saved?.cursor ?? '', seq, count: await tail.messages(), repair: undefined }
  if (saved.created !== tail.created)
    return refill(
      saved.count - (await tail.messages()),
      `the stream was made anew (${saved.created} was that of the checkpoint)`,
    )

  if (newest !== undefined && newest.seq >= saved.seq) {
    const since = newest.seq - saved.seq
    if (since === 0n) return { resumeFrom: saved.cursor, seq, count: saved.count, repair: undefined }
    const count = saved.count + least(since, await tail.messages())
    return { resumeFrom: newest.sourceId, seq, count, repair: undefined }
  }
  if (tail.lastSeq < saved.seq)
    return refill(await lostAtMost(), `the stream ends at ${tail.lastSeq}, before ${saved.seq}`)
  if (await tail.has(saved.seq)) return refill(await lostAtMost(), `${saved.seq} is another message now`)

  const since = tail.exclusive ? tail.lastSeq - saved.seq : 0n
  const repair =
    since === 0n
      ? undefined
      : `the messages since ${saved.seq}, the checkpoint's, have been removed from the stream, so that nothing tells which events they were: up to ${since} are appended again`
  return { resumeFrom: saved.cursor, seq: saved.seq + since, count: saved.count, repair }

  async function lostAtMost(): Promise<bigint> {
    const mark = saved as RouteMark
    return newest === undefined ? mark.count : least(mark.seq - seq, mark.count - (await tail.messages()))
  }
  function refill(most: bigint, how: string): Resumption {
    const mark = saved as RouteMark
    const lost = most < 0n ? 0n : most
    const from = newest === undefined ? 'the earliest event on' : `after event ${newest.sourceId}`
    const what = `${how}, and events up to message ${mark.seq} are lost`
    if (lost > BigInt(maxRefill)) {
      throw new ReflexError(
        'SINK_LOST_TOO_MUCH',
        `${where}: ${what}: up to ${lost}, more than the ${maxRefill} that are refilled unasked. Find out why they are lost; ` +
          `to refill them, from the source ${from}, give the sink the option maxRefill: ${lost}`,
        { retriable: false },
      )
    }
    return {
      resumeFrom: newest?.sourceId ?? '',
      seq,
      count: mark.count - lost,
      repair: `${what}: refilling up to ${lost} events, from the source ${from}`,
    }
  }
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}

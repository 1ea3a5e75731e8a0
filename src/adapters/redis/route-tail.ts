import { CursorInvalidError, ReflexError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import type { Checkpoint } from '../../core/sink.ts'
import { compareIds, ZERO_ID } from './entry-id.ts'

/** How far a route has got: the source's cursor, the id of its last entry and how many events it has appended. */
export interface RouteMark {
  readonly cursor: Cursor
  readonly id: string
  readonly count: bigint
}

/** What is found on opening, all of one moment. */
export interface RouteTail {
  /** The checkpoint in Redis; undefined if its key is gone, or never was. */
  readonly found: FoundMark | undefined
  readonly length: bigint
  /** How many entries the stream has ever got, by whomever. */
  readonly added: bigint
  /** last-generated-id; `0-0` if there is no stream. */
  readonly last: string
  /** The earliest entry; `0-0` if there is none. */
  readonly first: string
}

/** A mark as Redis keeps it. */
export interface FoundMark extends RouteMark {
  /** How many entries the stream had got with entry `id`, at least. */
  readonly added: bigint
  /** Whether the stream is still the one that got it. */
  readonly matches: boolean
  /** Source ids that an earlier opening found in the stream and that have not been reached yet. */
  readonly skip: ReadonlySet<string>
}

/** Entries of this source that are in the stream, found by reading backwards. */
export interface SourceEntries {
  /** The newest up to the mark. */
  readonly newest: { readonly id: string; readonly sourceId: string } | undefined
  /** The source ids of those after it. */
  readonly beyond: ReadonlySet<string>
  /** The entry id of the newest of all. */
  readonly top: string | undefined
}

/** Where to go on. */
export interface Resumption {
  readonly resumeFrom: Cursor
  /** The newest entry of the route that is still there; `0-0` if none is. */
  readonly id: string
  /** How many events of the route have been appended and not been lost. */
  readonly count: bigint
  /** How many entries the stream had got with entry `id`, at least. */
  readonly added: bigint
  /** Source ids that are in the stream already: not to be appended again. */
  readonly skip: ReadonlySet<string>
  readonly repair: string | undefined
}

/** `<last entry id>/<events appended>`: the count tells a lost tail from retention, which leaves the checkpoint alone. */
export function formatMark({ id, count }: Pick<RouteMark, 'id' | 'count'>): string {
  return `${id}/${count}`
}

/** What `formatMark` made. */
export function parseMark(route: string, { cursor, mark }: Checkpoint): RouteMark {
  const [, id, count] = /^(\d{1,20}-\d{1,20})\/(\d{1,20})$/.exec(mark) ?? []
  if (id !== undefined && count !== undefined) return { cursor, id, count: BigInt(count) }
  throw new CursorInvalidError(`the mark of route ${route}`, { cursor: mark, expected: '<entry id>/<count>' })
}

/** What `resume` needs besides. */
export interface ResumeOptions {
  /** At most so many lost events are refilled. */
  readonly maxRefill: number
  /** Looks for entries of the source from the end of the stream backwards, until one stands at or before `mark`. */
  entriesOfSource(mark: string): Promise<SourceEntries>
}

/**
 * Holds the tail in Redis against what was saved. Entries and checkpoint are written together, so a crash loses or keeps them
 * together, and the checkpoint alone says where to go on: it counts the events, so that a lost tail is known exactly. If one of
 * the two was deleted or evicted by itself, the entries of the source are looked at.
 */
export async function resume(
  route: string,
  saved: RouteMark | undefined,
  tail: RouteTail,
  { maxRefill, entriesOfSource }: ResumeOptions,
): Promise<Resumption> {
  const { found } = tail
  if (found?.matches) {
    const { cursor: resumeFrom, id, count, added, skip } = found
    const here = { resumeFrom, id, count, added, skip }
    if (saved === undefined || saved.count <= count) return { ...here, repair: undefined }
    return refill(saved.count - count, `the stream and its checkpoint lost what followed entry ${id}`, here)
  }
  const nothing = { id: ZERO_ID, count: 0n, added: 0n, skip: new Set<string>() }
  const mark = found ?? saved
  if (mark === undefined || mark.count === 0n) return { ...nothing, resumeFrom: mark?.cursor ?? '', repair: undefined }

  const what = found === undefined ? 'its checkpoint in Redis is gone' : 'the stream was deleted or replaced'
  if (tail.length === 0n) return refill(mark.count, `${what}, and its entries are lost`, { ...nothing, resumeFrom: '' })
  const { newest, beyond, top } = await entriesOfSource(mark.id)
  if (newest !== undefined && newest.id !== mark.id) {
    const lost = mark.count > tail.added ? mark.count - tail.added : 1n
    const from = {
      resumeFrom: newest.sourceId,
      id: top ?? newest.id,
      count: mark.count - lost,
      added: 0n,
      skip: beyond,
    }
    return refill(lost, `${what}, and what followed entry ${newest.id} is lost, at least`, from)
  }
  const retained = found === undefined && wasRetained(mark, tail)
  if (newest === undefined && !retained) {
    const from = { ...nothing, resumeFrom: '', id: top ?? ZERO_ID, skip: beyond }
    return refill(mark.count, `${what}, and its entries are lost`, from)
  }
  return {
    resumeFrom: mark.cursor,
    id: top ?? mark.id,
    count: mark.count,
    added: 0n, // not known: the next append will
    skip: beyond,
    repair: `${what}; nothing is lost, and ${beyond.size} events that are there after entry ${mark.id} are not appended again`,
  }

  function refill(lost: bigint, how: string, from: Omit<Resumption, 'repair'>): Resumption {
    const where = from.resumeFrom === '' ? 'the earliest event on' : `after event ${from.resumeFrom}`
    if (lost <= BigInt(maxRefill))
      return { ...from, repair: `${how}: refilling ${lost} events, from the source ${where}` }
    throw new ReflexError(
      'SINK_LOST_TOO_MUCH',
      `${route}: ${how}: ${lost} events, more than the ${maxRefill} that are refilled unasked. Find out why they are lost; ` +
        `to refill them, from the source ${where}, give the sink the option maxRefill: ${lost}`,
      { retriable: false },
    )
  }
}

/** Whether retention can have taken all entries of the route: then at least as many are gone, and all up to the mark. */
function wasRetained({ id, count }: RouteMark, { first, last, length, added }: RouteTail): boolean {
  return compareIds(first, id) > 0 && compareIds(last, id) >= 0 && added - length >= count
}

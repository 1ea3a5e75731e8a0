import { OptionError, ReflexError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import type { PartitionBounds } from './partition-log.ts'
import type { Ends, RouteCheckpoint, RouteMark } from './route-checkpoint.ts'

/** What is found on opening. */
export interface RouteTail {
  readonly topicId: string
  /** Where each partition of the topic begins and ends. */
  readonly bounds: ReadonlyMap<number, PartitionBounds>
  /** The route's checkpoint records, the newest first, as far back as they are there. */
  readonly history: AsyncIterable<RouteCheckpoint>
  /** What the bridge has saved. */
  readonly saved: (RouteMark & { readonly cursor: Cursor }) | undefined
}

/** Where to go on. */
export interface Resumption {
  readonly resumeFrom: Cursor
  /** How many events of the route have been appended and not been lost. */
  readonly count: bigint
  /** The ends of the partitions that the route has written to. */
  readonly ends: Ends
  /** Events that are there already: not to be appended again. */
  readonly skip: ReadonlySet<string>
  /** Where those of `skip` stand. */
  readonly between: { readonly from: Ends; readonly to: Ends } | undefined
  readonly repair: string | undefined
}

/** What `resume` needs besides. */
export interface ResumeOptions {
  /** The name of the source; a checkpoint of another one is refused. */
  readonly source: string
  /** Whether events and their checkpoint are appended together: if not, there may be more than it tells of. */
  readonly atomic: boolean
  /** How many partitions the operator has said that the topic may have now. */
  readonly partitions: number | undefined
  /** At most so many lost events are refilled, and so many ids are skipped. */
  readonly maxRefill: number
  /** The ids of the source's events between two positions of each partition; throws if there are more than `maxRefill`. */
  idsBetween(from: Ends, to: Ends): Promise<ReadonlySet<string>>
}

/**
 * Holds the topic against the checkpoints. The newest checkpoint whose events are all still there is where to go on: what was
 * appended after it is looked up by its source ids, partition by partition, and exactly that is not appended again. Mostly that
 * is the newest one, and nothing is after it. A partition that ends before a checkpoint says has lost its tail; one that begins
 * later has been trimmed, which is retention.
 */
export async function resume(where: string, tail: RouteTail, options: ResumeOptions): Promise<Resumption> {
  const { topicId, bounds, history, saved } = tail
  const { source, atomic, maxRefill, idsBetween } = options
  const highs: Ends = new Map(Array.from(bounds, ([partition, { high }]) => [partition, high]))
  const lows: Ends = new Map(Array.from(bounds, ([partition, { low }]) => [partition, low]))
  let newest: RouteCheckpoint | undefined
  let intact: RouteCheckpoint | undefined
  for await (const checkpoint of history) {
    if (newest === undefined) {
      check(checkpoint)
      newest = checkpoint
    }
    if (isIntact(checkpoint)) intact = checkpoint
    if (intact !== undefined || newest.count - checkpoint.count > BigInt(maxRefill)) break
  }
  const known = newest === undefined || (saved !== undefined && saved.count > newest.count) ? saved : newest
  if (known === undefined)
    return { resumeFrom: '', count: 0n, ends: new Map(), skip: new Set(), between: undefined, repair: undefined }

  if (intact !== undefined) {
    const { cursor, count, ends } = intact
    const clean = intact === newest && known.count === count
    const between = clean && atomic ? intact.skip : { from: earlier(ends, intact.skip?.from), to: highs }
    const skip = between === undefined ? new Set<string>() : await idsBetween(between.from, between.to)
    const here = { resumeFrom: cursor, count, ends: clean ? ends : highs, skip, between }
    if (clean) return { ...here, repair: undefined }
    return refill(
      known.count - count - BigInt(skip.size),
      `what followed event ${count} of the route is not all there`,
      here,
    )
  }
  const skip = await idsBetween(lows, highs)
  const there = { count: 0n, ends: highs, skip, between: { from: lows, to: highs } }
  if (newest === undefined && known.topicId === topicId) {
    return {
      ...there,
      resumeFrom: saved?.cursor ?? '',
      count: known.count,
      repair: `its checkpoint record is gone: going on from the saved checkpoint, without what is in the topic already`,
    }
  }
  const what = known.topicId === topicId ? 'its partitions have lost their tails' : 'the topic was deleted or made anew'
  return refill(known.count - BigInt(skip.size), what, { ...there, resumeFrom: '' })

  function check(found: RouteCheckpoint): void {
    if (found.source !== source) {
      throw new OptionError(
        `${where}: its checkpoint was written from the source ${found.source}, not ${source}, so that its cursor means nothing here: give the bridge another name`,
      )
    }
    if (found.topicId !== topicId || found.partitions === bounds.size || options.partitions === bounds.size) return
    throw new ReflexError(
      'SINK_PARTITIONS_CHANGED',
      `${where}: the topic had ${found.partitions} partitions and has ${bounds.size} now, so that events of one key would come to stand in two of them, ` +
        `without an order. If its consumers can bear that, give the sink the option partitions: ${bounds.size}`,
      { retriable: false },
    )
  }
  function isIntact(checkpoint: RouteCheckpoint): boolean {
    if (checkpoint.topicId !== topicId) return false
    for (const [partition, end] of checkpoint.ends) if (end > (bounds.get(partition)?.high ?? 0n)) return false
    return true
  }
  /** Of each partition the earlier position; one that the route has not written to is looked at from its beginning. */
  function earlier(ends: Ends, other: Ends | undefined): Ends {
    return new Map(
      Array.from(bounds, ([partition, { low }]) => {
        let from = ends.get(partition) ?? low
        const before = other?.get(partition) ?? from
        if (before < from) from = before
        if (from < low) from = low
        return [partition, from]
      }),
    )
  }
  function refill(lost: bigint, how: string, from: Omit<Resumption, 'repair'>): Resumption {
    const first = from.resumeFrom === '' ? 'the earliest event on' : `after event ${from.resumeFrom}`
    const missing = lost < 0n ? 0n : lost
    const found = from.skip.size === 0 ? '' : `; ${from.skip.size} events that are there are not appended again`
    if (missing <= BigInt(maxRefill))
      return { ...from, repair: `${how}: refilling ${missing} events, from the source ${first}${found}` }
    throw new ReflexError(
      'SINK_LOST_TOO_MUCH',
      `${where}: ${how}: ${missing} events, more than the ${maxRefill} that are refilled unasked. Find out why they are lost; ` +
        `to refill them, from the source ${first}, give the sink the option maxRefill: ${missing}`,
      { retriable: false },
    )
  }
}

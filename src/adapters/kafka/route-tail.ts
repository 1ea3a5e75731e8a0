import { OptionError, ReflexError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import type { PartitionBounds } from './partition-log.ts'
import {
  type Between,
  type Ends,
  type Place,
  type RouteCheckpoint,
  type RouteMark,
  type StoredCheckpoint,
  type TopicState,
  topicOf,
} from './route-checkpoint.ts'
import type { FoundEvent } from './skipped-events.ts'

/** What is found on opening. */
export interface RouteTail {
  /** The topics of the route, as they are. */
  readonly topics: ReadonlyMap<string, TopicState>
  /** As in a mark. */
  readonly topicId: string
  /** Where each of their partitions begins and ends. */
  readonly bounds: ReadonlyMap<Place, PartitionBounds>
  /** The route's checkpoint records, the newest first, as far back as they are there. */
  readonly history: AsyncIterable<StoredCheckpoint>
  /** What the bridge has saved. */
  readonly saved: (RouteMark & { readonly cursor: Cursor }) | undefined
}

/** Where to go on. */
export interface Resumption {
  readonly resumeFrom: Cursor
  /** How many events of the route have been appended and not been lost. */
  readonly count: bigint
  /** At each place the end of the route's last record, or from where on there can be one. */
  readonly ends: Ends
  /** The source ids of those last records. */
  readonly last: ReadonlyMap<Place, string>
  /** Events that are there already: not to be appended again. */
  readonly found: readonly FoundEvent[]
  /** Between which positions they stand. */
  readonly between: Between | undefined
  readonly repair: string | undefined
}

/** What `resume` needs besides. */
export interface ResumeOptions {
  /** The name of the source; a checkpoint of another one is refused. */
  readonly source: string
  /** How many partitions the operator has said that a topic may have now. */
  readonly partitions: number | undefined
  /** At most so many lost events are refilled, and so many ids are skipped. */
  readonly maxRefill: number
  /** The producer id under which each writer of the route appends; undefined if each has another one. */
  readonly producer: bigint | undefined
  /**
   * The source's events between two positions of each place, in the order of each; throws if there are more than `maxRefill`. Of some
   * producers only: another route may forward other events of the source to the same topic, which this one does not wait for.
   */
  eventsBetween(between: Between, producers?: ReadonlySet<bigint>): Promise<readonly FoundEvent[]>
  /** Whether the source's event `id` may stand at an offset between the bounds of its partition, which ends at `to`. */
  mayStandAt(event: Omit<FoundEvent, 'end'>, to: bigint): Promise<boolean>
}

/**
 * Holds the topics against the checkpoints. The newest checkpoint whose events are all still there is where to go on: what was
 * appended after it is looked up by its source ids, partition by partition, and exactly that is not appended again. Mostly that
 * is the newest one, and nothing is after it. A partition that ends before a checkpoint says, or where something else stands
 * there, has lost its tail; one that begins later has been trimmed, which is retention.
 */
export async function resume(where: string, tail: RouteTail, options: ResumeOptions): Promise<Resumption> {
  const { topics, topicId, bounds, history, saved } = tail
  const { source, maxRefill, eventsBetween } = options
  const highs: Ends = new Map(Array.from(bounds, ([place, { high }]) => [place, high]))
  const lows: Ends = new Map(Array.from(bounds, ([place, { low }]) => [place, low]))
  let newest: StoredCheckpoint | undefined
  let intact: StoredCheckpoint | undefined
  for await (const checkpoint of history) {
    if (newest === undefined) {
      check(checkpoint)
      newest = checkpoint
    }
    if (await isIntact(checkpoint)) intact = checkpoint
    if (intact !== undefined || newest.count - checkpoint.count > BigInt(maxRefill)) break
  }
  const known = newest === undefined || (saved !== undefined && saved.count > newest.count) ? saved : newest
  if (known === undefined)
    return { resumeFrom: '', count: 0n, ...endsWith([]), found: [], between: undefined, repair: undefined }

  if (intact !== undefined) {
    const { cursor, count, skip, openEnded } = intact
    const ends = new Map(Array.from(intact.ends).filter(isTold, intact))
    const whole = intact === newest && known.count === count
    const trusted = whole && !openEnded && intact.isLast
    const by = whole ? writersOf(intact) : undefined
    const behind = trusted ? [] : await eventsBetween({ from: earlier(ends, undefined), to: highs }, by)
    const again = skip === undefined ? [] : await eventsBetween(within(skip))
    const between = behind.length > 0 ? { from: earlier(ends, skip?.from), to: highs } : skip && within(skip)
    const found = [...again, ...behind]
    const here = { resumeFrom: cursor, count, ...endsWith(behind, intact), found, between }
    if (!whole) return refill(known.count - count, `what followed event ${count} of the route is not all there`, here)
    const repair = `its newest checkpoint records are lost: ${behind.length} events that they told of are there, and are not appended again`
    return { ...here, repair: !openEnded && behind.length > 0 ? repair : undefined }
  }
  const between = { from: lows, to: highs }
  const found = await eventsBetween(between)
  const there = { count: 0n, ...endsWith(found), found, between }
  const isTrimmed = [...lows.values()].some((low) => low > 0n)
  if (newest === undefined && saved?.topicId === topicId && isTrimmed) {
    return {
      ...there,
      resumeFrom: saved.cursor,
      count: known.count,
      repair: 'its checkpoint record is gone: going on from the saved checkpoint, without what is in the topic already',
    }
  }
  return refill(known.count, whatIsLost(), { ...there, resumeFrom: '' })

  function whatIsLost(): string {
    const isAnew =
      newest === undefined ? saved?.topicId !== topicId : topicsOf(newest).some((topic) => !isSame(topic, newest))
    if (isAnew) return 'the topic was deleted or made anew'
    return newest === undefined ? 'its checkpoint record is gone' : 'its partitions have lost their tails'
  }
  /** By whom events of the route can be behind its newest record; undefined if that is not known. */
  function writersOf({ isPresent, producers }: StoredCheckpoint): ReadonlySet<bigint> | undefined {
    const { producer } = options
    const all = producer === undefined ? producers : new Set([...producers, producer])
    // Who appends at least once, under an id of its own, writes a record first; but it may be lost.
    return isPresent || (producer !== undefined && all.size === 1) ? all : undefined
  }
  /** The topics that the route has written to and still has. */
  function topicsOf({ last }: RouteCheckpoint): string[] {
    return [...new Set(Array.from(last.keys(), topicOf))].filter((topic) => topics.has(topic))
  }
  function isSame(topic: string, checkpoint: RouteCheckpoint): boolean {
    return checkpoint.topics.get(topic)?.id === topics.get(topic)?.id
  }
  function check(found: RouteCheckpoint): void {
    if (found.source !== source) {
      throw new OptionError(
        `${where}: its checkpoint was written from the source ${found.source}, not ${source}, so that its cursor means nothing here: give the bridge another name`,
      )
    }
    for (const topic of topicsOf(found)) {
      const [before, now] = [found.topics.get(topic)?.partitions, topics.get(topic)?.partitions]
      if (!isSame(topic, found) || before === now || options.partitions === now) continue
      throw new ReflexError(
        'SINK_PARTITIONS_CHANGED',
        `${where}: the topic ${topic} had ${before} partitions and has ${now} now, so that events of one key would come to stand in two of them, ` +
          `without an order. If its consumers can bear that, give the sink the option partitions: ${now}`,
        { retriable: false },
      )
    }
  }
  /** Not of a topic that was made anew, nor where others' records have lost their tail, if nothing of the route had gone there before. */
  function isTold(this: RouteCheckpoint, [place, end]: readonly [Place, bigint]): boolean {
    return isSame(topicOf(place), this) && (this.last.has(place) || end <= (highs.get(place) ?? 0n))
  }
  async function isIntact(checkpoint: RouteCheckpoint): Promise<boolean> {
    if (!topicsOf(checkpoint).every((topic) => isSame(topic, checkpoint))) return false
    const asked: (() => Promise<boolean>)[] = []
    for (const [place, id] of checkpoint.last) {
      if (!topics.has(topicOf(place))) continue // it is no longer one of the route's
      const { low, high } = bounds.get(place) ?? { low: 0n, high: 0n }
      const end = checkpoint.ends.get(place) ?? 0n
      if (end > high) return false
      if (end > low) asked.push(() => options.mayStandAt({ id, place, offset: end - 1n }, high))
    }
    return (await Promise.all(asked.map((ask) => ask()))).every(Boolean)
  }
  /** At each place the earlier position, as far as it is there; one that was not there yet is looked at from its beginning. */
  function earlier(ends: Ends, other: Ends | undefined): Ends {
    return new Map(
      Array.from(bounds, ([place, { low, high }]) => {
        let from = ends.get(place) ?? low
        const before = other?.get(place) ?? from
        if (before < from) from = before
        return [place, clamp(from, low, high)]
      }),
    )
  }
  function within({ from, to }: Between): Between {
    const clamped = (ends: Ends): Ends =>
      new Map(
        Array.from(ends, ([place, end]) => {
          const { low, high } = bounds.get(place) ?? { low: 0n, high: 0n }
          return [place, clamp(end, low, high)]
        }),
      )
    return { from: clamped(from), to: clamped(to) }
  }
  /** The ends after a checkpoint and what was found behind it. Where the route has no record, there is none before the high watermark. */
  function endsWith(behind: readonly FoundEvent[], before?: RouteCheckpoint): Pick<Resumption, 'ends' | 'last'> {
    const last = new Map(Array.from(before?.last ?? []).filter(([place]) => bounds.has(place)))
    const ends = new Map(highs)
    for (const place of last.keys()) ends.set(place, before?.ends.get(place) ?? 0n)
    for (const { id, place, offset } of behind) {
      if (last.has(place) && offset < (ends.get(place) ?? 0n)) continue
      ends.set(place, offset + 1n)
      last.set(place, id)
    }
    return { ends, last }
  }
  function refill(appended: bigint, how: string, from: Omit<Resumption, 'repair'>): Resumption {
    const there = new Set(from.found.map(({ id }) => id)).size
    const lost = appended - BigInt(there)
    const first = from.resumeFrom === '' ? 'the earliest event on' : `after event ${from.resumeFrom}`
    const missing = lost < 0n ? 0n : lost
    const found = there === 0 ? '' : `; ${there} events that are there are not appended again`
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

function clamp(position: bigint, low: bigint, high: bigint): bigint {
  if (position < low) return low
  return position < high ? position : high
}

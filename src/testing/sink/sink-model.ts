import type { Cursor, Event } from '../../core/event.ts'
import type { Checkpoint } from '../../core/sink.ts'
import { wireNames } from '../../core/wire.ts'
import { Violation } from '../conformance/violation.ts'
import { difference } from '../event-body.ts'

/** The log that the events come from, as the sink is told. */
export const SOURCE = 'shop.events'
/** The bridge, as the sink is told. */
export const ROUTE = 'route-1'

/** A checkpoint that was saved, and how often the destination had lost something by then. */
export interface Saved {
  readonly checkpoint: Checkpoint
  readonly losses: number
}

/** A part of the source, and the position after it. */
export interface Part {
  readonly positions: readonly number[]
  readonly events: readonly Event[]
  readonly to: number
}

/**
 * What is known of a source and its destination. Positions of the source count from 1 and are its cursors; some are of no event, as
 * of records that were filtered out.
 */
export interface SinkModel {
  readonly once: boolean
  readonly ordered: 'all' | 'by foreignId'
  readonly source: (Event | undefined)[]
  /** Positions whose events are in the destination. */
  readonly there: Set<number>
  /** Those of which it is not known, or that may yet arrive. */
  readonly unknown: Set<number>
  /** All that the checkpoint store has had since it was lost, the newest last. */
  readonly saved: Saved[]
  /** What the last append returned, with its cursor; undefined before the first; `unknown` where its outcome is, or after a loss. */
  tail: Checkpoint | undefined | 'unknown'
  /** Whether nothing went wrong since. */
  clean: boolean
  /** How often the destination has lost something. */
  losses: number
  /** Events of others in the destination, at most. */
  foreign: number
  /** How many writers have been opened. */
  opens: number
  /** A late effect or a failure of the way to the destination may still hit whoever comes next. */
  shaken: boolean
  /** Two writers were at work: where they do not fence each other, a mark may tell of what both have appended. */
  overlapped: boolean
  /** The destination lost everything, and may refuse to go on. */
  wiped: boolean
}

/** The model of an empty source and destination. */
export function sinkModel(once: boolean, ordered: SinkModel['ordered']): SinkModel {
  return {
    ...{ once, ordered, source: [], there: new Set<number>(), unknown: new Set<number>(), saved: [] },
    ...{ tail: undefined, clean: true, losses: 0, foreign: 0, opens: 0, shaken: false, wiped: false },
    overlapped: false,
  }
}

/** The source gets an event, or with null a position of none. Returns the position. */
export function grow({ source }: SinkModel, event: Partial<Event> | null = {}): number {
  const position = source.length + 1
  source.push(
    event === null
      ? undefined
      : {
          type: (position % 3) + 1,
          foreignId: `e${position % 3}`,
          timestamp: 1_767_225_600_000 + (position % 5) * 1000 + 0.125, // not in the order of the source
          metadata: Buffer.from(`payload ${position}`),
          headers: {},
          ...event,
          id: String(position),
        },
  )
  return position
}

/** The next events after a position, as many as there are up to `count`, and what follows them that is no event. */
export function partAfter({ source }: SinkModel, after: number, count: number): Part {
  const positions: number[] = []
  let to = after
  for (; to < source.length; to++) {
    if (source[to] === undefined) continue
    if (positions.length === count) break
    positions.push(to + 1)
  }
  return { positions, events: positions.map((position) => source[position - 1] as Event), to }
}

/** The cursor of a position. */
export function cursorOf(position: number): Cursor {
  return position === 0 ? '' : String(position)
}

/** The position of a cursor; undefined if it is none of this source. */
export function positionOf({ source }: SinkModel, cursor: Cursor): number | undefined {
  if (cursor === '') return 0
  return /^[1-9]\d{0,8}$/.test(cursor) && Number(cursor) <= source.length ? Number(cursor) : undefined
}

/** Positions up to `to` whose events are not in the destination. */
export function missingUpTo({ source, there }: SinkModel, to: number): number[] {
  const missing: number[] = []
  for (let position = 1; position <= to; position++) {
    if (source[position - 1] !== undefined && !there.has(position)) missing.push(position)
  }
  return missing
}

/**
 * Holds what stands in the destination against the model, which learns what was not known. `extra` is the property that is broken
 * if something is there that should not be; `missing` the one if something is not.
 */
export function checkContents(
  model: SinkModel,
  found: readonly Event[],
  {
    extra = 'B6',
    missing = model.losses > 0 ? 'B9' : 'B1',
  }: { readonly extra?: string; readonly missing?: string } = {},
): void {
  const { there, unknown, source } = model
  const own = found.filter(({ headers }) => headers[wireNames.source] === SOURCE)
  if (found.length - own.length > model.foreign) {
    const stranger = found.find(({ headers }) => headers[wireNames.source] !== SOURCE) as Event
    throw new Violation(
      'B15',
      `expected every event that was appended to have the header ${wireNames.source} ${JSON.stringify(SOURCE)}, but one has ${JSON.stringify(stranger.headers[wireNames.source])}`,
    )
  }
  const positions = own.map(({ headers }) => {
    const id = headers[wireNames.sourceId]
    const position = typeof id === 'string' ? positionOf(model, id) : undefined
    if (position) return position
    throw new Violation(
      'B15',
      `expected the header ${wireNames.sourceId} to be the id of an event of the source, but it is ${JSON.stringify(id)}`,
    )
  })
  const now = `the destination holds ${inWords(positions)}`
  const all = new Set(positions)
  const stray = positions.find((each) => source[each - 1] === undefined || !(there.has(each) || unknown.has(each)))
  if (stray !== undefined) throw new Violation(extra, `expected that event ${stray} was not appended, but ${now}`)
  const lost = [...there].find((each) => !all.has(each))
  if (lost !== undefined) throw new Violation(missing, `expected event ${lost}, which was appended, but ${now}`)
  const strict = model.once || (model.opens < 2 && !model.shaken)
  const twice = positions.find((each, i) => positions.indexOf(each) !== i)
  if (strict && twice !== undefined) throw new Violation('B5', `event ${twice} stands there twice: ${now}`)
  checkOrder(model, [...all], now)
  for (const [i, event] of own.entries()) {
    const appended = source[(positions[i] as number) - 1] as Event
    const different = difference(appended, event)
    if (different !== undefined)
      throw new Violation('B15', `event ${appended.id} is not as it was appended: ${different}`)
  }
  for (const position of all) {
    there.add(position)
    if (strict) unknown.delete(position)
  }
}

/** What stands there several times counts where it stands first. */
function checkOrder({ source, ordered }: SinkModel, positions: readonly number[], now: string): void {
  const last = new Map<string, number>()
  for (const position of positions) {
    const unit = ordered === 'all' ? '' : (source[position - 1]?.foreignId ?? '')
    const before = last.get(unit) ?? 0
    if (position < before)
      throw new Violation(
        'B3',
        `expected the order of the source, but event ${before} stands before event ${position}: ${now}`,
      )
    last.set(unit, position)
  }
}

/** `events 1 to 3 and 5` */
export function inWords(positions: readonly number[]): string {
  const runs: [from: number, to: number][] = []
  for (const position of positions) {
    const last = runs.at(-1)
    if (last !== undefined && last[1] === position - 1) last[1] = position
    else runs.push([position, position])
  }
  if (runs.length === 0) return 'no events'
  const words = runs.map(([from, to]) => (from === to ? `${from}` : `${from} to ${to}`)).join(', ')
  return `${positions.length === 1 ? 'event' : 'events'} ${words}`
}

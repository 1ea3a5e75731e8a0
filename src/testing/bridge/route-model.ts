import { parseCheckpoint } from '../../bridge/checkpoint.ts'
import { savedCursor } from '../../core/cursor.ts'
import type { Batch, Cursor, Event, NewEvent } from '../../core/event.ts'
import type { Mark } from '../../core/sink.ts'
import { wireNames } from '../../core/wire.ts'
import { Violation } from '../conformance/violation.ts'
import { difference } from '../event-body.ts'
import type { BridgeSubject } from './bridge-subject.ts'

/** The one route of a schedule. */
export const ROUTE = 'route'

/** What the source holds, what of it the destination and the checkpoint may hold, and what was wrong about them first. */
export interface RouteModel {
  /** What was appended to the source, in order. */
  readonly source: readonly { readonly id: string; readonly event: NewEvent }[]
  /** Every checkpoint that was saved. */
  readonly saved: readonly string[]
  /** How many events of the source the destination has held, lost ones included. */
  readonly reached: number
  /** Two processes ran at once; the destination lost something; an append failed: who is to blame for what is seen later. */
  blame: { overlap: boolean; loss: boolean; failedAppend: boolean }
  /** Notes that a property is broken; the first counts. It is not thrown where it is seen: a bridge might swallow it. */
  violate(property: string, message: string): void
  /** Throws what was noted. */
  check(): void
  took(events: readonly NewEvent[], ids: readonly string[]): void
  /** A position that the source gives: so many of its events are at or before it. */
  learn(cursor: Cursor, place: number, incarnation: string | undefined): void
  learnBatch(batch: Batch, before: number, incarnation: string | undefined): number
  placeOf(cursor: Cursor): number | undefined
  /** A route that starts at the head has durably started after so many events. */
  pin(place: number): void
  isPinned(): boolean
  /** A route without a checkpoint goes on from where its destination says. */
  adopt(place: number): void
  /** Holds what the destination has against the source; returns how far it reaches. */
  checkContents(): Promise<number>
  /** The destination has held what precedes the cursor, though it may not any more. */
  trust(cursor: Cursor): void
  appended(cursor: Cursor, mark: Mark): void
  checkSaved(checkpoint: string): void
  /** At the end the destination has it all, unchanged, and the checkpoint says so. */
  checkEnd(stored: string, lastRead: Cursor | undefined): Promise<void>
}

/** Makes the model of an empty route. */
export function routeModel(subject: BridgeSubject, fromHead: boolean): RouteModel {
  const source: { readonly id: string; readonly event: NewEvent }[] = []
  const indexOf = new Map<string, number>()
  const places = new Map<Cursor, number>([['', 0]])
  const marks = new Set<string>()
  const saved: string[] = []
  const blame = { overlap: false, loss: false, failedAppend: false }
  const once = subject.delivery !== 'at-least-once'
  let pinned: number | undefined = fromHead ? undefined : 0
  let adopted = false
  let reached = 0
  let violation: Violation | undefined

  const violate = (property: string, message: string): void => {
    violation ??= new Violation(property, message)
  }
  const lost = (): string => (blame.overlap ? 'B8' : blame.loss ? 'B9' : blame.failedAppend ? 'B7' : 'B1')
  const nameOf = (index: number): string => {
    const { id, event } = source[index] ?? { id: '?', event: { foreignId: '?' } }
    return `event ${id} (${JSON.stringify(event.foreignId).slice(0, 20)})`
  }
  const placeOf = (cursor: Cursor): number | undefined => places.get(cursor)
  const learn = (cursor: Cursor, place: number, incarnation: string | undefined): void => {
    if (cursor === '') return
    places.set(cursor, place)
    if (incarnation !== undefined) places.set(savedCursor(cursor, incarnation), place)
  }

  /** Where in the source each event of the destination is from; undefined if one is of nowhere. */
  function indexes(events: readonly Event[]): number[] | undefined {
    const found: number[] = []
    for (const { headers, id } of events) {
      const sourceId = headers[wireNames.sourceId]
      if (headers[wireNames.source] !== subject.source.name || typeof sourceId !== 'string') {
        violate(
          'B15',
          `the destination's event ${id} should have the headers ${wireNames.source} ${JSON.stringify(subject.source.name)} and ` +
            `${wireNames.sourceId}, but has ${JSON.stringify({ [wireNames.source]: headers[wireNames.source], [wireNames.sourceId]: sourceId })}`,
        )
        return undefined
      }
      const index = indexOf.get(sourceId)
      if (index === undefined) {
        violate('B2', `the destination holds an event ${sourceId} that was never appended to the source`)
        return undefined
      }
      found.push(index)
    }
    return found
  }

  /** Each event once, in order, with none left out. */
  function checkOnce(found: readonly number[]): void {
    if (pinned === undefined) {
      if (found.length > 0)
        violate('B18', `${nameOf(found[0] ?? 0)} was appended before the checkpoint said where the route starts`)
      return
    }
    // A route whose start only the destination knew may get more again than it had once that is lost, but not less.
    const from = blame.loss && adopted ? Math.min(pinned, found[0] ?? pinned) : pinned
    for (let i = 0; i < found.length; i++) {
      const index = found[i] as number
      const wanted = from + i
      if (index === wanted) continue
      const where = `position ${i + 1} of the destination`
      const expected = `${where} should be ${wanted < source.length ? nameOf(wanted) : 'empty'}`
      if (found.lastIndexOf(index, i - 1) >= 0 && i > 0)
        violate(
          blame.overlap ? 'B8' : blame.loss ? 'B9' : 'B5',
          `${expected}, but is ${nameOf(index)}, which is there already`,
        )
      else if (index < from)
        violate('B18', `${where} is ${nameOf(index)}, from before the head at which the route started`)
      else if (found.includes(wanted, i)) violate(blame.overlap ? 'B8' : 'B3', `${expected}, but is ${nameOf(index)}`)
      else violate(lost(), `${expected}, which is missing, but is ${nameOf(index)}`)
      return
    }
    reached = Math.max(reached, from + found.length)
  }

  /** Segments in order, each starting at or before the end of those before it; what was lost, or came from two writers, may cut one short. */
  function checkSegments(found: readonly number[]): void {
    let previous = -1
    let end = pinned ?? found[0] ?? 0
    for (const index of found) {
      if (index > end) violate(lost(), `${nameOf(end)} is missing in the destination before ${nameOf(index)}`)
      if (previous >= 0 && index > previous + 1 && !blame.overlap && !blame.loss)
        violate('B3', `after ${nameOf(previous)} the destination holds ${nameOf(index)}: it left some out in between`)
      end = Math.max(end, index + 1)
      previous = index
    }
    reached = Math.max(reached, end)
  }

  async function checkContents(): Promise<number> {
    const found = indexes(await subject.read())
    if (found === undefined) return 0
    if (once) checkOnce(found)
    else checkSegments(found)
    return found.reduce((end, index) => Math.max(end, index + 1), pinned ?? 0)
  }

  return {
    source,
    saved,
    blame,
    get reached() {
      return reached
    },
    violate,
    check: () => {
      if (violation !== undefined) throw violation
    },
    took: (events, ids) => {
      events.forEach((event, i) => {
        const id = ids[i] as string
        indexOf.set(id, source.length)
        source.push({ id, event })
        places.set(id, source.length)
      })
    },
    learn,
    learnBatch: ({ events, cursor }, before, incarnation) => {
      const last = events.at(-1)
      const place = last === undefined ? before : (indexOf.get(last.id) ?? before) + 1
      for (const { id } of events) learn(id, (indexOf.get(id) ?? before) + 1, incarnation)
      learn(cursor, place, incarnation)
      return place
    },
    placeOf,
    pin: (place) => {
      pinned ??= place
    },
    isPinned: () => pinned !== undefined,
    adopt: (place) => {
      pinned ??= place
      adopted = true
    },
    checkContents,
    trust: (cursor) => {
      reached = Math.max(reached, placeOf(cursor) ?? 0)
    },
    appended: (cursor, mark) => {
      marks.add(`${placeOf(cursor)} ${mark}`)
    },
    checkSaved: (text) => {
      saved.push(text)
      let parsed: ReturnType<typeof parseCheckpoint>
      try {
        parsed = parseCheckpoint(ROUTE, text)
      } catch {
        return violate('B1', `a checkpoint should be {"cursor":"…","mark":"…"}, but ${JSON.stringify(text)} was saved`)
      }
      const { cursor, mark } = parsed ?? { cursor: '', mark: '' }
      const place = placeOf(cursor)
      if (place === undefined)
        return violate(
          'B1',
          `the checkpoint names the position ${JSON.stringify(cursor)}, which the source has never given`,
        )
      pinned ??= place
      const held = Math.max(reached, pinned)
      if (place > held)
        return violate(
          lost(),
          `the checkpoint names the position ${JSON.stringify(cursor)}, but ${nameOf(held)} before it has never been in the destination`,
        )
      if (!marks.has(`${place} ${mark}`))
        violate(
          'B9',
          `the checkpoint pairs the position ${JSON.stringify(cursor)} with the mark ${JSON.stringify(mark)}, which no append up to there has returned`,
        )
    },
    checkEnd: async (stored, lastRead) => {
      const events = await subject.read()
      const found = indexes(events)
      if (found === undefined) return
      const end = await checkContents()
      const from = pinned ?? source.length
      if (end < source.length && from < source.length)
        return violate(
          lost(),
          `${nameOf(end)} is missing at the end of the destination, after a process that ran to the head`,
        )
      for (const [i, index] of found.entries()) {
        const different = difference((source[index] as (typeof source)[number]).event, events[i] as Event)
        if (different !== undefined)
          return violate('B15', `${nameOf(index)} is not in the destination as it was appended: ${different}`)
      }
      const cursor = parseCheckpoint(ROUTE, stored)?.cursor ?? ''
      const place = placeOf(cursor) ?? 0
      if (from < source.length && place < source.length)
        violate(
          'B19',
          `the checkpoint should be at the head, but names ${JSON.stringify(cursor)}, and ${nameOf(place)} follows`,
        )
      else if (lastRead !== undefined && cursor !== lastRead)
        violate(
          'B19',
          `the checkpoint should name the last position that was read, ${lastRead}, but names ${JSON.stringify(cursor)}`,
        )
    },
  }
}

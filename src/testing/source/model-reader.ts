import { savedCursor } from '../../core/cursor.ts'
import { codeOf, messageOf } from '../../core/errors.ts'
import type { Batch, Cursor, Event, NewEvent } from '../../core/event.ts'
import type { EventStream } from '../../core/stream.ts'
import type { Patience } from '../conformance/property.ts'
import { Violation } from '../conformance/violation.ts'
import { type Outcome, outcomeOf } from '../conformance/within.ts'
import { difference } from '../event-body.ts'
import { findEvent, keptOf } from './find-event.ts'
import { type GivenBatch, givenBatch } from './given-batch.ts'
import { countOf, errorInWords, eventInWords } from './in-words.ts'
import type { Entry, LogModel } from './log-model.ts'
import { faultProperty, type ServerFault, serverFaults } from './server-fault.ts'

/** How a stream was opened, and where it should stand. */
export interface ReaderStart {
  readonly stream: EventStream
  readonly controller: AbortController
  readonly after: Cursor
  /** How many entries it certainly is after, and how many it can be after. */
  readonly least: number
  readonly most: number
  /** Opened at `""` without `fromHead`: it begins at what is the earliest when it is first read. */
  readonly fromEarliest: boolean
  readonly pinsHead: boolean
  readonly types: readonly number[] | undefined
  /** With `toHead`, how many entries there were when it was opened. */
  readonly end: number | undefined
  /** How it was opened, in words. */
  readonly opened: string
}

/** What can happen to a stream that is open. */
export type Disturbance = 'trim' | 'remove' | 'rewind' | 'recreate' | ServerFault

/** A stream that is read against the model. */
export interface ModelReader {
  readonly start: ReaderStart
  /** Open, and expected to go on. */
  readonly isOpen: boolean
  /** How many entries it certainly is after. */
  readonly least: number
  /** That of the last batch, or what it was opened at. */
  readonly cursor: Cursor
  /** To be called before it happens. */
  disturb(by: Disturbance): void
  readonly disturbed: ReadonlySet<Disturbance>
  /** How many events are to come by now, or an error in their place. */
  due(): number
  /** Whether a read has to end: with an event, an error, or the end. */
  isReadable(): boolean
  /** Reads a batch; returns what it was in words. It must end, and what it brings must be right. */
  read(): Promise<string>
  /** Begins a read whose outcome is looked at later. */
  begin(): Promise<IteratorResult<Batch>>
  /** Holds what a read brought against the model; returns it in words. */
  take(outcome: Outcome<IteratorResult<Batch>>): string
  /** Closes it, so many times at once. */
  close(times?: number): Promise<void>
  /** Closes it as a loop does that is left. */
  leave(): Promise<void>
}

/** Makes a reader of a stream over a log as `model` has it. */
export function modelReader(start: ReaderStart, model: LogModel, { limitMs }: Patience): ModelReader {
  const { stream, types, opened, pinsHead, end } = start
  const { generation } = model
  let iterator: AsyncIterator<Batch> | undefined // not made before the first read: a stream may never be read
  const begin = (): Promise<IteratorResult<Batch>> => {
    iterator ??= stream[Symbol.asyncIterator]()
    return iterator.next()
  }
  const disturbed = new Set<Disturbance>()
  let { least, most } = start
  let isOpen = true
  let hasFailed = false
  let first = true // nothing has been given
  let batches = 0
  let position = start.after
  let last: GivenBatch | undefined
  /** What there was each time before the log lost some of it, which may have been read ahead; and how far this has come in it. */
  const losses: { readonly entries: readonly Entry[]; least: number }[] = []

  /** How many entries the log has never lost. */
  const kept = (): number => Math.min(...losses.map(({ entries }) => keptOf(entries, model.entries)))
  /** It stands where the log has lost something. */
  const isStranded = (): boolean => losses.some(({ entries, least: at }) => at > keptOf(entries, model.entries))
  const isCurrent = (): boolean => generation === model.generation
  const current = (): readonly Entry[] => (isCurrent() ? model.entries : [])
  const isWanted = ({ body, removed }: Entry): boolean =>
    !removed && (body === undefined || types === undefined || types.includes(body.type))

  function nameAt(i: number, entries: readonly Entry[] = model.entries): string {
    const id = entries[i]?.id
    return id === undefined ? `event ${i + 1}` : `event ${JSON.stringify(id)}`
  }

  /** Holds an event against what is due, and moves on. */
  function takeEvent(event: Event): NewEvent {
    const told = eventInWords(event)
    const logs = [current(), ...losses.map((loss) => loss.entries)]
    const found = findEvent(event, logs, least)
    if (found === undefined && disturbed.has('recreate'))
      throw new Violation('S11', `a stream opened ${opened} before the log was recreated gave the event ${told}`)
    if (found === undefined)
      throw new Violation('S1', `a stream opened ${opened} gave the event ${told}, which was never appended`)
    const { entries, index } = found
    const entry = entries[index] as Entry
    const body = entry.body
    if (body === undefined) throw new Violation('S14', `what is not an event was read as the event ${told}`)
    if (entry.id !== undefined && entry.id !== event.id)
      throw new Violation('S5', `an event had the id ${JSON.stringify(entry.id)}, but was read as ${told}`)
    const changed = difference(body, event)
    if (changed !== undefined) throw new Violation('S13', `the event ${told} was changed: ${changed}`)
    if (end !== undefined && index >= end)
      throw new Violation('S7', `a stream opened ${opened} gave the event ${told}, which came after the head at open`)
    if (types !== undefined && !types.includes(event.type))
      throw new Violation('S15', `a stream opened ${opened} gave the event ${told} of type ${event.type}`)
    if (entries === model.entries && isStranded() && index >= kept())
      throw new Violation(
        'S11',
        `a stream opened ${opened} gave the event ${told} in the place of one that the log had lost`,
      )
    if (index < least && first && pinsHead)
      throw new Violation('S8', `a stream opened ${opened} gave the event ${told}, which had been appended before`)
    if (index < least)
      throw new Violation(
        first ? 'S2' : 'O2',
        `a stream opened ${opened} gave the event ${told}${first ? ', which is not after that' : ' again, or too late'}${since()}`,
      )
    const isGone = (i: number): boolean => entries === model.entries && i < model.trimmed
    for (let i = most; i < index; i++) {
      const skipped = entries[i] as Entry
      if (!isWanted(skipped) || (isGone(i) && first && start.most === 0)) continue
      const jumped = `a stream opened ${opened} went from before ${nameAt(i, entries)} to the event ${told}`
      if (skipped.body === undefined) throw new Violation('S14', `${jumped}, over what is not an event`)
      if (isGone(i)) throw new Violation('S12', `${jumped}, which was trimmed: expected CURSOR_TRIMMED`)
      if (!first) throw new Violation('O3', jumped)
      throw new Violation(pinsHead ? 'S8' : start.fromEarliest ? 'S1' : 'S2', jumped)
    }
    entry.id ??= event.id
    least = index + 1
    most = least
    first = false
    if (entries === model.entries) model.see({ cursor: event.id, least, most })
    else for (const loss of losses) if (loss.entries === entries) loss.least = least
    return body
  }

  /** Whoever reads one batch ahead, as the run loop does, still holds the one before. */
  function checkLast(): void {
    const changed = last?.changed()
    if (changed !== undefined)
      throw new Violation(
        'S13',
        `a batch of a stream opened ${opened} was changed by the read after it: its event ${changed} is no longer what it was; expected arrays and payloads that are not used again`,
      )
  }

  /** Where the next event that is wanted stands, or the end. */
  function nextWanted(): number {
    const entries = current()
    const to = Math.min(entries.length, end ?? entries.length)
    // Before everything there is nothing to prove: a log may take that for the earliest.
    const skip = start.most === 0 && first ? model.trimmed : 0
    for (let i = Math.max(most, skip); i < to; i++) if (isWanted(entries[i] as Entry)) return i
    return Math.max(to, most)
  }

  function due(): number {
    const entries = current()
    const to = Math.min(entries.length, end ?? entries.length)
    let count = 0
    for (let i = nextWanted(); i < to; i++) if (isWanted(entries[i] as Entry)) count++
    return count
  }

  /** What it is about to give is gone. */
  function isTrimmed(): boolean {
    if (!isCurrent() || !disturbed.has('trim') || (start.most === 0 && first)) return false
    const to = Math.min(model.trimmed, end ?? model.trimmed)
    for (let i = most; i < to; i++) if (isWanted(model.entries[i] as Entry)) return true
    return false
  }

  const since = (): string => (fault() === undefined ? '' : `, after a ${fault()}`)
  const fault = (): ServerFault | undefined => serverFaults.find((each) => disturbed.has(each))

  function isReadable(): boolean {
    if (!isOpen) return false
    if (!isCurrent()) return stream.incarnation !== undefined // without one, it cannot tell the new log from the old one
    if (disturbed.has('rewind') && isStranded()) {
      // That is seen as long as nothing else stands there.
      const { length } = model.entries
      return end === undefined ? least > length && length > kept() : least >= length
    }
    return due() > 0 || (end !== undefined && fault() === undefined)
  }

  function takeBatch({ events, cursor }: Batch): string {
    if (!Array.isArray(events) || typeof cursor !== 'string')
      throw new Violation(
        'S4',
        `a batch must have an array of events and a cursor that is a string, but a stream opened ${opened} gave ${Array.isArray(events) ? 'an array' : typeof events} and a ${typeof cursor}`,
      )
    if (pinsHead && batches === 0 && (events.length > 0 || cursor === ''))
      throw new Violation(
        'S8',
        `the first batch of a stream opened ${opened} must be empty and carry the pinned position, but it has ${countOf(events.length, 'event')} and the cursor ${JSON.stringify(cursor)}`,
      )
    batches++
    const bodies = events.map(takeEvent)
    last = givenBatch({ events, cursor }, bodies)
    position = savedCursor(cursor, stream.incarnation)
    if (cursor === '' && events.length > 0)
      throw new Violation('S4', `a batch of ${events.length} events has the cursor "", which is before all of them`)
    if (cursor !== '' && isCurrent() && least <= model.entries.length) {
      const furthest = Math.max(most, nextWanted())
      const known = model.find(position) ?? model.find(cursor)
      const gave = `a stream opened ${opened} gave a batch with the cursor ${JSON.stringify(cursor)}, which is`
      if (known !== undefined && known.most < least)
        throw new Violation('S4', `${gave} before ${nameAt(known.most)}, which it has given`)
      if (known !== undefined && known.least > furthest && end !== undefined && furthest >= end)
        throw new Violation('S7', `${gave} after the head at open`)
      if (known !== undefined && known.least > furthest)
        throw new Violation('S4', `${gave} after ${nameAt(furthest)}, which it has not given`)
      model.see({ cursor: position, least, most: furthest })
    }
    const what = events.length > 1 ? `${events.length} events up to ` : events.length === 1 ? 'event ' : 'no event'
    const newest = events.at(-1)
    return `${what}${newest === undefined ? '' : eventInWords(newest)}, cursor ${JSON.stringify(cursor)}`
  }

  function failed(error: unknown): string {
    isOpen = false
    hasFailed = true
    const code = codeOf(error)
    const told = code ?? messageOf(error)
    const unexpected = `a stream opened ${opened} ended with ${errorInWords(error)}`
    if (!(error instanceof Error)) throw new Violation('S11', `${unexpected}, which is not an Error`)
    if (fault() !== undefined || disturbed.has('recreate')) return told
    if (code === 'CURSOR_TRIMMED' && start.fromEarliest && batches === 0 && !disturbed.has('rewind'))
      throw new Violation('S12', `${unexpected}; expected the earliest that is left: "" is never trimmed`)
    const next = nextWanted()
    if (code === 'EVENT_UNDECODABLE' && due() > 0 && current()[next]?.body !== undefined)
      throw new Violation(
        'S14',
        `${unexpected} before it gave ${nameAt(next)}, which is one; expected all that is before it`,
      )
    if (current()[next]?.body === undefined && due() > 0) {
      if (code === 'EVENT_UNDECODABLE') return told
      throw new Violation('S14', `${unexpected}; expected EVENT_UNDECODABLE at what is not an event`)
    }
    const trimmed = disturbed.has('trim') && most <= model.trimmed
    if (code === 'CURSOR_TRIMMED' && (trimmed || disturbed.has('remove') || disturbed.has('rewind'))) return told
    if (code === 'CURSOR_AHEAD' && disturbed.has('rewind')) return told
    if (trimmed) throw new Violation('S12', `${unexpected}; expected CURSOR_TRIMMED`)
    if (disturbed.has('rewind')) throw new Violation('S11', `${unexpected}; expected CURSOR_AHEAD or CURSOR_TRIMMED`)
    throw new Violation('S9', `${unexpected}, although nothing had happened that could end it`)
  }

  function takeEnd(): string {
    isOpen = false
    const ended = `a stream opened ${opened} ended`
    const what = fault()
    const left = countOf(due(), 'event')
    if (isTrimmed()) throw new Violation('S12', `${ended} as if it were at the head; expected CURSOR_TRIMMED`)
    if (what !== undefined && (end === undefined || due() > 0))
      throw new Violation(
        faultProperty[what],
        `${ended} as if there were no more, after a ${what}; expected an error, or what is to come`,
      )
    if (disturbed.has('rewind') || disturbed.has('recreate')) return 'the end'
    const at = current()[nextWanted()]
    if (due() > 0 && at?.body === undefined)
      throw new Violation('S14', `${ended} at what is not an event; expected EVENT_UNDECODABLE`)
    if (end === undefined) throw new Violation('S9', `${ended}, although toHead was not asked for`)
    if (due() > 0) throw new Violation('S7', `${ended} ${left} before the head at open`)
    return 'the end'
  }

  function take(outcome: Outcome<IteratorResult<Batch>>): string {
    checkLast()
    if (outcome.is === 'value') return outcome.value.done ? takeEnd() : takeBatch(outcome.value.value)
    if (outcome.is === 'error') return failed(outcome.error)
    isOpen = false
    const left = due()
    const come = `${countOf(left, 'event')} ${left === 1 ? 'is' : 'are'} to come`
    const what = fault()
    const hangs = `a read of a stream opened ${opened} has not ended within ${limitMs} ms`
    if (isTrimmed())
      throw new Violation('S12', `${hangs}, although events after it were trimmed; expected CURSOR_TRIMMED`)
    if (disturbed.has('recreate') || (disturbed.has('rewind') && (left === 0 || isStranded()))) {
      const happened = disturbed.has('recreate') ? 'was recreated' : 'lost its tail'
      throw new Violation('S11', `${hangs}, although the log ${happened}; expected CURSOR_AHEAD`)
    }
    if (what !== undefined)
      throw new Violation(
        faultProperty[what],
        `${hangs} after a ${what}, although ${come}; expected these, or an error`,
      )
    if (left === 0) throw new Violation('S7', `${hangs}, although it has given everything up to the head at open`)
    if (current()[nextWanted()]?.body === undefined)
      throw new Violation('S14', `${hangs} at what is not an event; expected EVENT_UNDECODABLE`)
    throw new Violation('S9', `${hangs}, although ${come}`)
  }

  return {
    start,
    get isOpen() {
      return isOpen
    },
    get least() {
      return least
    },
    get cursor() {
      return position
    },
    disturbed,
    disturb: (by) => {
      if (by === 'rewind' || by === 'recreate') losses.push({ entries: [...current()], least })
      disturbed.add(by)
    },
    due,
    isReadable,
    read: async () => take(await outcomeOf(begin(), limitMs)),
    begin,
    take,
    leave: async () => {
      isOpen = false
      iterator ??= stream[Symbol.asyncIterator]()
      const outcome = await outcomeOf(Promise.resolve(iterator.return?.()), limitMs)
      if (outcome.is !== 'value')
        throw new Violation(
          'Y1',
          `the loop over a stream opened ${opened} could not be left: ${outcome.is === 'error' ? messageOf(outcome.error) : `not within ${limitMs} ms`}`,
        )
    },
    close: async (times = 1) => {
      isOpen = false
      const closing = async (): Promise<void> => stream[Symbol.asyncDispose]()
      for (const outcome of await Promise.all(Array.from({ length: times }, () => outcomeOf(closing(), limitMs)))) {
        if (outcome.is === 'nothing')
          throw new Violation('Y1', `the close of a stream opened ${opened} has not ended within ${limitMs} ms`)
        if (outcome.is === 'error' && disturbed.size === 0 && !hasFailed && !start.controller.signal.aborted)
          throw new Violation('Y1', `the close of a stream opened ${opened} failed: ${messageOf(outcome.error)}`)
      }
    },
  }
}

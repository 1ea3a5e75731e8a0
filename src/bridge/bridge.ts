import { untilAborted } from '../core/abort.ts'
import { breather } from '../core/breather.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import { type CursorStore, savedCursor } from '../core/cursor.ts'
import { disposeStack } from '../core/dispose-stack.ts'
import {
  errorKind,
  eventIdOf,
  messageOf,
  ReflexError,
  RunError,
  type RunStage,
  StreamEndedError,
} from '../core/errors.ts'
import type { Cursor, Event } from '../core/event.ts'
import type { Observer } from '../core/observer.ts'
import type { RunResult } from '../core/run.ts'
import type { Checkpoint, Mark, Sink, SinkWriter } from '../core/sink.ts'
import { openStream, type Source } from '../core/stream.ts'
import { formatCheckpoint, parseCheckpoint } from './checkpoint.ts'
import type { DeadLetters } from './dead-letters.ts'
import { openLetters } from './open-letters.ts'
import { readAhead } from './read-ahead.ts'
import { refuseHole } from './refuse-hole.ts'
import { readLog } from './route-log.ts'
import { type Aside, sortOut } from './sort-out.ts'
import type { Transform } from './transform.ts'

/** A route: what is forwarded, where to, and where its checkpoint is kept. */
export interface BridgeSpec {
  /** Names the route: its checkpoint is stored under it, so it stays the same for as long as the route lives. */
  readonly name: string
  readonly source: Source
  readonly sink: Sink
  /** Best kept beside the source, in the same database: a destination that lost its tail is then noticed. */
  readonly checkpoints: CursorStore
  /** Makes of each event what is appended, or leaves it out. Default: every event is appended as it is. */
  readonly transform?: Transform | undefined
  /**
   * Where events go that can never be sent through their own fault, as those at which `transform` throws or that the destination has
   * no way to hold; and later events of the same foreignId, as the source has it, for as long as one of it is there, so that its order
   * is kept. Nothing else ever goes there: without a permission, without room, with an event that is too large, the route waits.
   * Default: none; the route stops at such an event, as it does when the letter cannot be written.
   */
  readonly deadLetters?: DeadLetters | undefined
  /** With so many dead letters open, the route stops at the next one: it is not the events then. Default: 1,000. */
  readonly maxDeadLetters?: number | undefined
}

/** Options of `bridge`. */
export interface BridgeOptions {
  /** End at what is the source's head at the start. Default: false, never end. */
  readonly toHead?: boolean | undefined
  /** A new route starts at the source's head instead of the earliest. Default: false. */
  readonly fromHead?: boolean | undefined
  /** Ends the bridge: at once where it waits, else when the append under way is confirmed and its checkpoint saved. */
  readonly signal?: AbortSignal | undefined
  /** Default: the machine's clock. */
  readonly clock?: Clock | undefined
  /** Is told what happens. Default: nobody. */
  readonly observer?: Observer | undefined
}

/** While there is nothing to append, the destination is asked this often whether it is still there (rule 3 says within 5 s). */
const ASK_EVERY_MS = 1500

/**
 * Forwards every event of `source` into `sink`, in order, and saves a checkpoint after each batch. Ends with the first error
 * and rejects with `RunError`; what is then unknown the sink finds out when it is opened again. Run it under `supervise`.
 *
 * At an event that cannot be sent (`poison`, `oversize`) what stands before it is still appended, so that the route stands at that very
 * event. It goes on when the event can be sent, is put into the dead letters, or is skipped in the checkpoint by an operator.
 *
 * While the source is idle, an empty batch finds out whether the destination is alive, has kept its tail and still has this
 * writer: so a lost tail is refilled without waiting for the next event.
 *
 * @example await supervise((o) => bridge({ name: 'orders', source, sink, checkpoints }, o), { signal })
 */
export async function bridge(spec: BridgeSpec, options: BridgeOptions = {}): Promise<RunResult> {
  const { name, source, sink, checkpoints, transform, deadLetters, maxDeadLetters: most = 1000 } = spec
  const { toHead = false, fromHead = false, signal, clock = systemClock, observer = {} } = options
  let opened = disposeStack()
  let stage: RunStage = 'cursor'
  let eventId: string | undefined
  let cursor: Cursor = ''
  let failure: RunError | undefined
  let lateError: unknown // the first thing thrown after the abort, other than its reason
  /** Why the destination refuses events, by their ids: what stands before them is appended without them. */
  const faults = new Map<string, unknown>()
  let isOpen = false
  let goesOn = false // without the event that was just refused

  async function pump(): Promise<void> {
    signal?.throwIfAborted()
    stage = 'cursor'
    let stored = await untilAborted(checkpoints.get(name, { signal }), signal)
    const found = parseCheckpoint(name, stored) ?? { cursor: '', mark: '', start: '' }
    const { skips: given = [], log } = found
    const saved = found.mark === '' ? undefined : found // before the first append there is nothing but skips
    const logged = await untilAborted(readLog({ name, checkpoints, checkpoint: found }, { signal }), signal)
    const skips = new Map([...logged.flatMap(({ skip }) => skip ?? []), ...given].map((skip) => [skip.eventId, skip]))
    cursor = found.cursor
    stage = 'open'
    const writer = opened.use(await openWriter(saved))
    let { start, first } = found
    cursor = writer.resumeFrom === '' ? start : writer.resumeFrom
    if (writer.repair !== undefined) observer.repaired?.(writer.repair)
    // A destination that lost everything resumes from "" as well, but what it lost is not after the head.
    const isNew = saved === undefined && cursor === '' && writer.repair === undefined
    const atHead = fromHead && isNew
    const letters =
      deadLetters && (await untilAborted(openLetters({ route: name, source, deadLetters, most, signal }), signal))
    const stream = opened.use(
      await openStream(source.stream.bind(source), cursor, { signal, toHead, fromHead: atHead }),
    )
    observer.opened?.({ name, cursor })
    isOpen = true

    const breathe = breather(clock)
    /** Appends what is to be sent of a part of the source, and saves that, and that the dead letters before it are `passed`. */
    const append = async (
      send: readonly Event[],
      next: Cursor,
      { part, passed }: { readonly part: readonly Event[]; readonly passed: readonly Event[] },
    ): Promise<void> => {
      stage = 'handle'
      eventId = send[0]?.id
      let mark: Mark
      const sentAt = clock.now()
      try {
        mark = await writer.append(send, next)
      } catch (error) {
        const about = eventIdOf(error)
        if (part.some(({ id }) => id === about)) eventId = about
        const fault = faultIn(part, error, { behind: passed.length > 0, mayDivert: letters !== undefined })
        goesOn = fault !== undefined && !faults.has(fault)
        if (fault !== undefined) faults.set(fault, error)
        throw error
      }
      const handled = send.length
      const skipped = passed.length + part.length - handled
      if (handled > 0) observer.timed?.({ count: handled, ms: Math.max(0, clock.now() - sentAt) })
      observer.progress?.({ cursor: next, handled, skipped, timestamp: (part.at(-1) ?? passed.at(-1))?.timestamp })
      await breathe()
      stage = 'commit'
      eventId = undefined
      if (atHead && start === '') start = next
      const checkpoint = formatCheckpoint({ cursor: next, mark, start, first, skips: given, log })
      await checkpoints.set(name, checkpoint, stored)
      stored = checkpoint
      cursor = next
      observer.saved?.(cursor)
    }
    const mayDivert = ({ holder, error }: Aside): boolean =>
      letters !== undefined && (holder !== undefined || errorKind(error) === 'poison')
    /** Puts an event into the dead letters; throws if that is not to be. */
    const putAside = async (aside: Aside): Promise<void> => {
      const { event, error, holder } = aside
      stage = 'handle'
      eventId = event.id
      if (holder?.own) return // before a crash
      if (letters === undefined || !mayDivert(aside)) throw error
      const reason = holder === undefined ? error : heldBack(event, holder.eventId)
      await letters.add(event, reason)
      faults.delete(event.id)
      observer.passed?.({ eventId: event.id, as: 'dead letter', reason: messageOf(reason) })
    }
    const forward = async (events: readonly Event[], next: Cursor): Promise<void> => {
      let refreshed = false
      let passed: readonly Event[] = [] // and not yet saved
      for (let from = 0; ; ) {
        const { send, skipped, until, aside } = sortOut(events, from, { transform, skips, faults, letters })
        if (aside?.holder !== undefined && !refreshed) {
          stage = 'handle'
          await letters?.refresh()
          refreshed = true
          continue
        }
        const part = until - from === events.length ? events : events.slice(from, until)
        // What stands before a letter is in the destination before the letter can be sent, and the route stands at what it stops at.
        const full = aside?.holder?.own !== true && letters?.isFull() === true
        const stopsAt = aside !== undefined && (full || !mayDivert(aside))
        const last = part.at(-1) ?? (stopsAt ? passed.at(-1) : undefined)
        if (aside === undefined) await append(send, next, { part, passed })
        else if (last !== undefined) await append(send, savedCursor(last.id, stream.incarnation), { part, passed })
        if (last !== undefined) passed = []
        for (const skip of skipped)
          observer.passed?.({ eventId: skip.eventId, as: 'skipped', reason: `${skip.by}: ${skip.why}` })
        if (aside === undefined) return
        signal?.throwIfAborted()
        await putAside(aside)
        signal?.throwIfAborted()
        passed = [...passed, aside.event]
        from = until + 1
      }
    }
    // The next event may be long in coming: until then a lost tail would go unnoticed, or what is to be refilled be purged.
    if (cursor !== (saved?.cursor ?? '')) await forward([], cursor)

    let atEarliest = cursor === '' && !atHead
    const whileIdle = async (): Promise<void> => {
      stage = 'handle'
      await writer.append([], cursor)
      stage = 'receive'
    }
    const batches = opened.use(readAhead(stream, { clock, whileIdle, everyMs: ASK_EVERY_MS }))
    for (;;) {
      stage = 'receive'
      eventId = undefined
      const { done, value: batch } = await batches.next()
      if (done) break
      await breathe()
      signal?.throwIfAborted()
      const { events } = batch
      const [earliest] = events
      if (atEarliest && earliest !== undefined) {
        refuseHole(name, source, { first, earliest: earliest.id })
        first ??= earliest.id
        atEarliest = false
      }
      // What only moves on may have passed the hole: the next attempt would not find it any more.
      if (atEarliest && first !== undefined) continue
      const next = savedCursor(batch.cursor, stream.incarnation)
      if (events.length > 0 || next !== cursor) await forward(events, next)
    }
    if (!toHead) throw new StreamEndedError()
  }

  /** Waits no longer than until the abort: a writer that opens later is closed. */
  async function openWriter(saved: Checkpoint | undefined): Promise<SinkWriter> {
    const opening = sink.open({ route: name, source: source.name, saved, signal })
    try {
      return await untilAborted(opening, signal)
    } catch (error) {
      opening.then((late) => late[Symbol.asyncDispose]()).catch(() => {}) // nobody is left to be told
      throw error
    }
  }

  async function close(): Promise<void> {
    const all = opened
    opened = disposeStack()
    stage = 'receive'
    eventId = undefined
    try {
      await all[Symbol.asyncDispose]()
    } catch (error) {
      note(error)
    }
    if (isOpen) observer.closed?.({ name })
    isOpen = false
  }

  /** The first error is the failure; later ones, and those after an abort, are only told. */
  function note(error: unknown): void {
    if (failure === undefined && !signal?.aborted) {
      failure = new RunError(stage, { consumer: name, eventId, cause: error })
    } else if (error !== signal?.reason) {
      lateError ??= error
      observer.failed?.(error)
    }
  }

  do {
    goesOn = false
    await pump().catch((error: unknown) => {
      goesOn &&= !signal?.aborted
      if (!goesOn) note(error)
    })
    await close()
  } while (goesOn && failure === undefined)

  if (failure !== undefined) {
    observer.failed?.(failure)
    throw failure
  }
  if (!signal?.aborted) return { reason: 'head', cursor }
  return { reason: 'aborted', cursor, ...(lateError === undefined ? {} : { error: lateError }) }
}

/**
 * The event of a part that an append was refused for, if the bridge can do something about it: append what stands before it, save
 * that it has come so far, or put it into the dead letters. Undefined if not, or if it is not proven to be the event's fault.
 */
function faultIn(
  part: readonly Event[],
  error: unknown,
  { behind, mayDivert }: { readonly behind: boolean; readonly mayDivert: boolean },
): string | undefined {
  const kind = errorKind(error)
  if (kind !== 'poison' && kind !== 'oversize') return undefined
  const id = eventIdOf(error)
  const index = part.findIndex((event) => event.id === id)
  return index > 0 || (index === 0 && (behind || (mayDivert && kind === 'poison'))) ? id : undefined
}

function heldBack({ id, foreignId }: Event, holder: string): ReflexError {
  return new ReflexError(
    'EVENT_HELD_BACK',
    `event ${id} waits for event ${holder}, which is a dead letter of the same foreignId, ${JSON.stringify(foreignId)}`,
    { eventId: id },
  )
}

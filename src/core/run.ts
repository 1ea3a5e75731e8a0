import { untilAborted } from './abort.ts'
import { checkPinned, checkSpec } from './check-run.ts'
import { type Clock, systemClock } from './clock.ts'
import type { Consumer } from './consumer.ts'
import { type CursorStore, savedCursor } from './cursor.ts'
import { codeOf, eventIdOf, RunError, type RunStage, StreamEndedError } from './errors.ts'
import type { Batch, Cursor, Event } from './event.ts'
import { isThenable } from './is-thenable.ts'
import type { Observer } from './observer.ts'
import { stopConsumer } from './stop-consumer.ts'
import { type EventStream, openStream, type StreamFunc } from './stream.ts'

/** Which stream is consumed by whom, and where the cursor is kept. */
export interface RunSpec {
  readonly stream: StreamFunc
  readonly cursors: CursorStore
  readonly consumer: Consumer
}

/** Options of `run`. */
export interface RunOptions {
  /** End at what is the head at the start. Default: false, never end. */
  readonly toHead?: boolean | undefined
  /** While no cursor is stored, start at the head instead of the earliest. Default: false. */
  readonly fromHead?: boolean | undefined
  /** Hold each event back until it is this old, in ms. A timestamp in the future delays by no more than this. Default: 0. */
  readonly delayMs?: number | undefined
  /** Ends the run: at once where it waits, else when the handler has returned; what was handled is saved. */
  readonly signal?: AbortSignal | undefined
  /** Default: the machine's clock. */
  readonly clock?: Clock | undefined
  /** Is told what happens. Default: nobody. */
  readonly observer?: Observer | undefined
}

/** How something that runs ended without failing. */
export interface Ended {
  /** `head`: the head was reached, as asked by `toHead`. `aborted`: the signal was aborted. */
  readonly reason: 'head' | 'aborted'
  /** What was thrown after the abort. */
  readonly error?: unknown
}

/** How a run ended. */
export interface RunResult extends Ended {
  /** The cursor that this run stored or found; `""` if it had not read it yet. */
  readonly cursor: Cursor
}

/** A synchronous run lets timers and I/O in at least this often (rule 6 says 10 ms). */
const YIELD_EVERY_MS = 8
/** Within a long batch, and while background work is outstanding, the cursor is saved at least this often. */
const SAVE_EVERY_MS = 1000
/** While events are quick, only each so many looks at the clock, which costs as much as handling one. */
const STRIDE = 8

/**
 * Runs one consumer over one stream: start the consumer, read its cursor, open the stream, then handle event after event
 * and save the cursor after each batch. Ends with the first error (rule 3): nothing after it is handled, what was handled
 * before is saved, and the event that failed is the first one next time. Use `supervise` to start again.
 *
 * Rejects with `RunError`. At least once: after a crash, the events since the last save are handled again.
 *
 * @example await run({ stream: source.stream, cursors, consumer: { name: 'mailer', handle: (event) => send(event) } })
 */
export async function run({ stream, cursors, consumer }: RunSpec, options: RunOptions = {}): Promise<RunResult> {
  const { toHead = false, fromHead = false, delayMs = 0, signal, clock = systemClock, observer = {} } = options
  const { name } = consumer

  // The run's own end: the caller's abort, or a failure of the consumer's background work.
  const ending = new AbortController()
  const context = { signal: ending.signal }
  let ended = false
  let aborted = false
  let failure: RunError | undefined
  let lateError: unknown // the first thing thrown after the abort, other than its reason

  let stage: RunStage = 'start'
  let eventId: string | undefined
  let opened: EventStream | undefined
  let saved: Cursor = ''
  let position: Cursor | undefined
  let offered: Event | undefined // what the consumer was last given
  let covered: Event | undefined // the same, when last nothing was outstanding
  let unknown: Cursor | undefined // a save whose outcome is not known
  let conflict = false
  let handled = 0
  let skipped = 0
  let timestamp: number | undefined
  let savedAt = clock.now()
  let yieldedAt = savedAt
  let lookedAt = savedAt

  async function save(): Promise<void> {
    savedAt = clock.now()
    if (position === undefined) return
    observer.progress?.({ cursor: position, handled, skipped, timestamp, at: savedAt })
    handled = 0
    skipped = 0
    const settled = consumer.settled?.()
    if (settled === undefined) covered = offered
    else if (settled === covered?.id) return // the position saved then may be further on, over what was skipped
    const cursor = savedCursor(settled ?? position, opened?.incarnation)
    if (cursor === '' || cursor === saved) return
    const before = stage
    stage = 'commit'
    unknown = cursor
    try {
      await cursors.set(name, cursor, saved)
    } catch (error) {
      conflict = codeOf(error) === 'CURSOR_CONFLICT'
      throw error
    }
    stage = before
    unknown = undefined
    saved = cursor
    observer.saved?.(cursor)
  }

  async function handleAll({ events, cursor }: Batch): Promise<void> {
    const { types } = consumer
    const receivedAt = clock.now()
    lookedAt = receivedAt
    // Local while the loop is hot; `publish` brings the run's own state up to it.
    let done = 0
    let passed = 0
    let published = 0
    let publishedPassed = 0
    let untilLook = 1
    let skipsUntilLook = STRIDE
    let seen = 0 // handled before the last look
    let told = 0 // of these, those whose time was told
    const publish = (): void => {
      if (done === published) return
      const last = events[done - 1] as Event
      position = last.id
      timestamp = last.timestamp
      handled += done - published - (passed - publishedPassed)
      skipped += passed - publishedPassed
      published = done
      publishedPassed = passed
    }
    const tellTime = (upTo: number, ms: number): void => {
      if (upTo > told) observer.timed?.({ count: upTo - told, ms })
      told = upTo
    }
    /** True if the clock has moved on. */
    const look = (now: number): boolean => {
      const elapsedMs = now - lookedAt
      const count = done - passed
      const isSlow = isPast(elapsedMs, 1)
      if (isSlow) {
        tellTime(seen, 0)
        tellTime(count, Math.max(0, elapsedMs) / (count - seen))
      }
      seen = count
      lookedAt = now
      return isSlow
    }
    try {
      for (const event of events) {
        if (ended) throw ending.signal.reason
        if (delayMs > 0 && event.timestamp + delayMs > clock.now()) {
          publish()
          look(clock.now())
          await holdBack(event, receivedAt)
          lookedAt = clock.now()
        }
        let isSkipped = false
        try {
          if (
            (types === undefined || types.includes(event.type)) &&
            (consumer.filter === undefined || consumer.filter(event))
          ) {
            offered = event
            const work: unknown = consumer.handle(event, context)
            if (work !== undefined && isThenable(work)) {
              await work
              untilLook = 1 // beside an await, a look at the clock costs nothing
            }
          } else {
            isSkipped = true
            passed++
          }
        } catch (error) {
          if (ended || consumer.recover === undefined) throw error
          offered = event // it may be taken on here
          await consumer.recover(error, event, context)
        }
        done++
        if ((isSkipped ? --skipsUntilLook : --untilLook) > 0) continue
        const now = clock.now()
        // What is skipped says nothing about how long the handler takes.
        if (look(now)) untilLook = 1
        else if (!isSkipped) untilLook = STRIDE
        skipsUntilLook = STRIDE
        if (!isPast(now - savedAt, SAVE_EVERY_MS) && !isPast(now - yieldedAt, YIELD_EVERY_MS)) continue
        publish()
        await breathe(now)
        lookedAt = clock.now()
      }
      if (done - passed > seen) look(clock.now())
    } catch (error) {
      if (stage === 'handle') eventId = events[done]?.id
      throw error
    } finally {
      tellTime(done - passed, 0)
      publish()
    }
    position = cursor
    await save()
    if (isPast(savedAt - yieldedAt, YIELD_EVERY_MS)) await breathe(savedAt) // batches may all be empty
  }

  async function breathe(now: number): Promise<void> {
    if (isPast(now - savedAt, SAVE_EVERY_MS)) await save()
    if (!isPast(now - yieldedAt, YIELD_EVERY_MS)) return
    await clock.yield()
    yieldedAt = clock.now()
  }

  async function holdBack(event: Event, receivedAt: number): Promise<void> {
    const now = clock.now()
    // The clock may have been set back since the batch was received: no event waits for longer than it is to be delayed.
    const wait = Math.min(Math.min(event.timestamp, receivedAt) + delayMs - now, delayMs)
    if (wait <= 0) return
    if (isPast(now + wait - savedAt, SAVE_EVERY_MS)) await save()
    await clock.sleep(wait, ending.signal)
  }

  /** Waits for the next batch. What settles in the background meanwhile is saved: the stream may be idle for long. */
  async function received(reading: Promise<IteratorResult<Batch>>): Promise<IteratorResult<Batch>> {
    if (consumer.settled === undefined || covered === offered) return await reading
    const read = new AbortController()
    const end = (): void => read.abort()
    reading.then(end, end)
    while (!ended && !read.signal.aborted && covered !== offered) {
      await clock.sleep(SAVE_EVERY_MS, read.signal).catch(() => {})
      if (!ended && !read.signal.aborted) await save()
    }
    return await reading
  }

  async function consume(): Promise<void> {
    if (ended) throw ending.signal.reason
    stage = 'cursor'
    saved = await untilAborted(cursors.get(name, context), ending.signal)
    stage = 'open'
    const pinHead = fromHead && saved === ''
    opened = await openStream(stream, saved, { signal: ending.signal, toHead, fromHead: pinHead })
    observer.opened?.({ name, cursor: saved })
    const iterator = opened[Symbol.asyncIterator]()
    let reading = iterator.next()
    for (let first = true; ; first = false) {
      stage = 'receive'
      const { done, value: batch } = await received(reading)
      if (done) break
      if (first && pinHead) checkPinned(batch)
      reading = iterator.next() // one batch is read ahead, no more (rule 7)
      reading.catch(() => {}) // seen when it is awaited; not at all if this batch fails
      stage = 'handle'
      await handleAll(batch)
    }
    if (!toHead) throw new StreamEndedError()
  }

  /** The first error is the run's failure; later ones, and those after an abort, are only told. */
  function note(error: unknown, at: RunStage = stage): void {
    if (!aborted && failure === undefined) failure = new RunError(at, { consumer: name, eventId, cause: error })
    else if (error !== ending.signal.reason) {
      if (aborted) lateError ??= error
      observer.failed?.(error)
    }
  }

  const end = (reason: unknown): void => {
    ended = true
    ending.abort(reason)
  }
  const onAbort = (): void => {
    if (ended) return
    aborted = true
    end(signal?.reason)
  }
  const fail = (error: unknown): void => {
    eventId = eventIdOf(error)
    note(error, 'handle')
    end(error)
  }

  async function close(): Promise<void> {
    await opened?.[Symbol.asyncDispose]()
  }

  async function lastSave(): Promise<void> {
    if (conflict) return
    if (unknown !== undefined) {
      // That save may still arrive: only when it has can another one follow.
      const stored = await cursors.get(name)
      if (stored !== unknown) return
      saved = stored
    }
    await save()
  }

  signal?.addEventListener('abort', onAbort, { once: true })
  if (signal?.aborted) onAbort()
  let started = false
  try {
    checkSpec({ stream, consumer, delayMs })
    if (!ended) {
      await consumer.start?.({ fail, signal: ending.signal })
      started = true
      await consume()
    }
  } catch (error) {
    note(error)
    // What is at work in the background is told: another runner does the same, or `stop` will not be called.
    if (conflict || !started) end(error)
  }
  // The way out is the same after success, failure and abort, and each step is taken whatever became of the one before.
  if (started) {
    await stopConsumer(consumer, clock).catch((error) => note(error, 'handle'))
    await lastSave().catch((error) => note(error, 'commit'))
    await close().catch((error) => note(error, 'receive'))
    if (opened !== undefined) observer.closed?.({ name })
  }
  signal?.removeEventListener('abort', onAbort)

  if (failure !== undefined) {
    observer.failed?.(failure)
    throw failure
  }
  if (!aborted) return { reason: 'head', cursor: saved }
  return { reason: 'aborted', cursor: saved, ...(lateError === undefined ? {} : { error: lateError }) }
}

/** A clock that was set back says nothing about how much time has passed: better once too often. */
function isPast(elapsedMs: number, limitMs: number): boolean {
  return elapsedMs >= limitMs || elapsedMs < 0
}

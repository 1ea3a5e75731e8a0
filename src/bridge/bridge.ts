import { untilAborted } from '../core/abort.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import { type CursorStore, savedCursor } from '../core/cursor.ts'
import { disposeStack } from '../core/dispose-stack.ts'
import { RunError, type RunStage, StreamEndedError } from '../core/errors.ts'
import type { Cursor, Event } from '../core/event.ts'
import type { Observer } from '../core/observer.ts'
import type { RunResult } from '../core/run.ts'
import type { Checkpoint, Sink, SinkWriter } from '../core/sink.ts'
import { openStream, type Source } from '../core/stream.ts'
import { formatCheckpoint, parseCheckpoint } from './checkpoint.ts'
import { readAhead } from './read-ahead.ts'

/** A route: what is forwarded, where to, and where its checkpoint is kept. */
export interface BridgeSpec {
  /** Names the route: its checkpoint is stored under it, so it stays the same for as long as the route lives. */
  readonly name: string
  readonly source: Source
  readonly sink: Sink
  /** Best kept beside the source, in the same database: a destination that lost its tail is then noticed. */
  readonly checkpoints: CursorStore
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

/** A bridge between two synchronous ends lets timers and I/O in at least this often (rule 6 says 10 ms). */
const YIELD_EVERY_MS = 8
/** While there is nothing to append, the destination is asked this often whether it is still there (rule 3 says within 5 s). */
const ASK_EVERY_MS = 1500

/**
 * Forwards every event of `source` into `sink`, in order, and saves a checkpoint after each batch. Ends with the first error
 * and rejects with `RunError`; what is then unknown the sink finds out when it is opened again. Run it under `supervise`.
 *
 * While the source is idle, an empty batch finds out whether the destination is alive, has kept its tail and still has this
 * writer: so a lost tail is refilled without waiting for the next event.
 *
 * @example await supervise((o) => bridge({ name: 'orders', source, sink, checkpoints }, o), { signal })
 */
export async function bridge(
  { name, source, sink, checkpoints }: BridgeSpec,
  options: BridgeOptions = {},
): Promise<RunResult> {
  const { toHead = false, fromHead = false, signal, clock = systemClock, observer = {} } = options
  const opened = disposeStack()
  let stage: RunStage = 'cursor'
  let eventId: string | undefined
  let cursor: Cursor = ''
  let failure: RunError | undefined
  let lateError: unknown // the first thing thrown after the abort, other than its reason

  async function pump(): Promise<void> {
    signal?.throwIfAborted()
    let stored = await untilAborted(checkpoints.get(name, { signal }), signal)
    const saved = parseCheckpoint(name, stored)
    cursor = saved?.cursor ?? ''
    stage = 'open'
    const writer = opened.use(await openWriter(saved))
    let start = saved?.start ?? ''
    cursor = writer.resumeFrom === '' ? start : writer.resumeFrom
    if (writer.repair !== undefined) observer.repaired?.(writer.repair)
    // A destination that lost everything resumes from "" as well, but what it lost is not after the head.
    const isNew = saved === undefined && cursor === '' && writer.repair === undefined
    const atHead = fromHead && isNew
    const stream = opened.use(await openStream(source.stream, cursor, { signal, toHead, fromHead: atHead }))
    observer.opened?.({ name, cursor })

    let yieldedAt = clock.now()
    const breathe = async (): Promise<void> => {
      const elapsedMs = clock.now() - yieldedAt
      if (elapsedMs >= 0 && elapsedMs < YIELD_EVERY_MS) return
      await clock.yield()
      yieldedAt = clock.now()
    }
    const forward = async (events: readonly Event[], next: Cursor): Promise<void> => {
      stage = 'handle'
      eventId = events[0]?.id
      const mark = await writer.append(events, next)
      observer.progress?.({ cursor: next, handled: events.length, skipped: 0, timestamp: events.at(-1)?.timestamp })
      await breathe()
      stage = 'commit'
      eventId = undefined
      if (atHead && start === '') start = next
      const checkpoint = formatCheckpoint({ cursor: next, mark, start })
      await checkpoints.set(name, checkpoint, stored)
      stored = checkpoint
      cursor = next
      observer.saved?.(cursor)
    }
    // The next event may be long in coming: until then a lost tail would go unnoticed, or what is to be refilled be purged.
    if (cursor !== (saved?.cursor ?? '')) await forward([], cursor)

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

  /** The first error is the failure; later ones, and those after an abort, are only told. */
  function note(error: unknown): void {
    if (failure === undefined && !signal?.aborted) {
      failure = new RunError(stage, { consumer: name, eventId, cause: error })
    } else if (error !== signal?.reason) {
      lateError ??= error
      observer.failed?.(error)
    }
  }

  await pump().catch(note)
  stage = 'receive'
  eventId = undefined
  try {
    await opened[Symbol.asyncDispose]()
  } catch (error) {
    note(error)
  }

  if (failure !== undefined) {
    observer.failed?.(failure)
    throw failure
  }
  if (!signal?.aborted) return { reason: 'head', cursor }
  return { reason: 'aborted', cursor, ...(lateError === undefined ? {} : { error: lateError }) }
}

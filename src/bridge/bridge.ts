import { untilAborted } from '../core/abort.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import { type CursorStore, savedCursor } from '../core/cursor.ts'
import { RunError, type RunStage, StreamEndedError } from '../core/errors.ts'
import type { Cursor } from '../core/event.ts'
import type { Observer } from '../core/observer.ts'
import type { RunResult } from '../core/run.ts'
import type { Sink } from '../core/sink.ts'
import { openStream, type Source } from '../core/stream.ts'
import { formatCheckpoint, parseCheckpoint } from './checkpoint.ts'

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
  readonly clock?: Clock | undefined
  readonly observer?: Observer | undefined
}

/** A bridge between two synchronous ends lets timers and I/O in at least this often. */
const YIELD_EVERY_MS = 8

/**
 * Forwards every event of `source` into `sink`, in order, and saves a checkpoint after each batch. Ends with the first error
 * and rejects with `RunError`; what is then unknown the sink finds out when it is opened again. Run it under `supervise`.
 *
 * @example await supervise((o) => bridge({ name: 'orders', source, sink, checkpoints }, o), { signal })
 */
export async function bridge(
  { name, source, sink, checkpoints }: BridgeSpec,
  options: BridgeOptions = {},
): Promise<RunResult> {
  const { toHead = false, fromHead = false, signal, clock = systemClock, observer = {} } = options
  const opened = new AsyncDisposableStack()
  let stage: RunStage = 'cursor'
  let eventId: string | undefined
  let cursor: Cursor = ''

  async function pump(): Promise<void> {
    signal?.throwIfAborted()
    let stored = await untilAborted(checkpoints.get(name, { signal }), signal)
    const saved = parseCheckpoint(name, stored)
    cursor = saved?.cursor ?? ''
    stage = 'open'
    const writer = opened.use(await sink.open({ route: name, source: source.name, saved, signal }))
    cursor = writer.resumeFrom
    if (writer.repair !== undefined) observer.repaired?.(writer.repair)
    const stream = opened.use(
      await openStream(source.stream, cursor, { signal, toHead, fromHead: fromHead && cursor === '' }),
    )
    observer.opened?.({ name, cursor })

    let yieldedAt = clock.now()
    const iterator = stream[Symbol.asyncIterator]()
    let reading = iterator.next()
    for (;;) {
      stage = 'receive'
      eventId = undefined
      const { done, value: batch } = await reading
      if (done) break
      reading = iterator.next() // one batch is read ahead, no more (rule 7)
      reading.catch(() => {}) // seen when it is awaited; not at all if this batch fails
      const { events } = batch
      const next = savedCursor(batch.cursor, stream.incarnation)
      if (events.length === 0 && next === cursor) continue
      stage = 'handle'
      eventId = events[0]?.id
      const mark = await writer.append(events, next)
      cursor = next
      observer.progress?.({ cursor, handled: events.length, skipped: 0, timestamp: events.at(-1)?.timestamp })
      stage = 'commit'
      const checkpoint = formatCheckpoint({ cursor, mark })
      await checkpoints.set(name, checkpoint, stored)
      stored = checkpoint
      observer.saved?.(cursor)
      if (clock.now() - yieldedAt >= YIELD_EVERY_MS) {
        await clock.yield()
        yieldedAt = clock.now()
      }
      signal?.throwIfAborted()
    }
    if (!toHead) throw new StreamEndedError()
  }

  let failed: { readonly error: unknown; readonly stage: RunStage; readonly eventId: string | undefined } | undefined
  try {
    await pump()
  } catch (error) {
    failed = { error, stage, eventId }
  }
  try {
    await opened.disposeAsync()
  } catch (error) {
    if (failed === undefined) failed = { error, stage: 'receive', eventId: undefined }
    else observer.failed?.(error)
  }
  if (failed === undefined) return { reason: 'head', cursor }
  if (signal?.aborted)
    return { reason: 'aborted', cursor, ...(failed.error === signal.reason ? {} : { error: failed.error }) }
  const error = new RunError(failed.stage, { consumer: name, eventId: failed.eventId, cause: failed.error })
  observer.failed?.(error)
  throw error
}

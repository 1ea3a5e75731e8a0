import { untilAborted } from '../../core/abort.ts'
import { disposeStack } from '../../core/dispose-stack.ts'
import { CursorAheadError, codeOf, DecodeError, ReflexError } from '../../core/errors.ts'
import type { Batch, Cursor, Event } from '../../core/event.ts'
import { checkStreamOptions, type EventStream, eventStream, type StreamOptions } from '../../core/stream.ts'
import type { Delivery, decodeMessage } from './codec.ts'
import type { ConnectNats } from './nats-client.ts'
import { connectNats } from './nats-connection.ts'
import { consumerStalled, STALLED_AFTER } from './nats-error.ts'
import { nextMessage } from './next-message.ts'
import { type PullStart, pullConsumer } from './pull-consumer.ts'
import { checkIncarnation, parseSequence } from './sequence.ts'
import { keepsItsPlace } from './server-version.ts'
import { checkRetention, findStream, provePosition, type StreamInfo, streamInfo } from './stream-info.ts'
import { subjectFilter } from './subject-filter.ts'

/** A stream and how it is read. */
export interface MessageLog {
  readonly connect: ConnectNats
  readonly stream: string
  /** Names it in errors. */
  readonly log: string
  readonly batchSize: number
  readonly batchBytes: number
  readonly subjects: readonly string[] | undefined
  readonly toEvent: typeof decodeMessage
}

const DIAGNOSE_MS = 1000
/** So many gaps are looked at in one go. */
const LOOK_AT_ONCE = 50

/**
 * Opens a stream of the messages after a cursor. Messages that follow each other without a gap need no proof; where one is missing,
 * the state of the stream is read after they have come: if it still begins at or before the gap, nothing was removed from the
 * front, and what is missing was deleted or not asked for. Older servers let a consumer jump over messages when others are purged
 * by subject, or rolled up: there the stream itself is asked what it has in every gap, and a consumer that has jumped is made anew.
 */
export async function streamMessages(source: MessageLog, after: Cursor, options: StreamOptions): Promise<EventStream> {
  const { log, stream, toEvent } = source
  checkStreamOptions(log, after, options)
  const { signal, toHead, fromHead, types } = options
  const start = parseSequence(log, after) // before a connection is made
  const opened = disposeStack()
  const connection = opened.use(await connectNats(source.connect, { log, signal }))
  const { asked, isWanted } = subjectFilter(source.subjects, connection.version)
  const pulled = { ...source, subjects: asked }
  const consumer = opened.use(pullConsumer(connection, pulled))

  /** The consumer does not outlive its stream, so what it delivers is of the stream that is found after it. */
  async function begin(from: PullStart): Promise<StreamInfo> {
    checkRetention(log, await streamInfo(connection, stream))
    await consumer.start(from)
    return await streamInfo(connection, stream)
  }

  async function prepare(): Promise<{ info: StreamInfo; position: bigint }> {
    const info = await begin(start !== undefined ? { seq: start + 1n } : fromHead ? 'new' : 'earliest')
    checkIncarnation(log, after, info.incarnation)
    if (fromHead) return { info, position: info.last }
    if (start === undefined) return { info, position: 0n } // what is missing at the front is passed over
    provePosition(log, start, info, info.incarnation)
    return { info, position: start }
  }

  const preparing = prepare()
  let found: Awaited<typeof preparing>
  try {
    found = await untilAborted(preparing, signal)
  } catch (error) {
    // What is under way may still make a consumer, which is then deleted.
    const closing = preparing.then(
      () => opened[Symbol.asyncDispose](),
      () => opened[Symbol.asyncDispose](),
    )
    if (!signal?.aborted) await closing
    throw error
  }
  const { incarnation } = found.info
  const end = toHead ? found.info.last : undefined
  let { position } = found
  let anywhere = start === undefined && !fromHead // "" is never trimmed
  let stalled = 0
  let beginsAnew = false
  let closing = false

  /** Throws unless what followed `after` is complete. */
  function prove(info: StreamInfo, after = position): void {
    const at = anywhere && after === position && info.first > after ? info.first - 1n : after
    provePosition(log, at, info, incarnation)
    if (end !== undefined && info.last < end) {
      throw new CursorAheadError(log, { cursor: String(end), reason: 'beyond', found: String(info.last) })
    }
  }

  async function* batches(): AsyncGenerator<Batch> {
    if (fromHead) yield { events: [], cursor: String(position) }
    while (end === undefined || position < end) {
      const deliveries = await take()
      let batch = deliveries.length === 0 ? await passOver() : decode(deliveries)
      if (batch === undefined) continue
      let jump: Jump | undefined
      if (batch.gaps.length > 0) {
        if (batch.gapAfter !== undefined) prove(await streamInfo(connection, stream), batch.gapAfter)
        jump = await firstJump(batch.gaps)
        if (jump !== undefined) {
          const { after } = jump
          batch = decode(deliveries.filter(({ seq }) => seq <= after))
          beginsAnew = true
        }
      }
      const moved = batch.last !== position
      if (moved) stalled = 0
      else if (jump !== undefined) stall(jump.missed)
      position = batch.last
      anywhere &&= !moved
      if (moved) yield { events: batch.events, cursor: String(position) }
      if (batch.failure !== undefined) throw batch.failure
    }
  }

  async function take(): Promise<Delivery[]> {
    try {
      if (beginsAnew || consumer.isStale()) {
        beginsAnew = false
        prove(await begin({ seq: position + 1n })) // it may be another stream of this name
      }
      return await consumer.take({ eager: end !== undefined })
    } catch (error) {
      throw await diagnose(error)
    }
  }

  /** A consumer goes with its stream: what became of that says more. */
  async function diagnose(error: unknown): Promise<unknown> {
    if (closing || connection.isClosed()) return error
    try {
      const info = await findStream(connection, stream, DIAGNOSE_MS)
      if (info !== undefined) {
        prove(info)
        return codeOf(error) === 'NATS_CONNECTION' ? consumerGone(log) : error
      }
      const cursor = `${position}@${incarnation}`
      return new CursorAheadError(log, { cursor, reason: 'recreated', found: 'none: the stream was deleted' })
    } catch (cause) {
      return codeOf(cause)?.startsWith('CURSOR_') ? cause : error
    }
  }

  interface Gap {
    readonly after: bigint
    readonly before: bigint
  }

  /** Where the consumer was before it, and a message that it has passed over. */
  interface Jump {
    readonly after: bigint
    readonly missed: bigint
  }

  interface Decoded {
    readonly events: readonly Event[]
    readonly last: bigint
    readonly gaps: readonly Gap[]
    /** Where the first gap that has to be proven begins. */
    readonly gapAfter?: bigint | undefined
    readonly failure?: DecodeError
  }

  function decode(deliveries: readonly Delivery[]): Decoded {
    const events: Event[] = []
    const gaps: Gap[] = []
    let last = position
    let gapAfter: bigint | undefined
    let first = anywhere
    for (const delivery of deliveries) {
      const { seq } = delivery
      if (seq <= last) continue // from before the position was pinned, or passed over
      if (seq !== last + 1n) {
        gaps.push({ after: last, before: seq })
        if (!first) gapAfter ??= last
      }
      if (end !== undefined && seq > end) return { events, last: end, gaps, gapAfter }
      try {
        const event = isWanted(delivery.message) ? toEvent(delivery) : undefined
        if (event !== undefined && (types === undefined || types.includes(event.type))) events.push(event)
      } catch (cause) {
        return { events, last, gaps, gapAfter, failure: new DecodeError(log, { position: String(seq), cause }) }
      }
      first = false
      last = seq
    }
    return { events, last, gaps, gapAfter }
  }

  /** The first gap in which the consumer has passed over a message that is there. */
  async function firstJump(gaps: readonly Gap[]): Promise<Jump | undefined> {
    if (keepsItsPlace(connection.version)) return undefined
    for (let i = 0; i < gaps.length; i += LOOK_AT_ONCE) {
      const looks = gaps.slice(i, i + LOOK_AT_ONCE).map(async ({ after, before }) => {
        const missed = await nextMessage(connection, pulled, after + 1n)
        return missed !== undefined && missed < before ? { after, missed } : undefined
      })
      const jump = (await Promise.all(looks)).find((found) => found !== undefined)
      if (jump !== undefined) return jump
    }
    return undefined
  }

  /** Ends the stream if what is there has not come in so many goes. */
  function stall(seq: bigint): void {
    stalled++
    if (stalled === STALLED_AFTER) throw consumerStalled(log, seq)
  }

  /** Nothing has come: moves on over what was deleted, or is not asked for, if there is nothing else. */
  async function passOver(): Promise<Decoded | undefined> {
    const info = await streamInfo(connection, stream)
    prove(info)
    const last = end ?? info.last
    if (last <= position) return undefined
    const next = await nextMessage(connection, pulled, position + 1n)
    if (next !== undefined && next <= last) {
      stall(next)
      beginsAnew = stalled > 1 // the first time, it may be on its way
      return undefined
    }
    return { events: [], last, gaps: [{ after: position, before: last + 1n }], gapAfter: position }
  }

  function close(): PromiseLike<void> {
    closing = true
    return opened[Symbol.asyncDispose]()
  }

  return eventStream(batches(), close, { signal, incarnation })
}

function consumerGone(log: string): ReflexError {
  return new ReflexError(
    'NATS_CONSUMER_GONE',
    `${log}: the server answers, but has lost or deleted the consumer: start again`,
  )
}

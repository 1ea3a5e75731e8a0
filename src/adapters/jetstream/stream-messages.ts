import { untilAborted } from '../../core/abort.ts'
import { disposeStack } from '../../core/dispose-stack.ts'
import { CursorAheadError, codeOf, DecodeError, ReflexError } from '../../core/errors.ts'
import type { Batch, Cursor, Event } from '../../core/event.ts'
import { checkStreamOptions, type EventStream, eventStream, type StreamOptions } from '../../core/stream.ts'
import type { Delivery, decodeMessage } from './codec.ts'
import type { ConnectNats } from './nats-client.ts'
import { connectNats, type JetStreamConnection } from './nats-connection.ts'
import { type PullConsumer, pullConsumer } from './pull-consumer.ts'
import { checkIncarnation, parseSequence } from './sequence.ts'
import { checkRetention, findStream, provePosition, type StreamInfo, streamInfo } from './stream-info.ts'

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

/** JetStream's code for a message that is not there. */
const NO_MESSAGE = 10037
/** What the server says it has, but does not deliver, in so many requests, has been lost on its way. */
const STALLED_AFTER = 3
const DIAGNOSE_MS = 1000

/**
 * Opens a stream of the messages after a cursor. Messages that follow each other without a gap need no proof; where one is missing,
 * the state of the stream is read after they have come: if it still begins at or before the gap, nothing was removed from the
 * front, and what is missing was deleted or not asked for.
 */
export async function streamMessages(source: MessageLog, after: Cursor, options: StreamOptions): Promise<EventStream> {
  const { log, stream, subjects, toEvent } = source
  checkStreamOptions(log, after, options)
  const { signal, toHead, fromHead, types } = options
  const start = parseSequence(log, after) // before a connection is made
  const opened = disposeStack()
  const connection = opened.use(await connectNats(source.connect, { log, signal }))
  const consumer = opened.use(pullConsumer(connection, source))

  /** The consumer first: it does not outlive its stream, so what it delivers is of the stream that is found after it. */
  async function prepare(): Promise<{ info: StreamInfo; position: bigint }> {
    checkRetention(log, await streamInfo(connection, stream))
    await consumer.start(start === undefined ? 'earliest' : { seq: start + 1n })
    const info = await streamInfo(connection, stream)
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
      const batch = deliveries.length === 0 ? await passOver() : decode(deliveries)
      if (batch === undefined) continue
      if (batch.gapAfter !== undefined) prove(await streamInfo(connection, stream), batch.gapAfter)
      const moved = batch.last !== position
      position = batch.last
      anywhere &&= !moved
      if (moved) yield { events: batch.events, cursor: String(position) }
      if (batch.failure !== undefined) throw batch.failure
    }
  }

  async function take(): Promise<Delivery[]> {
    try {
      return await consumer.take({ after: position, eager: end !== undefined })
    } catch (error) {
      throw await diagnose(error)
    }
  }

  /** A consumer goes with its stream: what became of that says more. */
  async function diagnose(error: unknown): Promise<unknown> {
    if (connection.isClosed()) return error
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

  interface Decoded {
    readonly events: readonly Event[]
    readonly last: bigint
    /** Where the first gap begins, if a sequence is missing. */
    readonly gapAfter?: bigint | undefined
    readonly failure?: DecodeError
  }

  function decode(deliveries: readonly Delivery[]): Decoded {
    const events: Event[] = []
    let last = position
    let gapAfter: bigint | undefined
    let first = anywhere
    stalled = 0
    for (const delivery of deliveries) {
      const { seq } = delivery
      if (seq <= last) continue // from before the position was pinned, or passed over
      if (seq !== last + 1n && !first) gapAfter ??= last
      if (end !== undefined && seq > end) return { events, last: end, gapAfter }
      try {
        const event = toEvent(delivery)
        if (types === undefined || types.includes(event.type)) events.push(event)
      } catch (cause) {
        return { events, last, gapAfter, failure: new DecodeError(log, { position: String(seq), cause }) }
      }
      first = false
      last = seq
    }
    return { events, last, gapAfter }
  }

  /** Nothing has come: moves on over what was deleted, or is not asked for, if there is nothing else. */
  async function passOver(): Promise<Decoded | undefined> {
    const info = await streamInfo(connection, stream)
    prove(info)
    const last = end ?? info.last
    if (last <= position) return undefined
    for (const subject of subjects ?? ['>']) {
      const next = await nextMessage(connection, stream, subject, position + 1n)
      if (next === undefined || next > last) continue
      stalled++
      if (stalled < STALLED_AFTER) return undefined
      throw new ReflexError('NATS_CONSUMER_STALLED', `${log}: the server has message ${next}, but does not deliver it`)
    }
    return { events: [], last, gapAfter: position }
  }

  return eventStream(batches(), () => close(opened, consumer), { signal, incarnation })
}

/** The consumer first: a connection that is closed cannot delete it. */
async function close(opened: AsyncDisposable, consumer: PullConsumer): Promise<void> {
  await consumer[Symbol.asyncDispose]()
  await opened[Symbol.asyncDispose]()
}

/** The first message from `seq` on, by what the stream itself says. */
async function nextMessage(
  connection: JetStreamConnection,
  stream: string,
  subject: string,
  seq: bigint,
): Promise<bigint | undefined> {
  const found = await connection.api<{ message: { seq: bigint } } | undefined>(
    `STREAM.MSG.GET.${stream}`,
    { seq, next_by_subj: subject },
    { unless: [NO_MESSAGE] },
  )
  return found?.message.seq
}

function consumerGone(log: string): ReflexError {
  return new ReflexError(
    'NATS_CONSUMER_GONE',
    `${log}: the server answers, but has lost or deleted the consumer: start again`,
  )
}

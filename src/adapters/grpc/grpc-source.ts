import { create, toBinary } from '@bufbuild/protobuf'
import { type CallCredentials, Metadata, status } from '@grpc/grpc-js'
import { untilAborted } from '../../core/abort.ts'
import { systemClock } from '../../core/clock.ts'
import { CursorAheadError, CursorInvalidError, DecodeError, OptionError, ReflexError } from '../../core/errors.ts'
import type { Batch, Cursor, Event } from '../../core/event.ts'
import {
  checkStreamOptions,
  type EventStream,
  eventStream,
  type Source,
  type StreamOptions,
} from '../../core/stream.ts'
import { awaitConnection, type Connecting } from './await-connection.ts'
import { decodeMessage, type StreamMessage } from './decode-message.ts'
import { StreamRequestSchema } from './generated/reflex_pb.ts'
import { beginCall, callOptions, checkGrpcClient, type GrpcClient } from './grpc-client.ts'
import { type MessageInbox, messageInbox } from './message-inbox.ts'
import { type CallStatus, statusError } from './status-error.ts'
import { BATCHES_KEY, REFLEX_PATH, streamMethod } from './stream-method.ts'

/** Options of `grpcSource`. */
export interface GrpcSourceOptions {
  /** Made with `grpcFailFast`. Streams of one client share its connection; each is a call. */
  readonly client: GrpcClient
  /** The path of the method, as `/shop.Orders/StreamOrders`. Default: `/reflexpb.Reflex/Stream`. */
  readonly path?: string | undefined
  /** Names the log, in dedupe keys too: let it stay the same. Default: `grpc:<path>`. */
  readonly name?: string | undefined
  /**
   * What serves it. A server of `luno/reflex` says nothing before its first event: a cursor that it cannot honour is an error of the
   * first read, `fromHead` is refused, headers and null payloads do not travel, and `types` are sorted out here. Default: `reflex-bridge`.
   */
  readonly server?: 'reflex-bridge' | 'luno/reflex' | undefined
  /** What each call proves who it is with, beside what the client's channel does. */
  readonly credentials?: CallCredentials | undefined
  /** Each stream ends so many ms after it was asked for, with `GRPC_DEADLINE_EXCEEDED`, which is worth another try. Default: never. */
  readonly deadlineMs?: number | undefined
}

/** So long it may take to be connected, and a server to say that it is one; a deadline of the opening itself it has not. */
const ANSWER_WITHIN_MS = 4000

/**
 * A stream of another process as a source: of `serveStream`, or of a Go service with luno/reflex. It ends with the first error, and the
 * connection's loss is one; nothing is tried again. Throws an `OptionError` on a client that would, and on a path that is none.
 *
 * @example
 * const client = new Client('orders:8080', credentials.createInsecure(), { ...grpcFailFast })
 * await run({ stream: grpcSource({ client }).stream, cursors, consumer })
 */
export function grpcSource(options: GrpcSourceOptions): Source {
  const {
    client,
    path = REFLEX_PATH,
    name = `grpc:${path}`,
    server = 'reflex-bridge',
    credentials,
    deadlineMs,
  } = options
  checkGrpcClient(client)
  const method = streamMethod(path)
  if (server !== 'reflex-bridge' && server !== 'luno/reflex')
    throw new OptionError(`${name}: server must be reflex-bridge or luno/reflex, but is ${JSON.stringify(server)}`)
  if (deadlineMs !== undefined && !(deadlineMs > 0))
    throw new OptionError(`${name}: deadlineMs must be more than 0, but is ${deadlineMs}`)
  const isGo = server === 'luno/reflex'

  async function stream(after: Cursor, { signal, toHead, fromHead, types }: StreamOptions): Promise<EventStream> {
    checkStreamOptions(name, after, { fromHead, types })
    if (isGo && fromHead)
      throw new OptionError(
        `${name}: a server of luno/reflex does not tell where its head is, so fromHead cannot be honoured: start from a cursor`,
      )
    if (!after.isWellFormed()) throw new CursorInvalidError(name, { cursor: after, expected: 'well-formed Unicode' })
    signal?.throwIfAborted()
    const askedAt = systemClock.now()
    const call = callOptions(askedAt, deadlineMs, credentials)
    const connecting = async (): Promise<Connecting> => {
      const withinMs = askedAt + Math.min(ANSWER_WITHIN_MS, deadlineMs ?? Infinity) - systemClock.now()
      const came = await untilAborted(awaitConnection(name, client, { withinMs, signal }), signal)
      signal?.throwIfAborted()
      return came
    }
    let connection = await connecting()
    const untilMs = askedAt + ANSWER_WITHIN_MS
    const metadata = new Metadata()
    if (!isGo) metadata.set(BATCHES_KEY, '1')
    const { requestSerialize, responseDeserialize } = method
    const ask = (from: Cursor): MessageInbox => {
      const request = encodeRequest(from, { toHead, fromHead: fromHead && from === after, types })
      return messageInbox(
        beginCall(name, () =>
          client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, metadata, call),
        ),
      )
    }
    let inbox = ask(after)
    let isClosed = false
    let first: Buffer | undefined
    let incarnation: string | undefined
    try {
      if (!isGo) {
        first = await untilAborted(opened(name, inbox, { untilMs, ...connection }), signal)
        const isLoss = inbox.ended?.code === status.UNAVAILABLE || inbox.ended?.code === status.CANCELLED
        const wasLost = first === undefined && isLoss && connection.isThere
        if (wasLost && systemClock.now() < untilMs) {
          // A connection that was lost unnoticed is noticed by the first call. Nothing has been opened yet.
          connection = await connecting()
          inbox = ask(after)
          first = await untilAborted(opened(name, inbox, { untilMs, ...connection }), signal)
        }
        if (first === undefined) checkEnd(endOf(inbox))
        else incarnation = incarnationIn(name, decode(name, first, after))
      }
    } catch (error) {
      inbox.cancel()
      throw error
    }

    async function* batches(): AsyncGenerator<Batch> {
      let position = after
      /** What has overtaken events, so that they were asked for again. */
      let overtook: ReflexError | undefined
      let isAtBeginning = true
      const beginnings = new Set<string>()
      /** A server that does not heed its cursor would be asked for the same events again and again. */
      const checkBeginning = ({ events: [first], cursor }: StreamMessage): void => {
        const begins = first?.id ?? cursor
        if (begins === undefined || (first === undefined && begins === position)) return
        isAtBeginning = false
        if (overtook !== undefined && (begins === position || beginnings.has(begins)))
          throw notHeeded(name, { position, begins, cause: overtook })
        beginnings.add(begins)
      }
      let taken: readonly Buffer[] | undefined = first && [first]
      if (first !== undefined && fromHead) {
        // The pinned head is a batch of its own, whatever has come after it by now.
        const pinned = await inbox.takeOne()
        if (pinned !== undefined) taken = [first, pinned]
      }
      for (taken ??= await inbox.take(); ; taken = await inbox.take()) {
        if (taken === undefined) {
          if (isClosed) return
          const error = endOf(inbox)
          // Nobody asks again after such an end, so what it has overtaken is asked for here: until one is read to its end, which a
          // log that grows faster than it is read may put off.
          if (inbox.mayHaveLost && !error.retriable) {
            overtook = error
            isAtBeginning = true
            inbox = ask(position)
            continue
          }
          checkEnd(error)
          return
        }
        const events: Event[] = []
        let cursor: Cursor | undefined
        let broken: unknown
        for (const bytes of taken) {
          try {
            const message = decode(name, bytes, cursor ?? position)
            checkSameLog(message, cursor ?? position)
            if (isAtBeginning) checkBeginning(message)
            for (const event of message.events) if (!isGo || types?.includes(event.type) !== false) events.push(event)
            cursor = message.cursor ?? cursor
          } catch (error) {
            broken = error // what came before it is given all the same
            break
          }
        }
        if (cursor !== undefined) {
          position = cursor
          yield { events, cursor }
        }
        if (broken !== undefined) throw broken
      }
    }
    const close = (): void => {
      isClosed = true
      inbox.cancel()
    }
    return eventStream(batches(), close, { signal, incarnation })

    /** What the call has ended with. */
    function endOf({ ended = CANCELLED }: MessageInbox): ReflexError {
      const afterMs = systemClock.now() - askedAt
      return statusError(name, { ...ended, asked: `${connection.asked} after ${afterMs} ms` }, after)
    }

    /** Throws what a call has ended with, unless it is that it has reached the head as it was asked to. */
    function checkEnd(error: ReflexError): void {
      if (error.code !== 'HEAD_REACHED' || !toHead) throw error
    }

    /** A call that is made again may meet another log. */
    function checkSameLog(message: StreamMessage, cursor: Cursor): void {
      if (message.opened === undefined || message.opened === (incarnation ?? '')) return
      throw new CursorAheadError(name, { cursor, reason: 'recreated', found: `incarnation ${message.opened}` })
    }
  }

  return { name, stream }
}

function notHeeded(name: string, o: { position: Cursor; begins: string; cause: ReflexError }): ReflexError {
  return new ReflexError(
    'SOURCE_CONTRACT',
    `${name}: expected what follows the cursor ${JSON.stringify(o.position)} and had been overtaken by the end of the stream, but the server begins ` +
      `with ${JSON.stringify(o.begins)} again: it does not heed the cursor that it is given, or includes its event. Correct its stream; it ended with: ${o.cause.message}`,
    { cause: o.cause, retriable: false },
  )
}

/** The message in which the server says that the stream is open; undefined if the call has ended. */
async function opened(
  name: string,
  inbox: MessageInbox,
  answering: { readonly untilMs: number; readonly asked: string },
): Promise<Buffer | undefined> {
  const answer = await inTime(name, inbox.metadata(), answering)
  if (answer !== undefined && !answer.get(BATCHES_KEY).includes('1'))
    throw new OptionError(`${name}: the server does not know batches: ${HINT}`)
  return inbox.takeOne()
}

/** Throws where the message does not say that the stream is open: nothing is proven then. */
function incarnationIn(name: string, { opened }: StreamMessage): string | undefined {
  if (opened === undefined)
    throw new OptionError(
      `${name}: expected the first message to say that the stream is open, but found an event: something on the way answers for the server with the metadata of the request, or ${HINT}`,
    )
  return opened || undefined
}

/** A Go server says nothing before its first event. */
const HINT = "if it is a Go service with luno/reflex, give server: 'luno/reflex'"
/** How a call ended that was cancelled here. */
const CANCELLED: CallStatus = { code: status.CANCELLED, details: 'cancelled on the client' }

async function inTime<T>(
  name: string,
  answer: Promise<T>,
  { untilMs, asked }: { readonly untilMs: number; readonly asked: string },
): Promise<T> {
  const late = Promise.withResolvers<never>()
  const leftMs = Math.max(untilMs - systemClock.now(), 1)
  const timer = setTimeout(() => {
    const message = `${name}: the server at ${asked} has been connected, but has not answered within ${ANSWER_WITHIN_MS} ms; ${HINT}`
    late.reject(new ReflexError('GRPC_NO_ANSWER', message))
  }, leftMs)
  try {
    return await Promise.race([answer, late.promise])
  } finally {
    clearTimeout(timer)
  }
}

function decode(name: string, bytes: Buffer, position: Cursor): StreamMessage {
  try {
    return decodeMessage(bytes)
  } catch (cause) {
    throw new DecodeError(name, { position, cause })
  }
}

function encodeRequest(after: Cursor, { toHead = false, fromHead = false, types }: StreamOptions): Buffer {
  const options = { toHead, fromHead, ...(types !== undefined && { types: { types: [...types] } }) }
  return Buffer.from(toBinary(StreamRequestSchema, create(StreamRequestSchema, { after, options })))
}

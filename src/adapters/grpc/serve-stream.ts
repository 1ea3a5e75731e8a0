import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import {
  Metadata,
  type ServerWritableStream,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { type Clock, systemClock } from '../../core/clock.ts'
import { OptionError, StreamEndedError } from '../../core/errors.ts'
import type { Batch } from '../../core/event.ts'
import { openStream, type StreamFunc } from '../../core/stream.ts'
import { encodeBatch, encodeEvents } from './encode-event.ts'
import { endTrailers, errorStatus } from './error-status.ts'
import { EventSchema, type StreamRequest, StreamRequestSchema } from './generated/reflex_pb.ts'
import { headReached, streamStopped } from './stream-error.ts'
import { BATCHES_KEY, REFLEX_PATH, streamMethod } from './stream-method.ts'

/** Options of `serveStream`. */
export interface ServeStreamOptions {
  /** The path of the method, as `/shop.Orders/StreamOrders`. Default: `/reflexpb.Reflex/Stream`. */
  readonly path?: string | undefined
  /** By which the lag that a client asks for is held back. Default: the machine's clock. */
  readonly clock?: Clock | undefined
}

/** A method of a server: `server.addService(served.service, served.handlers)`. */
export interface ServedStream extends AsyncDisposable {
  readonly service: ServiceDefinition
  readonly handlers: UntypedServiceImplementation
  /** Ends every stream with `STREAM_STOPPED`, and those that are asked for later. Resolves when all that was read from is closed. */
  stop(): Promise<void>
}

/**
 * Serves a stream to clients of this package and of luno/reflex: each call opens a stream of its own, reads on only as its client does,
 * and closes it when the call ends. Errors of the stream travel with their identity; their messages are told to the client.
 *
 * @example
 * const orders = serveStream(table.source.stream, { path: '/shop.Orders/StreamOrders' })
 * server.addService(orders.service, orders.handlers)
 */
export function serveStream(
  stream: StreamFunc,
  { path = REFLEX_PATH, clock = systemClock }: ServeStreamOptions = {},
): ServedStream {
  if (typeof stream !== 'function')
    throw new OptionError(`serveStream needs a StreamFunc: give source.stream, not ${typeof stream}`)
  const method = streamMethod(path)
  const calls = new Map<AbortController, Promise<void>>()
  let isStopped = false

  async function serve(call: ServerWritableStream<Buffer, Buffer>): Promise<void> {
    const ending = new AbortController()
    call.on('cancelled', () => ending.abort(GONE))
    if (isStopped) ending.abort(streamStopped())
    const serving = answer(call, ending.signal)
    calls.set(ending, serving)
    try {
      await serving
    } finally {
      calls.delete(ending)
    }
  }

  async function answer(call: ServerWritableStream<Buffer, Buffer>, signal: AbortSignal): Promise<void> {
    const sends = { inBatches: false }
    try {
      await send(call, signal, sends)
    } catch (error) {
      if (call.cancelled) return
      const ended = errorStatus(error)
      if (sends.inBatches) call.end(endTrailers(ended))
      else call.emit('error', ended)
    }
  }

  /** Throws in the end, whatever becomes of it; until `sends` says that the stream is open, nothing has been sent that could be overtaken. */
  async function send(
    call: ServerWritableStream<Buffer, Buffer>,
    signal: AbortSignal,
    sends: { inBatches: boolean },
  ): Promise<never> {
    signal.throwIfAborted()
    const { after, options } = decodeRequest(call.request)
    const takesBatches = call.metadata.get(BATCHES_KEY).includes('1')
    if (takesBatches) {
      const answer = new Metadata()
      answer.set(BATCHES_KEY, '1')
      call.sendMetadata(answer)
    }
    const fromHead = options?.fromHead === true
    const opened = await openStream(stream, fromHead ? '' : after, {
      signal,
      fromHead,
      toHead: options?.toHead === true,
      types: options?.types?.types,
    })
    try {
      sends.inBatches = takesBatches
      if (takesBatches) call.write(openedMessage(opened.incarnation))
      const lagMs = lagOf(options)
      for await (const batch of opened) {
        for await (const part of lagMs > 0 ? heldBack(batch, lagMs, clock, signal) : [batch]) {
          for (const message of takesBatches ? encodeBatch(part) : encodeEvents(part)) {
            if (!call.write(message)) await untilDrained(call, signal)
            signal.throwIfAborted()
          }
        }
      }
    } finally {
      await opened[Symbol.asyncDispose]()
    }
    throw options?.toHead ? headReached() : new StreamEndedError()
  }

  const stop = async (): Promise<void> => {
    isStopped = true
    for (const ending of calls.keys()) ending.abort(streamStopped())
    await Promise.all(calls.values())
  }
  const name = 'stream'
  return {
    service: { [name]: method },
    handlers: { [name]: (call: ServerWritableStream<Buffer, Buffer>) => void serve(call) },
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

/** Nobody sees it; an abort without a reason would make an error, with a stack, each time. */
const GONE = 'the client has gone'

function decodeRequest(bytes: Buffer): StreamRequest {
  try {
    return fromBinary(StreamRequestSchema, bytes)
  } catch (cause) {
    throw new OptionError('expected a reflexpb.StreamRequest, but the request is something else', cause)
  }
}

function openedMessage(incarnation = ''): Buffer {
  return Buffer.from(toBinary(EventSchema, create(EventSchema, { opened: { incarnation } })))
}

function lagOf(options: StreamRequest['options']): number {
  const { seconds = 0n, nanos = 0 } = options?.lag ?? {}
  return Number(seconds) * 1000 + nanos / 1e6
}

/** A batch in parts, each when its last event is old enough. A timestamp in the future delays by no more than that. */
async function* heldBack(
  { events, cursor }: Batch,
  lagMs: number,
  clock: Clock,
  signal: AbortSignal,
): AsyncGenerator<Batch> {
  const receivedAt = clock.now()
  for (const event of events) {
    const wait = Math.min(Math.min(event.timestamp, receivedAt) + lagMs - clock.now(), lagMs)
    if (wait > 0) await clock.sleep(wait, signal)
    yield { events: [event], cursor: event.id }
  }
  yield { events: [], cursor }
}

/** The client has read most of what was written, or the call has ended. */
function untilDrained(call: ServerWritableStream<Buffer, Buffer>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onDrain = (): void => {
      signal.removeEventListener('abort', onAbort)
      resolve()
    }
    const onAbort = (): void => {
      call.removeListener('drain', onDrain)
      reject(signal.reason)
    }
    if (signal.aborted) return onAbort()
    call.once('drain', onDrain)
    signal.addEventListener('abort', onAbort, { once: true })
  })
}

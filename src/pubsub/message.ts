import type { Event, Headers } from '../core/event.ts'
import { typeNameHeader } from '../core/event-template.ts'
import { PayloadError } from '../core/payload.ts'
import { bytesCodec, type codecFinder, nameOf, nilCodec } from './data-codec.ts'
import { firstHeader } from './first-header.ts'
import { headerNames } from './header-names.ts'
import { isTraceparent, type TraceContext } from './trace-context.ts'

/** An event as a subscription gives it: what `publish` was given, and where it stands. */
export interface Message {
  /** The position in the log. */
  readonly id: string
  readonly type: number
  readonly typeName: string | undefined
  readonly foreignId: string
  /** Epoch in ms. */
  readonly timestamp: number
  /** Decoded by the codec of its encoding; `bytes`, or `undefined` where there are none, if the event says nothing of it. */
  readonly data: unknown
  readonly encoding: string | undefined
  readonly dataType: string | undefined
  readonly client: string | undefined
  readonly idempotencyKey: string | undefined
  readonly cause: string | undefined
  readonly correlation: string | undefined
  /** Undefined as well where it is not one of W3C Trace Context. */
  readonly trace: TraceContext | undefined
  /** All of them, those above included. */
  readonly headers: Headers
}

/** The message of an event. Rejects with `PAYLOAD_INVALID` if its data cannot be decoded: in an encoding without a codec, or not in it. */
export async function toMessage(event: Event, codecs: ReturnType<typeof codecFinder>): Promise<Message> {
  const { id, type, foreignId, timestamp, metadata, headers } = event
  const one = (name: string): string | undefined => firstHeader(headers, name)
  const encoding = one(headerNames.encoding)
  const dataType = one(headerNames.dataType)
  const codec = encoding === undefined ? (metadata === null ? nilCodec : bytesCodec) : codecs.find(encoding, dataType)
  const label = `event ${id}`
  if (codec === undefined)
    throw new PayloadError(
      label,
      `one of the encodings ${codecs.names}`,
      `found ${nameOf(encoding ?? '', dataType)}: give its codec in codecs`,
    )
  const traceparent = one(headerNames.traceparent) ?? ''
  const tracestate = one(headerNames.tracestate)
  return {
    id,
    type,
    typeName: one(typeNameHeader),
    foreignId,
    timestamp,
    data: await codec.payload.decode(metadata, label),
    encoding,
    dataType,
    client: one(headerNames.client),
    idempotencyKey: one(headerNames.idempotencyKey),
    cause: one(headerNames.cause),
    correlation: one(headerNames.correlation),
    trace: isTraceparent(traceparent)
      ? { traceparent, ...(tracestate === undefined ? {} : { tracestate }) }
      : undefined,
    headers,
  }
}

/**
 * What an event that a message causes is published with: its cause, the correlation of the whole process, and the trace.
 *
 * @example await orders.publish({ type: 2, foreignId: '7', ...causedBy(message) })
 */
export function causedBy({ id, correlation, trace }: Pick<Message, 'id' | 'correlation' | 'trace'>): {
  readonly cause: string
  readonly correlation: string
  readonly trace?: TraceContext
} {
  return { cause: id, correlation: correlation ?? id, ...(trace === undefined ? {} : { trace }) }
}

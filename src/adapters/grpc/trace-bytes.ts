import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { TraceSchema } from './generated/reflex_pb.ts'

const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/
const SAMPLED = 1

/** The header `traceparent` as luno/reflex sends it; undefined if it is not of version 00 of W3C Trace Context. Flags other than 01 are where Go does not see them. */
export function encodeTrace(traceparent: string): Uint8Array | undefined {
  const [, traceId, spanId, digits = ''] = TRACEPARENT.exec(traceparent) ?? []
  if (traceId === undefined || spanId === undefined) return undefined
  const traceFlags = Number.parseInt(digits, 16)
  return toBinary(TraceSchema, create(TraceSchema, { traceId, spanId, ...(traceFlags !== SAMPLED && { traceFlags }) }))
}

/** The header `traceparent` of the trace of an event; undefined if it is something else. A trace without flags is sampled. */
export function decodeTrace(bytes: Uint8Array): string | undefined {
  try {
    const { traceId, spanId, traceFlags = SAMPLED } = fromBinary(TraceSchema, bytes)
    const traceparent = `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`
    return TRACEPARENT.test(traceparent) ? traceparent : undefined
  } catch {
    return undefined // an event is worth more than its trace
  }
}

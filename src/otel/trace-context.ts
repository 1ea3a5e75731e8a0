import { createTraceState, isSpanContextValid, type SpanContext } from '@opentelemetry/api'
import type { Headers } from '../core/event.ts'

/** Of version 00; later ones may have more after the flags. */
const TRACEPARENT = /^(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/

/**
 * The context in the headers `traceparent` and `tracestate`, as W3C Trace Context has it; undefined if there is none, or one that is to
 * be ignored. Whatever propagator is registered: what stands in the log is read by programs that have others.
 */
export function readTraceContext({ traceparent, tracestate }: Headers): SpanContext | undefined {
  if (typeof traceparent !== 'string') return undefined
  const [, version, traceId = '', spanId = '', flags = '', more] = TRACEPARENT.exec(traceparent) ?? []
  if (version === undefined || (version === '00' && more !== undefined)) return undefined
  const state = typeof tracestate === 'string' ? tracestate : tracestate?.join(',')
  const found: SpanContext = {
    traceId,
    spanId,
    traceFlags: Number.parseInt(flags, 16),
    isRemote: true,
    ...(state === undefined ? {} : { traceState: createTraceState(state) }),
  }
  return isSpanContextValid(found) ? found : undefined
}

/** The headers `traceparent` and, if there is any, `tracestate`. */
export function traceContextHeaders({ traceId, spanId, traceFlags, traceState }: SpanContext): Record<string, string> {
  const tracestate = traceState?.serialize() ?? ''
  return {
    traceparent: `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`,
    ...(tracestate === '' ? {} : { tracestate }),
  }
}

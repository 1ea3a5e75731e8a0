import { OptionError } from '../core/errors.ts'

/** The W3C Trace Context of what caused an event, as it stands in its headers. */
export interface TraceContext {
  /** `00-<32 hex digits>-<16 hex digits>-<2 hex digits>`. */
  readonly traceparent: string
  readonly tracestate?: string | undefined
}

/** Whether it is a `traceparent` as W3C Trace Context level 1 has it, section 3.2: ids of zeros, and the version ff, are none. */
export function isTraceparent(text: string): boolean {
  return /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/.test(text)
}

/** Throws an `OptionError` on a trace context that nobody could go on with. */
export function checkTrace(trace: TraceContext | undefined): void {
  if (trace === undefined || isTraceparent(trace.traceparent)) return
  throw new OptionError(
    `publish: trace.traceparent must be one of W3C Trace Context, like 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01, but is ${JSON.stringify(trace.traceparent)}`,
  )
}

import { isSpanContextValid, trace } from '@opentelemetry/api'
import type { Headers } from '../core/event.ts'
import { traceContextHeaders } from './trace-context.ts'

/**
 * The headers of an event that is inserted within the span that is active: with them the trace goes on wherever the event goes.
 * None without a span. A table that has a column `trace` but none for headers keeps `traceparent` only.
 *
 * @example await events.insert(connection, { type: 1, foreignId: 'order-7', headers: traceHeaders() })
 */
export function traceHeaders(): Headers {
  const found = trace.getActiveSpan()?.spanContext()
  return found === undefined || !isSpanContextValid(found) ? {} : traceContextHeaders(found)
}

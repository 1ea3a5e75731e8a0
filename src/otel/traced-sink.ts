import { context, type Link, type Span, SpanKind, type Tracer, trace } from '@opentelemetry/api'
import { decorateSink } from '../core/decorate.ts'
import type { Event } from '../core/event.ts'
import type { Sink } from '../core/sink.ts'
import { type MessagingLog, messagingLog } from './messaging-attributes.ts'
import { readTraceContext, traceContextHeaders } from './trace-context.ts'
import { failSpan, registeredTracer } from './tracing.ts'

/**
 * The same destination, with spans for what is appended. An event that has a trace context in its header `traceparent`, which is
 * sampled, is appended with that of a span whose parent it is, so that its consumer goes on from there; every other event is appended
 * unchanged. One that is appended by itself has a span `send <destination>`. Of several, each has a span `create <destination>`, and
 * one span `send <destination>`, which lasts until the destination has confirmed or refused them, is linked to those.
 *
 * Without an SDK that is registered, nothing is done. `audit` takes a `traceparent` of the same trace for unchanged.
 *
 * @example await supervise((o) => bridge({ name: 'orders', source, sink: tracedSink(sink), checkpoints }, o))
 */
export function tracedSink(sink: Sink): Sink {
  const log = messagingLog(sink.name)
  return decorateSink(sink, {
    append: async (writer, events, cursor) => {
      const tracer = registeredTracer()
      if (tracer === undefined || events.length === 0) return writer.append(events, cursor)
      const { sent, span } = startSend(events, { tracer, log })
      if (span === undefined) return writer.append(events, cursor)
      try {
        return await context.with(trace.setSpan(context.active(), span), () => writer.append(sent, cursor))
      } catch (error) {
        failSpan(span, error)
        throw error
      } finally {
        span.end()
      }
    },
  })
}

/** What is appended, and the span to be ended after that; without one nothing is traced. */
function startSend(
  events: readonly Event[],
  { tracer, log: { destination, attributes } }: { readonly tracer: Tracer; readonly log: MessagingLog },
): { readonly sent: readonly Event[]; readonly span?: Span } {
  const start = (operation: 'create' | 'send', event: Event): Span | undefined => {
    const created = readTraceContext(event.headers)
    if (created === undefined) return undefined
    const span = tracer.startSpan(
      `${operation} ${destination}`,
      {
        kind: SpanKind.PRODUCER,
        attributes: {
          ...attributes,
          'messaging.operation.name': operation,
          'messaging.operation.type': operation,
          'messaging.message.id': event.id, // in the source; the destination's is not given yet
          'messaging.message.body.size': event.metadata?.length ?? 0,
        },
        links: [{ context: created }],
      },
      trace.setSpanContext(context.active(), created),
    )
    if (span.isRecording()) return span
    span.end()
    return undefined
  }
  const [first] = events
  if (events.length === 1 && first !== undefined) {
    const span = start('send', first)
    return span === undefined ? { sent: events } : { sent: [withContext(first, span)], span }
  }
  const links: Link[] = []
  const sent = events.map((event) => {
    const span = start('create', event)
    if (span === undefined) return event
    links.push({ context: span.spanContext() })
    span.end()
    return withContext(event, span)
  })
  if (links.length === 0) return { sent: events }
  const span = tracer.startSpan(`send ${destination}`, {
    kind: SpanKind.CLIENT,
    attributes: {
      ...attributes,
      'messaging.operation.name': 'send',
      'messaging.operation.type': 'send',
      'messaging.batch.message_count': events.length,
    },
    links,
  })
  return { sent, span }
}

function withContext(event: Event, span: Span): Event {
  return { ...event, headers: { ...event.headers, ...traceContextHeaders(span.spanContext()) } }
}

import { context, type Span, SpanKind, trace } from '@opentelemetry/api'
import type { Consumer } from '../core/consumer.ts'
import type { Event } from '../core/event.ts'
import { isThenable } from '../core/is-thenable.ts'
import type { Source } from '../core/stream.ts'
import { messagingLog } from './messaging-attributes.ts'
import { readTraceContext } from './trace-context.ts'
import { failSpan, registeredTracer } from './tracing.ts'

/** Options of `withTracing`. */
export interface WithTracingOptions {
  /** What is consumed: its name says which system and destination it is. */
  readonly source: Pick<Source, 'name'>
}

/**
 * The same consumer, with a span `process <destination>` around each call of its handler, within which the handler works. The event's
 * trace context, in its header `traceparent`, is linked, and is the parent unless a span is active already. The span ends when the
 * handler has returned, thrown or settled; what is skipped has none. Put it inside `concurrent` and `ack`, and into the handler of a `batch`:
 * around them the span ends when an event was taken on, and its work has only begun.
 *
 * At each start of a run it is looked whether an SDK is registered. Without one, the handler is called as it is.
 *
 * @example await run({ stream: source.stream, cursors, consumer: withTracing(consumer, { source }) })
 */
export function withTracing(consumer: Consumer, { source }: WithTracingOptions): Consumer {
  const { name, types, filter, recover, stop, settled } = consumer
  const { destination, attributes } = messagingLog(source.name)
  const common = {
    ...attributes,
    'messaging.operation.name': 'process',
    'messaging.operation.type': 'process',
    'messaging.consumer.group.name': name,
  }
  const plain: Consumer['handle'] = (event, o) => consumer.handle(event, o)

  const traced: Consumer['handle'] = (event, o) => {
    const tracer = registeredTracer()
    if (tracer === undefined) return consumer.handle(event, o)
    const created = readTraceContext(event.headers)
    const ambient = context.active()
    const isFree = created !== undefined && trace.getSpan(ambient) === undefined
    const parent = isFree ? trace.setSpanContext(ambient, created) : ambient
    const span = tracer.startSpan(
      `process ${destination}`,
      {
        kind: SpanKind.CONSUMER,
        attributes: { ...common, ...attributesOf(event) },
        links: created === undefined ? [] : [{ context: created }],
      },
      parent,
    )
    return endWith(span, o.signal, () => context.with(trace.setSpan(parent, span), () => consumer.handle(event, o)))
  }

  const result = {
    name,
    handle: traced,
    ...(types && { types }),
    ...(filter && { filter: filter.bind(consumer) }),
    ...(recover && { recover: recover.bind(consumer) }),
    start: (o: Parameters<NonNullable<Consumer['start']>>[0]) => {
      result.handle = registeredTracer() === undefined ? plain : traced
      return consumer.start?.(o)
    },
    ...(stop && { stop: stop.bind(consumer) }),
    ...(settled && { settled: settled.bind(consumer) }),
  }
  return result
}

function attributesOf({ id, type, foreignId, metadata }: Event): Record<string, string | number> {
  return {
    'messaging.message.id': id,
    'messaging.message.body.size': metadata?.length ?? 0,
    'reflex.event.type': type,
    'reflex.event.foreign_id': foreignId,
  }
}

/** Ends the span however `work` ends; what is thrown for the abort is no failure. */
function endWith(span: Span, signal: AbortSignal, work: () => void | Promise<void>): void | Promise<void> {
  const failed = (error: unknown): never => {
    if (!(signal.aborted && error === signal.reason)) failSpan(span, error)
    span.end()
    throw error
  }
  let working: void | Promise<void>
  try {
    working = work()
  } catch (error) {
    return failed(error)
  }
  if (!isThenable(working)) return void span.end()
  return working.then(() => span.end(), failed)
}

import { ProxyTracerProvider, type Span, SpanStatusCode, type Tracer, trace } from '@opentelemetry/api'
import { codeOf, messageOf } from '../core/errors.ts'

/** The name of the instrumentation. */
export const scope = 'reflex-bridge'

/** The tracer of the SDK that is registered; undefined if none is, so that nothing needs to be done. */
export function registeredTracer(): Tracer | undefined {
  const provider = trace.getTracerProvider()
  return provider instanceof ProxyTracerProvider ? provider.getDelegateTracer(scope) : provider.getTracer(scope)
}

/** Says in a span what it failed with. */
export function failSpan(span: Span, error: unknown): void {
  span.setAttribute('error.type', codeOf(error) ?? (error instanceof Error ? error.name : typeof error))
  span.recordException(error instanceof Error ? error : String(error))
  span.setStatus({ code: SpanStatusCode.ERROR, message: messageOf(error) })
}

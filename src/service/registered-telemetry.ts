import type { Sink } from '../core/sink.ts'
import type { OtelMetrics } from '../otel/otel-metrics.ts'
import { importClient } from './config/import-client.ts'

/** What goes to the OpenTelemetry SDK that the process was started with. */
export interface Telemetry extends OtelMetrics {
  tracedSink(sink: Sink): Sink
}

/** Where `@opentelemetry/api`, of any 1.x, keeps what is registered. */
const registered = Symbol.for('opentelemetry.js.api.1')

/**
 * Undefined if no SDK is registered; `node --import`, also in `NODE_OPTIONS`, loads one before this program. Throws `CLIENT_MISSING` if
 * there is one, but `@opentelemetry/api` cannot be loaded from here.
 */
export async function registeredTelemetry(): Promise<Telemetry | undefined> {
  if (!Object.hasOwn(globalThis, registered)) return undefined
  const { otelMetrics, tracedSink } = await importClient('@opentelemetry/api', () => import('../otel/index.ts'))
  return { ...otelMetrics(), tracedSink }
}

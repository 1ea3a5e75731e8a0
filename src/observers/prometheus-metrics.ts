import type { IncomingMessage, ServerResponse } from 'node:http'
import { readMetrics } from './consumer-metrics.ts'
import { consumerRegistry, type MeasuredConsumer, type MeasuredOptions } from './consumer-registry.ts'
import { prometheusText, prometheusType } from './prometheus-text.ts'

/** The metrics of this process's consumers and bridges, for Prometheus. */
export interface PrometheusMetrics {
  /**
   * The observer of one consumer or bridge. One for all its runs: gauges and counters go on over restarts, until it is disposed of.
   * Throws an `OptionError` while there is one of the same name.
   */
  consumer(name: string, options?: MeasuredOptions): MeasuredConsumer
  /** Text format 0.0.4. Asks the sources, for 2 s at most; never rejects. */
  text(): Promise<string>
  /** Answers a request with `text()`: `GET` and `HEAD`, whatever the path. */
  handler(request: IncomingMessage, response: ServerResponse): void
}

/**
 * Keeps metrics by luno/reflex's names. No other package is needed; where one collects others, append `text()` to its own.
 *
 * @example
 * const metrics = prometheusMetrics()
 * const observer = metrics.consumer('mailer', { source })
 * createServer(metrics.handler).listen(9464)
 * await supervise((o) => run({ stream: source.stream, cursors, consumer }, o), { observer, signal })
 */
export function prometheusMetrics({
  now,
}: {
  /** Epoch in ms. Default: the machine's clock. */
  readonly now?: (() => number) | undefined
} = {}): PrometheusMetrics {
  const registry = consumerRegistry({ now })
  const text = async (): Promise<string> => prometheusText(readMetrics(await registry.read()))
  return {
    consumer: registry.add,
    text,
    handler: ({ method }, response) => {
      if (method !== 'GET' && method !== 'HEAD') {
        response.writeHead(405, { allow: 'GET, HEAD' }).end()
        return
      }
      const answer = async (): Promise<void> => {
        const body = await text()
        response.writeHead(200, { 'content-type': prometheusType, 'content-length': Buffer.byteLength(body) })
        response.end(method === 'HEAD' ? undefined : body)
      }
      answer().catch((error: unknown) => response.destroy(error as Error))
    },
  }
}

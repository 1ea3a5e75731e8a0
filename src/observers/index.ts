export type { MeasuredConsumer, MeasuredOptions } from './consumer-registry.ts'
export * from './diagnostics-observer.ts'
export * from './prometheus-metrics.ts'

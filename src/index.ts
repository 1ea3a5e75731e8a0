/**
 * reflex-bridge: consume logs with reflex semantics, and bridge one into another. Adapters have a subpath each.
 * @packageDocumentation
 */
export * from './bridge/audit.ts'
export * from './bridge/bridge.ts'
export type { Skip } from './bridge/checkpoint.ts'
export type { DeadLetters, RouteLetter } from './bridge/dead-letters.ts'
export * from './bridge/leased-sink.ts'
export { type SkipEventOptions, type Skipped, skipEvent } from './bridge/skip-event.ts'
export type { Transform } from './bridge/transform.ts'
export * from './bridge/transforms/index.ts'
export * from './core/index.ts'

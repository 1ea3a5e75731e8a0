/**
 * reflex-bridge: consume logs with reflex semantics, and bridge one into another. Adapters have a subpath each.
 * @packageDocumentation
 */
export * from './bridge/bridge.ts'
export * from './core/index.ts'

/**
 * The harness: a conformance suite for sources, cursor stores, sinks, run loops and whole routes, a checker of histories, and real
 * servers with faults. Needs `fast-check`; no test runner is imported.
 * @packageDocumentation
 */
export type { BridgeSubject } from './bridge/bridge-subject.ts'
export * from './bridge/simulated-route.ts'
export * from './conformance/index.ts'
export type { CursorStoreSubject } from './cursors/cursor-store-subject.ts'
export * from './history/index.ts'
export type { RunSubject } from './run/run-subject.ts'
export * from './servers/index.ts'
export * from './simulation/simulated-destination.ts'
export type { SinkSubject } from './sink/sink-subject.ts'
export type { SourceSubject } from './source/source-subject.ts'

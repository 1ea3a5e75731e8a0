export { untilAborted } from './abort.ts'
export {
  type Appended,
  type Appender,
  type AppendOptions,
  type AppendWish,
  OutcomeUnknownError,
  WrongLastIdError,
} from './appender.ts'
export * from './audit.ts'
export * from './clock.ts'
export * from './consumer.ts'
export * from './cursor.ts'
export * from './define-events.ts'
export { disposeStack } from './dispose-stack.ts'
export * from './errors.ts'
export * from './event.ts'
export * from './hold-lease.ts'
export type * from './lease.ts'
export * from './lease-share.ts'
export * from './memory-cursors.ts'
export * from './memory-log.ts'
export type * from './notifier.ts'
export * from './observer.ts'
export * from './oldest-unread.ts'
export * from './payload.ts'
export * from './run.ts'
export * from './sink.ts'
export * from './stream.ts'
export * from './supervise.ts'
export * from './wire.ts'

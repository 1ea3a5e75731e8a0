/**
 * reflex-bridge/pubsub: publish single events to any log, and subscribe to any, with typed data, causes and correlation.
 * @packageDocumentation
 */
export {
  bytesCodec,
  type DataCodec,
  jsonCodec,
  nilCodec,
  type ProtobufType,
  protobufCodec,
  stringCodec,
} from './data-codec.ts'
export { headerNames } from './header-names.ts'
export { causedBy, type Message } from './message.ts'
export { type Publication, type PublishedBy, publicationEvent } from './publication-event.ts'
export {
  type Publisher,
  type PublisherOptions,
  type PublishOptions,
  type PublishRetry,
  publisher,
} from './publisher.ts'
export { type SubscribeOptions, type Subscription, subscribe, type UndecodableHandler } from './subscribe.ts'
export type { TraceContext } from './trace-context.ts'

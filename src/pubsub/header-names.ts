/** The headers in which what an event itself has no place for travels; docs/pubsub.md is the table. They survive a bridge. */
export const headerNames = {
  /** How the data was encoded: `bytes`, `string`, `json`, `protobuf`, `nil`, or a codec's own name. */
  encoding: 'data-encoding',
  /** Of which type it is within its encoding: the full name of a Protobuf message. */
  dataType: 'data-type',
  /** Who published it. */
  client: 'client-id',
  idempotencyKey: 'idempotency-key',
  /** The id of the event that caused it. */
  cause: 'cause-id',
  /** What all events of one process have in common. */
  correlation: 'correlation-id',
  /** W3C Trace Context. */
  traceparent: 'traceparent',
  tracestate: 'tracestate',
} as const

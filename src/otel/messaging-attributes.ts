import type { Attributes } from '@opentelemetry/api'

/** Where a log is, in the words of the semantic conventions for messaging. */
export interface MessagingLog {
  /** `messaging.destination.name`: the topic, the stream, the key, the table. */
  readonly destination: string
  readonly attributes: Attributes
}

/** What the name of a source or a sink says: `kafka:orders/0` is partition 0 of the topic orders. Names of other forms are the destination. */
export function messagingLog(name: string): MessagingLog {
  const [, system = 'reflex', rest = name] = /^([a-z]+):(.+)$/s.exec(name) ?? []
  const [, topic, partition] = (system === 'kafka' && /^(.+)\/(\d+)$/s.exec(rest)) || []
  const destination = topic ?? rest
  return {
    destination,
    attributes: {
      'messaging.system': system,
      'messaging.destination.name': destination,
      ...(partition === undefined ? {} : { 'messaging.destination.partition.id': partition }),
    },
  }
}

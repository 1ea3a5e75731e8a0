import type { Event, Headers } from '../../core/event.ts'
import { addHeader, decodeFields, decodeHeaderText, type WireField, wireNames } from '../../core/wire.ts'
import type { NatsHeaders } from './nats-client.ts'

/** A message as a consumer delivers it. */
export interface Delivery {
  readonly seq: bigint
  /** When the server stored it: epoch in ns. */
  readonly time: string
  /** The server had no other one for the consumer at that moment. */
  readonly isLast: boolean
  readonly subject: string
  readonly data: Uint8Array
  /** Decoded when it is read. */
  readonly headers: NatsHeaders | undefined
}

/** A message of a stream. */
export interface JetStreamMessage {
  /** Its sequence in the stream. */
  readonly id: string
  readonly subject: string
  /** When the server stored it: epoch ms, fraction = µs. */
  readonly timestamp: number
  /** As they were published. */
  readonly headers: Headers
  readonly data: Uint8Array
}

/** Makes an event, but for its id, of a message of `stream`. */
export type DecodeMessage = (message: JetStreamMessage, stream: string) => Omit<Event, 'id'>

/** Headers as they travel, of their lines; only ASCII. */
export function headerBlock(lines: string): Uint8Array {
  return Buffer.from(`NATS/1.0\r\n${lines}\r\n`, 'latin1')
}

/**
 * The event of a message. If no bridge has written it, the type is 0, the foreignId the subject, the timestamp that of the message
 * and the payload its data. Throws on headers of ours that are wrong.
 */
export function decodeMessage(delivery: Delivery): Event {
  const { id, subject, timestamp, headers, data } = toMessage(delivery)
  return ownEvent(id, headers, data) ?? { id, type: 0, foreignId: subject, timestamp, metadata: data, headers }
}

function ownEvent(id: string, headers: Headers, data: Uint8Array): Event | undefined {
  for (const name of [wireNames.type, wireNames.foreignId, wireNames.timestamp])
    if (!Object.hasOwn(headers, name)) return undefined
  const fields: WireField[] = []
  for (const [name, values] of Object.entries(headers)) {
    if (/^nats-/i.test(name)) continue // the server's; one of an event's own is escaped
    for (const value of typeof values === 'string' ? [values] : values)
      fields.push([decodeHeaderText(name), decodeHeaderText(value)])
  }
  const decoded = decodeFields(fields)
  if (decoded === undefined) return undefined
  const { isNull, ...event } = decoded
  return { id, ...event, metadata: isNull ? null : data }
}

/** What a delivery is to those who decode it themselves. */
export function toMessage({ seq, time, subject, headers: given, data }: Delivery): JetStreamMessage {
  const headers: Record<string, string | string[]> = {}
  for (const [name, values] of given ?? []) for (const value of values) addHeader(headers, name, value)
  // In µs: epoch ns are more than a double can count.
  return { id: String(seq), subject, timestamp: Number(time.slice(0, -3)) / 1000, headers, data }
}

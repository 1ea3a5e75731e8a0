import type { Event, Headers } from '../../core/event.ts'
import {
  addHeader,
  decodeFields,
  decodeHeaderText,
  parseTimestamp,
  type WireField,
  wireNames,
} from '../../core/wire.ts'
import { headerText } from './header-text.ts'
import type { NatsMessage } from './nats-client.ts'

/** A message as a consumer delivers it. */
export interface Delivery {
  readonly seq: bigint
  /** When the server stored it: epoch in ns. */
  readonly time: string
  /** The server had no other one for the consumer at that moment. */
  readonly isLast: boolean
  readonly message: NatsMessage
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
  const quick = quickEvent(delivery)
  if (quick !== undefined) return quick
  const { id, subject, timestamp, headers, data } = toMessage(delivery)
  return ownEvent(id, headers, data) ?? { id, type: 0, foreignId: subject, timestamp, metadata: data, headers }
}

const leading = [wireNames.source, wireNames.sourceId, wireNames.type, wireNames.foreignId, wireNames.timestamp].map(
  (name) => `${name}: `,
)
const isNullLine = `${wireNames.null}: 1\r\n`

/** An event whose headers stand in the order in which the sink writes: several times as fast as the rest, which takes every other one. */
function quickEvent({ seq, message }: Delivery): Event | undefined {
  const text = headerText(message)
  if (text === undefined) return undefined
  let at = text.indexOf('\r\n') + 2
  while (text.startsWith('Nats-', at)) at = text.indexOf('\r\n', at) + 2
  const values: string[] = []
  for (const name of leading) {
    if (!text.startsWith(name, at)) return undefined
    const end = text.indexOf('\r\n', at)
    const value = text.slice(at + name.length, end)
    if (value !== value.trim()) return undefined
    values.push(value)
    at = end + 2
  }
  const [source, sourceId, typeText, foreignId, time] = values.map(decodeHeaderText) as [
    string,
    string,
    string,
    string,
    string,
  ]
  const type = Number(typeText) | 0
  if (String(type) !== typeText) return undefined
  const isNull = text.startsWith(isNullLine, at)
  if (isNull) at += isNullLine.length
  const headers: Record<string, string | string[]> = {
    [wireNames.source]: source,
    [wireNames.sourceId]: sourceId,
  }
  while (!text.startsWith('\r\n', at)) {
    const end = text.indexOf('\r\n', at)
    const colon = text.indexOf(':', at)
    const name = text.slice(at, colon)
    if (colon > end || text[colon + 1] !== ' ' || !/^[!-9;-~]+$/.test(name) || /^(nats|reflex)-/i.test(name))
      return undefined
    const value = text.slice(colon + 2, end)
    if (value !== value.trim()) return undefined
    addHeader(headers, decodeHeaderText(name), decodeHeaderText(value))
    at = end + 2
  }
  return {
    id: String(seq),
    type,
    foreignId,
    timestamp: parseTimestamp(time),
    metadata: isNull ? null : message.data,
    headers,
  }
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
export function toMessage({ seq, time, message }: Delivery): JetStreamMessage {
  const headers: Record<string, string | string[]> = {}
  for (const [name, values] of message.headers ?? []) for (const value of values) addHeader(headers, name, value)
  // In µs: epoch ns are more than a double can count.
  const timestamp = Number(time.slice(0, -3)) / 1000
  return { id: String(seq), subject: message.subject, timestamp, headers, data: message.data }
}

import { ReflexError } from '../../core/errors.ts'
import type { Event } from '../../core/event.ts'
import { encodeHeaderText, forEachField, wireNames } from '../../core/wire.ts'

/** A message as it is sent. */
export interface EncodedMessage {
  readonly subject: string
  /** Complete, as they stand on the wire. */
  readonly headers: Uint8Array
  readonly data: Uint8Array
}

/** An event whose headers are not complete yet. */
export interface UnsentMessage {
  readonly id: string
  readonly subject: string
  /** The lines of its headers. */
  readonly lines: string
  readonly data: Uint8Array
}

/** The server takes no message with more bytes of headers. */
export const MAX_HEADER_BYTES = 65_535

const NONE = new Uint8Array(0)

const ours: ReadonlySet<string> = new Set(Object.values(wireNames))

/** The message of an event of the log named `source`. Throws on text that would be changed on the way. */
export function encodeMessage(event: Event, { subject, source }: { subject: string; source: string }): UnsentMessage {
  // Joined, and not added up: that would keep every part until the message is sent.
  const parts: string[] = []
  forEachField(event, source, (name, value) => {
    if (name === '')
      throw new ReflexError('EVENT_UNENCODABLE', `event ${event.id}: NATS has no headers with an empty name`, {
        kind: 'poison',
        eventId: event.id,
      })
    parts.push(ours.has(name) ? name : headerName(name), ': ', headerValue(name, value), '\r\n')
  })
  return { id: event.id, subject, lines: parts.join(''), data: event.metadata ?? NONE }
}

/** The server acts upon headers of its own (`Nats-Rollup` purges a stream): one of an event that is named so is escaped. */
function headerName(name: string): string {
  const encoded = encodeHeaderText(name, { name: true })
  return /^nats-/i.test(encoded) ? `%${encoded.charCodeAt(0).toString(16).toUpperCase()}${encoded.slice(1)}` : encoded
}

/** CloudEvents want spaces and quotes encoded in theirs as well (section 3.1.3.2 of their binding for NATS). */
function headerValue(name: string, value: string): string {
  const encoded = encodeHeaderText(value)
  return name.startsWith('ce-') ? encoded.replaceAll(' ', '%20').replaceAll('"', '%22') : encoded
}

/** The lines of headers that are for the server. */
export function headerLines(own: Readonly<Record<string, string>>): string {
  let lines = ''
  for (const name in own) lines += `${name}: ${own[name]}\r\n`
  return lines
}

/** Completes the headers with the lines of those that are for the server. */
export function withHeaders({ subject, lines, data }: UnsentMessage, own: string): EncodedMessage {
  const headers = Buffer.allocUnsafe(BEGIN.length + own.length + lines.length + END.length)
  let at = headers.write(BEGIN, 'latin1')
  at += headers.write(own, at, 'latin1')
  at += headers.write(lines, at, 'latin1')
  headers.write(END, at, 'latin1')
  return { subject, data, headers }
}

const BEGIN = 'NATS/1.0\r\n'
const END = '\r\n'

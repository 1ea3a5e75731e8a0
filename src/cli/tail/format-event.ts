import type { Event } from '../../core/event.ts'
import { formatTimestamp } from '../../core/wire.ts'
import { printable } from '../printable.ts'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** An event as one JSON object. `metadata` is text or null; where the bytes are not UTF-8 it is base64, and `metadataEncoding` says so. */
export function eventAsJson({ id, type, foreignId, timestamp, headers, metadata }: Event): string {
  const text = metadata === null ? null : textOf(metadata)
  return JSON.stringify({
    id,
    type,
    foreignId,
    timestamp: timeOf(timestamp),
    headers,
    metadata: metadata === null ? null : (text ?? base64(metadata)),
    ...(text === undefined ? { metadataEncoding: 'base64' } : {}),
  })
}

/** An event on one line for people: time, id, type, foreignId, payload and headers. Nothing in it can act on a terminal. */
export function eventAsText({ id, type, foreignId, timestamp, headers, metadata }: Event): string {
  const payload = metadata === null ? 'null' : (textOf(metadata) ?? `base64 ${base64(metadata)}`)
  const parts = [timeOf(timestamp), id, `type ${type}`, quoted(foreignId), payload === '' ? '""' : payload]
  if (Object.keys(headers).length > 0) parts.push(JSON.stringify(headers))
  return parts.map(printable).join('  ')
}

/** Outside of the years 0 to 9999 the number that the source has: it is what somebody who looks at the event looks for. */
function timeOf(timestamp: number): string {
  try {
    return formatTimestamp(timestamp)
  } catch {
    return String(timestamp)
  }
}

/** Undefined where the bytes are not UTF-8. */
function textOf(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes)
  } catch {
    return undefined
  }
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
}

/** As it is if it is one word. */
function quoted(text: string): string {
  return /^[^\s"]+$/.test(text) ? text : JSON.stringify(text)
}

import type { Event, Headers } from '../../core/event.ts'
import { formatTimestamp, wireNames } from '../../core/wire.ts'

/** What of an event is not as it was sent, by the names of its parts: `type`, `metadata`, `header trace`. Its id is another by right. */
export function differences(sent: Event, found: Event): string[] {
  const parts: string[] = []
  if (sent.type !== found.type) parts.push('type')
  if (sent.foreignId !== found.foreignId) parts.push('foreignId')
  const isSameTime =
    sent.timestamp === found.timestamp || formatTimestamp(sent.timestamp) === formatTimestamp(found.timestamp)
  if (!isSameTime) parts.push('timestamp')
  if (!isSameBytes(sent.metadata, found.metadata)) parts.push('metadata')
  const isTraced = isSameTrace(sent.headers, found.headers)
  for (const name of namesOf(sent.headers, found.headers)) {
    if (isTraced && (name === 'traceparent' || name === 'tracestate')) continue
    if (!isSameValue(sent.headers[name], found.headers[name])) parts.push(`header ${name}`)
  }
  return parts
}

/** W3C Trace Context: whoever forwards an event within a trace may put a span of its own in the place of the one before. */
function isSameTrace({ traceparent: a }: Headers, { traceparent: b }: Headers): boolean {
  const trace = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-/
  const [sent, found] = [a, b].map((each) => (typeof each === 'string' ? trace.exec(each)?.[1] : undefined))
  return a !== b && sent !== undefined && sent === found
}

/** Replaced, or added, on the way. */
const reserved: ReadonlySet<string> = new Set(Object.values(wireNames))

function namesOf(sent: Headers, found: Headers): Set<string> {
  const names = new Set<string>()
  for (const headers of [sent, found]) for (const name in headers) if (!reserved.has(name)) names.add(name)
  return names
}

type Value = Headers[string] | undefined

/** A header without a value does not travel, and one with a list of one comes back as that one. */
function isSameValue(a: Value, b: Value): boolean {
  if (a === b) return true
  const [x, y] = [valuesOf(a), valuesOf(b)]
  return x.length === y.length && x.every((value, i) => value === y[i])
}

function valuesOf(value: Value): readonly string[] {
  return value === undefined ? [] : typeof value === 'string' ? [value] : value
}

function isSameBytes(a: Uint8Array | null, b: Uint8Array | null): boolean {
  if (a === null || b === null) return a === b
  return a.length === b.length && Buffer.compare(a, b) === 0
}

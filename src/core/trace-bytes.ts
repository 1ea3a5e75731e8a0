/** The field of a Protobuf message, as it begins: a text of 32 bytes, and one of 16. */
const TRACE = Buffer.from([0x0a, 32]).toString('latin1')
const SPAN = Buffer.from([0x12, 16]).toString('latin1')
/** Of a field that luno/reflex does not have, and skips. */
const FLAGS = 0x78
const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/
const SAMPLED = 1

/**
 * The header `traceparent` as luno/reflex keeps it in its column `trace`, and sends it: a Protobuf message of the ids of the trace and of
 * the span, in hexadecimal digits. It has no flags; other flags than 01 are added where Go does not see them. Undefined if
 * the header is not of version 00 of W3C Trace Context.
 */
export function encodeTrace(traceparent: string): Buffer | undefined {
  const [, trace, span, digits = ''] = TRACEPARENT.exec(traceparent) ?? []
  if (trace === undefined || span === undefined) return undefined
  const flags = Number.parseInt(digits, 16)
  const varint = flags < 0x80 ? [flags] : [(flags & 0x7f) | 0x80, flags >> 7]
  return Buffer.concat([
    Buffer.from(`${TRACE}${trace}${SPAN}${span}`, 'latin1'),
    Buffer.from(flags === SAMPLED ? [] : [FLAGS, ...varint]),
  ])
}

/** The header `traceparent` of these bytes; undefined if it is something else. A trace without flags is sampled. */
export function decodeTrace(bytes: Uint8Array): string | undefined {
  const text = Buffer.from(bytes).toString('latin1')
  const [trace, span] = [text.slice(2, 34), text.slice(36, 52)]
  if (text.slice(0, 2) !== TRACE || text.slice(34, 36) !== SPAN) return undefined
  const [tag, low = 0, high = 0] = bytes.subarray(52)
  const flags = tag === FLAGS ? (low & 0x7f) | (high << 7) : SAMPLED
  const traceparent = `00-${trace}-${span}-${flags.toString(16).padStart(2, '0')}`
  return TRACEPARENT.test(traceparent) ? traceparent : undefined
}

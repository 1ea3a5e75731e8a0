import type { NatsMessage } from './nats-client.ts'

/** What both clients keep of a message until its headers are asked for. */
interface Undecoded {
  /** Headers and payload, and how many bytes the headers have. */
  readonly _rdata?: unknown
  readonly _msg?: { readonly hdr?: unknown }
}

const VERSION = 'NATS/1.0\r\n'

/**
 * The headers of a message as they stand on the wire, up to and with the empty line: decoding them in the client costs more than all
 * the rest of receiving it. Undefined where the client keeps them otherwise, where there are none, or not only ASCII: then the
 * client's own headers tell.
 */
export function headerText(message: NatsMessage): string | undefined {
  const { _rdata: bytes, _msg } = message as Undecoded
  const length = _msg?.hdr
  if (!(bytes instanceof Uint8Array) || typeof length !== 'number' || length < VERSION.length) return undefined
  const text = Buffer.prototype.latin1Slice.call(bytes, 0, length)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: everything that is not ASCII
  if (!text.startsWith(VERSION) || !text.endsWith('\r\n\r\n') || /[^\x00-\x7f]/.test(text)) return undefined
  return text
}

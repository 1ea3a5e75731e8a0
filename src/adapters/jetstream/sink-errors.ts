import { codeOf, FencedError, messageOf, ReflexError } from '../../core/errors.ts'
import { MAX_HEADER_BYTES, type UnsentMessage } from './encode-message.ts'
import type { StoredMessage } from './stored-message.ts'

/** The prefix is to be a route's own, but its newest message is not of the route. */
export function prefixIsShared(where: string, { seq, subject, source }: StoredMessage, own: string): ReflexError {
  const sameSource = `is of the same source, but to none of the route's subjects, so that another route wrote it, or this one before its option subject was changed`
  const otherSource = source === undefined ? 'was written by somebody else' : `is of the source ${source}`
  const whose = source === own ? sameSource : otherSource
  return new ReflexError(
    'SINK_PREFIX_SHARED',
    `${where}: the subjects under the prefix must be the route's own, but the newest message there, ${seq} to ${subject}, ${whose}; ` +
      `the route's source is ${own}: give the route another prefix, or find out who publishes there and remove what does not belong`,
    { retriable: false },
  )
}

/** What a message may have at most, in bytes. */
export interface SizeLimits {
  /** So many come to the headers of an event, for the server. */
  readonly ownHeaders: number
  /** Of the server. */
  readonly maxPayload: number
  /** Of the stream; undefined or not positive if it has no limit. */
  readonly maxMessage: number | undefined
}

/** Throws `EVENT_TOO_LARGE`, with the size and the limit, if a message would be refused for its size. */
export function checkSize(
  where: string,
  { id, lines, data }: UnsentMessage,
  { ownHeaders, maxPayload, maxMessage }: SizeLimits,
): void {
  const refuse = (what: string, size: number, limit: string, advice: string): never => {
    throw new ReflexError(
      'EVENT_TOO_LARGE',
      `${where}: event ${id} has ${size} bytes ${what}, and ${limit}: ${advice}`,
      { kind: 'oversize', eventId: id },
    )
  }
  const headers = lines.length + ownHeaders
  if (headers > MAX_HEADER_BYTES) refuse('of headers', headers, `the server takes ${MAX_HEADER_BYTES}`, 'shorten them')
  const size = headers + data.length
  if (size > maxPayload)
    refuse('with its headers', size, `max_payload of the server is ${maxPayload}`, 'raise it, or shorten the payload')
  if (maxMessage !== undefined && maxMessage > 0 && size > maxMessage)
    refuse('with its headers', size, `max_msg_size of the stream is ${maxMessage}`, 'raise it, or shorten the payload')
}

/** The stream is not what this writer knows. */
export function tailChanged(where: string, how: string): ReflexError {
  return new ReflexError('SINK_TAIL_CHANGED', `${where}: ${how}. Opening it again finds out what is lost.`)
}

/** The newest message is another one than this writer has appended. */
export function tailMoved(
  where: string,
  { expected, found }: { readonly expected: bigint; readonly found: bigint },
  cause?: unknown,
): ReflexError {
  if (found < expected)
    return tailChanged(where, `the newest message is ${found}, but was ${expected}: it was lost, or removed`)
  return new FencedError(
    `${where}: another writer has appended: the newest message is ${found}, but this writer's is ${expected}`,
    cause,
  )
}

/** Not the last message id, or sequence, that was expected; a message id that is there already. */
const WRONG_LAST = ['JETSTREAM_10070', 'JETSTREAM_10071', 'JETSTREAM_10164', 'JETSTREAM_10201']

/** What an append is refused with: fenced, if the server has found another message than the expected one. */
export function appendRefused(where: string, expected: bigint, error: unknown): unknown {
  if (!WRONG_LAST.includes(codeOf(error) ?? '')) return error
  const found = /wrong last sequence: (\d+)/.exec(messageOf(error))?.[1]
  if (found !== undefined) return tailMoved(where, { expected, found: BigInt(found) }, error)
  return new FencedError(`${where}: another writer has appended: ${messageOf(error)}`, error)
}

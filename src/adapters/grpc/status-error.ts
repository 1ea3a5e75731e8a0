import { type DescMessage, fromBinary, type MessageShape } from '@bufbuild/protobuf'
import { anyUnpack } from '@bufbuild/protobuf/wkt'
import { Metadata, status } from '@grpc/grpc-js'
import {
  CursorAheadError,
  CursorConflictError,
  CursorInvalidError,
  CursorTrimmedError,
  type ErrorKind,
  ReflexError,
} from '../../core/errors.ts'
import { DETAILS_KEY, END_KEY, errorMembers, goCodes } from './error-status.ts'
import { type Status, StatusSchema } from './generated/google/rpc/status_pb.ts'
import { type WrappedError, WrappedErrorSchema } from './generated/jettison_pb.ts'
import { type ErrorDetail, ErrorDetailSchema } from './generated/reflexbridge/v1/error_pb.ts'
import { headReached, streamStopped } from './stream-error.ts'

/** How a call ended, as grpc-js tells it. */
export interface CallStatus {
  readonly code: status
  readonly details: string
  readonly metadata?: Metadata | undefined
  /** Whom was asked, and what came of it, in words for the error's message. */
  readonly asked?: string | undefined
}

/** What kind of an error a status is that has no details. What is not here passes by itself. */
const kinds: Readonly<Partial<Record<status, ErrorKind>>> = {
  [status.UNAUTHENTICATED]: 'auth',
  [status.PERMISSION_DENIED]: 'auth',
  [status.RESOURCE_EXHAUSTED]: 'quota',
  [status.INVALID_ARGUMENT]: 'fatal',
  [status.UNIMPLEMENTED]: 'fatal',
}

/** What luno/reflex and Go say where they send no details: at the end of the message, since each that wraps it writes before it. */
const goEnds: readonly (readonly [end: string, code: string])[] = [
  ['the event stream has reached the current head', 'HEAD_REACHED'],
  ['the event stream has been stopped', 'STREAM_STOPPED'],
  ['context canceled', 'GRPC_CANCELLED'],
  ['context deadline exceeded', 'GRPC_DEADLINE_EXCEEDED'],
  ['invalid id, only int supported', 'CURSOR_INVALID'],
]

/**
 * The error that a status stands for: that of the details of this package, else that of luno/jettison's, else what the message of a Go
 * server without them is guessed to mean, else `GRPC_<name of the status>`. An OK is that of its trailers; without them it is
 * `STREAM_ENDED`, since no stream ends without a reason. `log` and `cursor` are what was asked for.
 */
export function statusError(log: string, ended: CallStatus, cursor = ''): ReflexError {
  if (ended.code === status.OK) {
    const reason = reasonOf(ended)
    return reason === undefined ? endedEarly(log) : statusError(log, reason, cursor)
  }
  const details = detailsOf(ended)
  const own = details && unpack(details, ErrorDetailSchema)
  if (own !== undefined && own.code !== '') return ownError(log, ended, own)
  const wrapped = details && unpack(details, WrappedErrorSchema)
  const code = (wrapped && codeInside(wrapped)) ?? (ended.code === status.UNKNOWN ? guess(ended.details) : undefined)
  switch (code) {
    case 'HEAD_REACHED':
      return headReached()
    case 'STREAM_STOPPED':
      return streamStopped()
    case 'CURSOR_INVALID':
      return new CursorInvalidError(log, { cursor, expected: 'an integer', cause: causeOf(ended) })
    case 'GRPC_CANCELLED':
      return plainError(log, { ...ended, code: status.CANCELLED })
    case 'GRPC_DEADLINE_EXCEEDED':
      return plainError(log, { ...ended, code: status.DEADLINE_EXCEEDED })
    default:
      return plainError(log, ended)
  }
}

function ownError(
  log: string,
  ended: CallStatus,
  { code, retriable, kind, eventId, members }: ErrorDetail,
): ReflexError {
  const { cursor = '', earliest, reason, consumer = '', expected = '', actual = '', reset } = members
  const cause = causeOf(ended)
  switch (code) {
    case 'HEAD_REACHED':
      return headReached()
    case 'STREAM_STOPPED':
      return streamStopped()
    case 'CURSOR_CONFLICT':
      return told(ended, new CursorConflictError({ consumer, expected, actual, reset: reset === 'true', cause }))
    case 'CURSOR_TRIMMED':
      return told(ended, new CursorTrimmedError(log, { cursor, ...(earliest !== undefined && { earliest }), cause }))
    case 'CURSOR_AHEAD': {
      const of = { cursor, reason: reason === 'recreated' ? reason : 'beyond', found: 'another', cause } as const
      return told(ended, new CursorAheadError(log, of))
    }
    case 'CURSOR_INVALID':
      return told(ended, new CursorInvalidError(log, { cursor, expected: 'another one', cause }))
    default: {
      const options = { cause, retriable, kind: kind as ErrorKind, ...(eventId !== undefined && { eventId }) }
      // Its code is the server's, which may be one that this version does not know.
      const known = Object.entries(members).filter(([name]) => errorMembers.includes(name))
      return Object.assign(new ReflexError('GRPC_REMOTE', ended.details, options), Object.fromEntries(known), { code })
    }
  }
}

/** What the trailers of an OK say. */
function reasonOf(ended: CallStatus): CallStatus | undefined {
  const [bytes] = ended.metadata?.get(END_KEY) ?? []
  const told = parsed(bytes)
  if (bytes === undefined || told === undefined || told.code === status.OK) return undefined
  const metadata = new Metadata()
  metadata.set(DETAILS_KEY, bytes)
  return { ...ended, code: told.code, details: told.message, metadata }
}

function endedEarly(log: string): ReflexError {
  return new ReflexError(
    'STREAM_ENDED',
    `${log}: the server ended the stream with OK, and did not say that the head is reached, which would be an error in luno/reflex too: ` +
      'its handler has returned early, or what stands between has dropped the trailers; start again',
  )
}

/** The server knows best how to say it. */
function told(ended: CallStatus, error: ReflexError): ReflexError {
  error.message = ended.details
  return error
}

function plainError(log: string, ended: CallStatus): ReflexError {
  const name = status[ended.code] ?? String(ended.code)
  const asked = ended.asked === undefined ? '' : ` to ${ended.asked}`
  if (ended.code === status.RESOURCE_EXHAUSTED && /larger than max/.test(ended.details))
    return new ReflexError(
      'GRPC_MESSAGE_TOO_LARGE',
      `${log}: ${ended.details}: make the client with a larger grpc.max_receive_message_length, or the server with one`,
      { cause: causeOf(ended), kind: 'oversize' },
    )
  let advice = ''
  if (ended.code === status.UNIMPLEMENTED) advice = ': the server has no such method, or the path is another one'
  // What grpc-js says of ENHANCE_YOUR_CALM.
  if (ended.details.startsWith('Bandwidth exhausted'))
    advice =
      ': a Go server that ends it takes keepalive pings for an attack unless it has keepalive.EnforcementPolicy{MinTime: time.Second}'
  return new ReflexError(`GRPC_${name}`, `${log}: the call${asked} ended with ${name}: ${ended.details}${advice}`, {
    cause: causeOf(ended),
    kind: kinds[ended.code] ?? 'retriable',
  })
}

/** As grpc-js makes it, but without trailers, which may be long. */
function causeOf({ code, details }: CallStatus): Error {
  return Object.assign(new Error(`${code} ${status[code]}: ${details}`), { code, details })
}

function detailsOf({ metadata }: CallStatus): Status | undefined {
  return parsed(metadata?.get(DETAILS_KEY)[0])
}

function parsed(bytes: string | Buffer | undefined): Status | undefined {
  if (!(bytes instanceof Uint8Array)) return undefined
  try {
    return fromBinary(StatusSchema, bytes)
  } catch {
    return undefined // the code and the message are there all the same
  }
}

function unpack<T extends DescMessage>({ details }: Status, schema: T): MessageShape<T> | undefined {
  for (const any of details) {
    try {
      const found = anyUnpack(any, schema)
      if (found !== undefined) return found
    } catch {} // as above
  }
  return undefined
}

/** The first code of ours among those of an error and of what it wraps or joins. */
function codeInside(error: WrappedError, depth = 0): string | undefined {
  const own = Object.keys(goCodes).find((code) => goCodes[code] === error.code)
  if (own !== undefined || depth > 20) return own
  const inside = error.wrappedError === undefined ? error.joinedErrors : [error.wrappedError, ...error.joinedErrors]
  for (const each of inside) {
    const found = codeInside(each, depth + 1)
    if (found !== undefined) return found
  }
  return undefined
}

function guess(message: string): string | undefined {
  return goEnds.find(([end]) => message.endsWith(end))?.[1]
}

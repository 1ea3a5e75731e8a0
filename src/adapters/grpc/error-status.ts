import { create, toBinary } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import { Metadata, status } from '@grpc/grpc-js'
import { codeOf, errorKind, eventIdOf, isRetriable, messageOf } from '../../core/errors.ts'
import { StatusSchema } from './generated/google/rpc/status_pb.ts'
import { WrappedErrorSchema } from './generated/jettison_pb.ts'
import { ErrorDetailSchema } from './generated/reflexbridge/v1/error_pb.ts'

/** How a call ends, as grpc-js is told of it. */
export interface ErrorStatus {
  readonly code: status
  readonly details: string
  readonly metadata: Metadata
}

/** The trailer that holds a `google.rpc.Status`. */
export const DETAILS_KEY = 'grpc-status-details-bin'

/**
 * The trailer in which a call that ends with OK tells a client that takes batches what has ended it, as in `DETAILS_KEY`: in grpc-js any
 * other status overtakes what the client has not read yet, which is then lost.
 */
export const END_KEY = 'reflex-bridge-end-bin'

/** By the code of ours, that of luno/reflex, by which its Go clients tell errors apart. */
export const goCodes: Readonly<Record<string, string>> = {
  HEAD_REACHED: 'ERR_b4b155d2a91cfcd0',
  STREAM_STOPPED: 'ERR_09290f5944cb8671',
  CURSOR_INVALID: 'ERR_82d0368b5478d378',
}

/** What is not here is UNKNOWN, as with luno/reflex everything is. */
const statusCodes: Readonly<Record<string, status>> = {
  CURSOR_TRIMMED: status.OUT_OF_RANGE,
  CURSOR_AHEAD: status.OUT_OF_RANGE,
  CURSOR_INVALID: status.INVALID_ARGUMENT,
  OPTION_INVALID: status.INVALID_ARGUMENT,
  CURSOR_CONFLICT: status.ABORTED,
  FENCED: status.ABORTED,
}

/** Members of errors that travel. */
export const errorMembers: readonly string[] = [
  'cursor',
  'earliest',
  'reason',
  'consumer',
  'expected',
  'actual',
  'reset',
  'position',
]

/** Trailers have no room for more. */
const LONGEST_MESSAGE = 1000
/** So many bytes of members have room. What is longer, as the cursor of a great many sources, is left out: the error stays what it is. */
const MEMBER_BYTES = 24_000

/**
 * The status of an error: with details of this package's, and with those of luno/jettison, so that clients of both know it again. What
 * is no error of this package is told by its message.
 */
export function errorStatus(error: unknown): ErrorStatus {
  const code = codeOf(error)
  const statusCode = code === undefined ? status.UNKNOWN : (statusCodes[code] ?? status.UNKNOWN)
  const details = messageOf(error).slice(0, LONGEST_MESSAGE).toWellFormed()
  const go = create(WrappedErrorSchema, { message: details, code: code === undefined ? '' : (goCodes[code] ?? code) })
  const packed = [anyPack(WrappedErrorSchema, go)]
  if (code !== undefined) packed.push(anyPack(ErrorDetailSchema, detailOf(error, code)))
  const metadata = new Metadata()
  const bytes = toBinary(StatusSchema, create(StatusSchema, { code: statusCode, message: details, details: packed }))
  metadata.set(DETAILS_KEY, Buffer.from(bytes))
  return { code: statusCode, details, metadata }
}

/** The trailers of a call that ends with OK, but for the reason of this status. */
export function endTrailers({ metadata }: ErrorStatus): Metadata {
  const trailers = new Metadata()
  trailers.set(END_KEY, metadata.get(DETAILS_KEY)[0] as Buffer)
  return trailers
}

function detailOf(error: unknown, code: string): ReturnType<typeof create<typeof ErrorDetailSchema>> {
  const detail = create(ErrorDetailSchema, { code, retriable: isRetriable(error), kind: errorKind(error) })
  let room = MEMBER_BYTES
  const hasRoom = (text: string): boolean => {
    const bytes = Buffer.byteLength(text)
    if (bytes > room) return false
    room -= bytes
    return true
  }
  const eventId = eventIdOf(error)
  if (eventId !== undefined && hasRoom(eventId)) detail.eventId = eventId
  for (const member of errorMembers) {
    const value = (error as Readonly<Record<string, unknown>>)[member]
    if (typeof value !== 'string' && typeof value !== 'boolean') continue
    const text = String(value)
    if (hasRoom(text)) detail.members[member] = text
  }
  return detail
}

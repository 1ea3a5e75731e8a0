import { type ErrorKind, ReflexError } from '../../core/errors.ts'

/** What the server's API answers instead, if it refuses. */
export interface ErrorReply {
  readonly error?: ApiError | undefined
}

/** An error of the server's API. */
export interface ApiError {
  readonly code: number
  readonly err_code?: number
  readonly description?: string
}

/** What to do about an error, by its `err_code`, and of what kind it is. What is not here is worth another try. */
const advice: Readonly<Record<number, readonly [advice: string, kind: ErrorKind]>> = {
  10005: [
    'the cluster has fewer servers than the stream is to have replicas (3, if that was not said), or one of them is down: bring it back, add servers, or ask for fewer replicas',
    'retriable',
  ],
  10008: ['the cluster has no leader at the moment: wait', 'retriable'],
  10023: ['the server has no room left: free storage, or raise its limits', 'quota'],
  10026: ['the stream or the account has its most consumers: remove some, or raise max_consumers', 'quota'],
  10027: ['the account has its most streams: remove some, or raise the limit', 'quota'],
  10028: ['the account has reached its limit of storage: raise it, or free space', 'quota'],
  10039: ['enable JetStream for the account', 'fatal'],
  10047: ['the server has no room left: free storage, or raise its limits', 'quota'],
  10052: ['correct that', 'fatal'],
  10054: ['raise max_msg_size of the stream, or shorten the payload', 'oversize'],
  10059: ['create it, or name one that is there', 'retriable'],
  10065: [
    'another stream has them, and a subject belongs to one stream: take other subjects, or name that stream',
    'fatal',
  ],
  10060: ['the subject belongs to another stream: correct stream or subject', 'fatal'],
  10074: ['the server is alone: ask for one replica', 'fatal'],
  10076: ['enable JetStream with nats-server -js', 'fatal'],
  10077: ['the stream is full and refuses what is new: raise max_msgs or max_bytes, or set discard to old', 'quota'],
  10109: ['the stream is sealed: choose another one', 'fatal'],
}

/** An error reply as a `ReflexError` with the code `JETSTREAM_<err_code>`. */
export function apiError(log: string, { code, err_code = code, description = '' }: ApiError): ReflexError {
  const [what, kind] = advice[err_code] ?? ['', 'retriable']
  return new ReflexError(
    `JETSTREAM_${err_code}`,
    `${log}: the server refused: ${description}${what === '' ? '' : ` (${what})`}`,
    { cause: { code, err_code, description }, kind },
  )
}

import { ReflexError } from '../../core/errors.ts'

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

/** What to do about an error, by its `err_code`, and whether waiting can help. */
const advice: Readonly<Record<number, readonly [advice: string, retriable: boolean]>> = {
  10005: [
    'the cluster has fewer servers than the stream is to have replicas (3, if that was not said), or one of them is down: bring it back, add servers, or ask for fewer replicas',
    true,
  ],
  10008: ['the cluster has no leader at the moment: wait', true],
  10023: ['the server has no room left: free storage, or raise its limits', true],
  10028: ['the account has reached its limit of storage: raise it, or free space', true],
  10039: ['enable JetStream for the account', false],
  10047: ['the server has no room left: free storage, or raise its limits', true],
  10052: ['correct that', false],
  10054: ['raise max_msg_size of the stream, or shorten the payload', false],
  10059: ['create it, or name one that is there', false],
  10065: [
    'another stream has them, and a subject belongs to one stream: take other subjects, or name that stream',
    false,
  ],
  10060: ['the subject belongs to another stream: correct stream or subject', false],
  10074: ['the server is alone: ask for one replica', false],
  10076: ['enable JetStream with nats-server -js', false],
  10077: ['the stream is full and refuses what is new: raise max_msgs or max_bytes, or set discard to old', true],
  10109: ['the stream is sealed: choose another one', false],
}

/** An error reply as a `ReflexError` with the code `JETSTREAM_<err_code>`. */
export function apiError(log: string, { code, err_code = code, description = '' }: ApiError): ReflexError {
  const [what, retriable] = advice[err_code] ?? ['', true]
  return new ReflexError(
    `JETSTREAM_${err_code}`,
    `${log}: the server refused: ${description}${what === '' ? '' : ` (${what})`}`,
    { cause: { code, err_code, description }, retriable },
  )
}

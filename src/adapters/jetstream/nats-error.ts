import { messageOf, ReflexError } from '../../core/errors.ts'

/**
 * An error of the client as a `ReflexError`: `NATS_NO_RESPONDERS`, `NATS_NO_PERMISSION`, `NATS_AUTHORIZATION`,
 * `NATS_MAX_PAYLOAD`, `NATS_LIMIT`, `NATS_TLS`, or `NATS_CONNECTION` for all else. `subject` is where a request was sent.
 */
export function natsError(log: string, error: unknown, subject?: string): ReflexError {
  if (error instanceof ReflexError) return error
  const message = messageOf(error)
  const { cause, code } = Object(error) as { cause?: unknown; code?: unknown }
  const text = `${message} ${cause === undefined ? '' : messageOf(cause)} ${String(code)}`
  if (/no.?responders|\b503\b/i.test(text)) return noResponders(log, subject, error)
  if (/permissions?.violation/i.test(text)) {
    return new ReflexError(
      'NATS_NO_PERMISSION',
      `${log}: the server refused: ${message}: permit the user to publish to ${subject ?? 'the subject'}, and to subscribe to its inboxes`,
      { cause: error, kind: 'auth' },
    )
  }
  if (/authorization|authentication|nkey|credentials/i.test(text)) {
    return new ReflexError('NATS_AUTHORIZATION', `${log}: the server refused: ${message}: check the credentials`, {
      cause: error,
      kind: 'auth',
    })
  }
  if (/maximum payload|max_payload/i.test(text)) {
    return new ReflexError(
      'NATS_MAX_PAYLOAD',
      `${log}: the server refused: ${message}: max_payload was lowered; opening it again finds out what it is`,
      { cause: error, kind: 'oversize', retriable: true },
    )
  }
  if (/maximum (account active )?(connections|subscriptions) exceeded/i.test(text)) {
    return new ReflexError('NATS_LIMIT', `${log}: the server refused: ${message}: raise the limit, or close some`, {
      cause: error,
      kind: 'quota',
    })
  }
  if (/certificate|_CERT\b|CERT_|ERR_SSL|SERVER_OPT_NA|support 'tls'/i.test(text)) {
    return new ReflexError(
      'NATS_TLS',
      `${log}: no TLS with the server: ${message}: check that it has TLS, and give connect() the authority that signed its certificate, tls: { ca }`,
      { cause: error, retriable: false },
    )
  }
  return new ReflexError('NATS_CONNECTION', `${log}: no connection to the server, or no answer in time: ${message}`, {
    cause: error,
  })
}

/** What the server says it has, but does not deliver, in so many requests, has been lost on its way. */
export const STALLED_AFTER = 3

/** The server has the message `seq`, but its consumer does not get it. */
export function consumerStalled(log: string, seq: bigint): ReflexError {
  return new ReflexError('NATS_CONSUMER_STALLED', `${log}: the server has message ${seq}, but does not deliver it`)
}

/** Nobody listens at `subject`. */
export function noResponders(log: string, subject: string | undefined, cause?: unknown): ReflexError {
  return new ReflexError(
    'NATS_NO_RESPONDERS',
    `${log}: nobody answers at ${subject}: the server has no JetStream, or it is not enabled for this account (nats-server -js), or the stream has no leader`,
    { cause },
  )
}

import { type Appender, OutcomeUnknownError, WrongLastIdError, withKnownOutcome } from '../../core/appender.ts'
import { codeOf, messageOf, OptionError } from '../../core/errors.ts'
import { onDemand } from '../../core/on-demand.ts'
import { encodeHeaderText } from '../../core/wire.ts'
import { encodeMessage, headerLines, withHeaders } from './encode-message.ts'
import type { ConnectNats } from './nats-client.ts'
import { connectNats } from './nats-connection.ts'
import { ownHeadersBytes } from './publisher.ts'
import { routeSubject, type SubjectsBelow } from './route-subject.ts'
import { checkSize } from './sink-errors.ts'
import { checkConnect, checkName } from './subjects.ts'

/** Options of `jetstreamPublisher`. */
export interface JetStreamPublisherOptions {
  /** Makes a connection that does not reconnect: `() => connect({ servers, ...jetstreamFailFast })`. */
  readonly connect: ConnectNats
  /** The stream's name. It must exist, and take the subjects of the events. */
  readonly stream: string
  /** Where events go, as for `jetstreamSink`: `orders` for `orders.<type>`, a template like `orders.{typeName}`, or a function. No bridge's prefix. */
  readonly subject: string | SubjectsBelow
}

/** The server's own word that a message is not stored. All else may come of another message, or after it was stored. */
const REFUSED = /^(JETSTREAM_.*|NATS_NO_RESPONDERS|NATS_NO_PERMISSION|WRONG_LAST_ID|OUTCOME_UNKNOWN)$/
const refused = (code: string): boolean => REFUSED.test(code)

/** The stream's newest sequence, or that of the subject, is another one than was expected. */
const WRONG_LAST = ['JETSTREAM_10071', 'JETSTREAM_10164']

/**
 * A JetStream stream that anybody publishes to. Under an idempotency key (`Nats-Msg-Id`) the server stores once within the stream's
 * `duplicate_window`, 2 min unless it was set; later it stores again. The ids that are expected are sequences, of the stream and of the
 * subject. Publishes may be under way at the same time. It has a connection while it is used, closed 0.5 s after.
 *
 * @example publisher({ to: jetstreamPublisher({ connect, stream: 'SHOP', subject: 'shop.orders' }), client: 'web-1' })
 */
export function jetstreamPublisher({ connect, stream, subject }: JetStreamPublisherOptions): Appender {
  checkName('jetstreamPublisher', 'stream', stream)
  const log = `nats:${stream}/${typeof subject === 'string' ? subject : subject?.prefix}`
  const routed = routeSubject(log, subject)
  checkConnect(log, connect)
  const { use } = onDemand((signal) => connectNats(connect, { log, signal }))

  return {
    name: log,
    honours: ['idempotencyKey', 'expectedLastId', 'expectedLastIdOfSubject'],
    append: (event, { source, idempotencyKey, expectedLastId, expectedLastIdOfSubject, signal }) => {
      const message = encodeMessage(event, { subject: routed.of(event), source })
      const own = {
        'Nats-Expected-Stream': stream,
        ...(idempotencyKey === undefined ? {} : { 'Nats-Msg-Id': encodeHeaderText(idempotencyKey) }),
        ...(expectedLastId === undefined
          ? {}
          : { 'Nats-Expected-Last-Sequence': sequence(log, 'expectedLastId', expectedLastId) }),
        ...(expectedLastIdOfSubject === undefined
          ? {}
          : {
              'Nats-Expected-Last-Subject-Sequence': sequence(log, 'expectedLastIdOfSubject', expectedLastIdOfSubject),
            }),
      }
      return withKnownOutcome(log, { signal, refused }, (send) =>
        use(async (connection) => {
          checkSize(log, message, {
            ownHeaders: ownHeadersBytes(routed.prefix) + Buffer.byteLength(own['Nats-Msg-Id'] ?? ''),
            maxPayload: connection.maxPayload,
            maxMessage: undefined,
          })
          const { subject: to, headers, data } = withHeaders(message, headerLines(own))
          send()
          try {
            const { seq, duplicate = false } = await connection.request<Ack>(to, data, headers)
            return { id: String(seq), duplicate }
          } catch (error) {
            const code = codeOf(error) ?? ''
            // It is the answer that the user may not have.
            if (code === 'NATS_NO_PERMISSION' && /for subscription/i.test(messageOf(error)))
              throw new OutcomeUnknownError(log, error)
            if (!WRONG_LAST.includes(code)) throw error
            const found = /wrong last sequence: (\d+)/.exec(messageOf(error))?.[1]
            const expected = expectedLastId ?? expectedLastIdOfSubject ?? ''
            throw new WrongLastIdError(log, { expected, cause: error, ...(found === undefined ? {} : { found }) })
          }
        }, signal),
      )
    },
  }
}

interface Ack {
  readonly seq: number
  readonly duplicate?: boolean
}

function sequence(log: string, option: string, id: string): string {
  const position = id.replace(/@.*$/s, '')
  if (/^(0|[1-9]\d{0,19})$/.test(position)) return position
  throw new OptionError(`${log}: ${option} must be a sequence like 1042, or 0 for none, but is ${JSON.stringify(id)}`)
}

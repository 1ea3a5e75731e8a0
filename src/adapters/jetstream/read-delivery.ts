import type { Delivery } from './codec.ts'
import type { NatsMessage } from './nats-client.ts'

/** What of a delivery only its consumer looks at. */
export interface NumberedDelivery extends Delivery {
  /** By the consumer's count of its deliveries, from 1 on. */
  readonly number: number
  /** How many bytes the server counts: those of subject, acknowledgement, headers and data. */
  readonly size: number
}

/**
 * Makes a function that reads what the server says of each message of one consumer; it gives undefined for what is no message of the
 * stream, but a status. That stands in the subject of an acknowledgement (ADR-15 of NATS), the beginning of which does not change:
 * `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<sequence>.<number>.<time>.<pending>[.<token>]`.
 */
export function deliveryReader(): (message: NatsMessage) => NumberedDelivery | undefined {
  let beginning = ''
  return (message) => {
    const { reply = '' } = message
    if (beginning === '' || !reply.startsWith(beginning)) {
      if (!reply.startsWith('$JS.ACK.')) return undefined
      beginning = beginningOf(reply)
    }
    const number = reply.indexOf('.', beginning.length) + 1
    const time = reply.indexOf('.', number) + 1
    const pending = reply.indexOf('.', time) + 1
    const end = reply.indexOf('.', pending)
    return {
      seq: BigInt(reply.slice(beginning.length, number - 1)),
      number: Number(reply.slice(number, time - 1)),
      time: reply.slice(time, pending - 1),
      isLast: reply.slice(pending, end < 0 ? undefined : end) === '0',
      message,
      size: sizeOf(message, reply),
    }
  }
}

/** Both clients have it, without declaring it. */
function sizeOf(message: NatsMessage, reply: string): number {
  const { size } = message as { size?: unknown }
  return typeof size === 'function'
    ? Number(size.call(message))
    : message.subject.length + reply.length + message.data.length
}

/** What stands before the sequence. */
function beginningOf(reply: string): string {
  const tokens = reply.split('.')
  return `${tokens.slice(0, tokens.length === 9 ? 5 : 7).join('.')}.`
}

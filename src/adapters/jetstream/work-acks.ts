import { OutcomeUnknownError } from '../../core/appender.ts'
import type { JetStreamConnection } from './nats-connection.ts'

/** What a consumer says of a message to the server (ADR-15 of NATS). */
export type WorkAck = '+ACK' | '+WPI' | '+TERM' | '-NAK' | `-NAK {"delay": ${bigint}}`

/** Sends them, to the address in the message. */
export interface WorkAcks extends Disposable {
  /** Without waiting: what is lost on the way is delivered again. */
  send(to: string, ack: WorkAck): void
  /** Waits until the server has taken it. Throws an `OutcomeUnknownError` if it does not say so. */
  confirm(to: string, ack: WorkAck): Promise<void>
}

const CONFIRM_WITHIN_MS = 2000

/** Makes what acknowledges messages over a connection. */
export function workAcks(connection: JetStreamConnection, log: string): WorkAcks {
  const inbox = `${connection.inbox}.acks`
  const waiting = new Map<string, PromiseWithResolvers<void>>()
  let count = 0
  let subscription: { unsubscribe(): void } | undefined
  const failAll = (error: unknown): void => {
    for (const each of waiting.values()) each.reject(new OutcomeUnknownError(log, error))
    waiting.clear()
  }
  connection.closed.then(failAll, () => {})

  return {
    send: (to, ack) => connection.publish(to, ack),
    confirm: async (to, ack) => {
      subscription ??= connection.subscribe(
        `${inbox}.*`,
        ({ subject }) => waiting.get(subject)?.resolve(),
        (error) => failAll(error),
      )
      const reply = `${inbox}.${++count}`
      const answer = Promise.withResolvers<void>()
      waiting.set(reply, answer)
      const timer = setTimeout(
        () => answer.reject(new OutcomeUnknownError(log, new Error(`not within ${CONFIRM_WITHIN_MS} ms`))),
        CONFIRM_WITHIN_MS,
      )
      try {
        connection.publish(to, ack, { reply })
        await answer.promise
      } finally {
        clearTimeout(timer)
        waiting.delete(reply)
      }
    },
    [Symbol.dispose]: () => subscription?.unsubscribe(),
  }
}

import type { ConnectNats } from '../../src/adapters/jetstream/index.ts'
import type { NatsMessage } from '../../src/adapters/jetstream/nats-client.ts'

/** A request to JetStream's API, without `$JS.API.`, and its JSON. */
export type Answer = (what: string, body: Readonly<Record<string, unknown>>) => object

/** What comes of a request for messages: their sequences, or nothing, as from a server that has lost them on the way. */
export type OnPull = (request: { readonly from: number; readonly batch: number }) => readonly number[]

/** A refusal of the API. */
export const refusal = (err_code: number): object => ({ error: { code: 400, err_code, description: 'no' } })

/**
 * A server that does what no real one can be made to do at will. Consumers begin at their `opt_start_seq`, or at 1; each request for
 * messages brings what `onPull` gives, and ends at once.
 */
export function fakeNats(version: string, answer: Answer, onPull: OnPull = () => []): ConnectNats {
  return async () => {
    const closed = Promise.withResolvers<undefined>()
    const listeners = new Map<string, (error: null, message: NatsMessage) => void>()
    let consumer = { from: 1, number: 0 }
    const reply = (what: string, body: Readonly<Record<string, unknown>>): object => {
      if (what.startsWith('CONSUMER.DELETE.')) return {}
      if (!what.startsWith('CONSUMER.CREATE.')) return answer(what, body)
      const { opt_start_seq } = body['config'] as { opt_start_seq?: number }
      consumer = { from: opt_start_seq ?? 1, number: 0 }
      return { num_pending: 1, delivered: { consumer_seq: 0, stream_seq: consumer.from - 1 } }
    }
    const deliver = (to: string, message: Omit<NatsMessage, 'data'>): void =>
      listeners.get(to)?.(null, { data: new Uint8Array(), ...message })
    const connection = {
      options: { reconnect: false },
      info: { version, max_payload: 1024 * 1024 },
      request: async (subject: string, data: Uint8Array | string = '') => {
        const body = String(data) === '' ? {} : JSON.parse(String(data))
        return { subject, data: Buffer.from(JSON.stringify(reply(subject.replace('$JS.API.', ''), body))) }
      },
      publish: (_: string, data: Uint8Array | string = '', { reply: to = '' } = {}) => {
        const { batch } = JSON.parse(String(data)) as { batch: number }
        const asked = consumer
        setImmediate(() => {
          const brought = onPull({ from: asked.from, batch })
          for (const seq of brought) {
            asked.number++
            asked.from = seq + 1
            deliver(to, { subject: 'log.a', reply: `$JS.ACK.log.consumer.1.${seq}.${asked.number}.${seq}000000000.9` })
          }
          if (brought.length < batch)
            deliver(to, { subject: to, headers: Object.assign([], { code: 408, description: 'Request Timeout' }) })
        })
      },
      subscribe: (subject: string, { callback }: { callback: (error: null, message: NatsMessage) => void }) => {
        listeners.set(subject, callback)
        return { unsubscribe: () => void listeners.delete(subject) }
      },
      isClosed: () => false,
      closed: () => closed.promise,
      close: async () => closed.resolve(undefined),
    }
    return connection as unknown as Awaited<ReturnType<ConnectNats>>
  }
}

/** What STREAM.INFO says of a stream with messages up to `last`. */
export const streamOf = (last: number): object => ({
  created: '2020-01-01T00:00:00Z',
  config: { retention: 'limits' },
  state: { first_seq: 1, last_seq: last, messages: last, bytes: last, first_ts: '1970-01-01T00:00:01Z' },
})

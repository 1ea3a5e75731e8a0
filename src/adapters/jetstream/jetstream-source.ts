import { OptionError } from '../../core/errors.ts'
import type { Source } from '../../core/stream.ts'
import { type DecodeMessage, type Delivery, decodeMessage, toMessage } from './codec.ts'
import { findPosition } from './find-position.ts'
import type { ConnectNats } from './nats-client.ts'
import { connectNats, type JetStreamConnection } from './nats-connection.ts'
import { type PullConsumer, pullConsumer } from './pull-consumer.ts'
import { checkIncarnation, parseSequence } from './sequence.ts'
import { checkRetention, provePosition, streamInfo } from './stream-info.ts'
import { type MessageLog, streamMessages } from './stream-messages.ts'
import { type SubjectFilter, subjectFilter } from './subject-filter.ts'
import { checkConnect, checkName, checkSubjects } from './subjects.ts'

/** Options of `jetstreamSource`. */
export interface JetStreamSourceOptions {
  /** Makes a fresh connection: `() => connect({ servers, ...jetstreamFailFast })`. */
  readonly connect: ConnectNats
  /** The stream's name. It must exist, with retention `limits`. */
  readonly stream: string
  /** The source's name in errors, metrics and dedupe keys. Default: `nats:<stream>`. */
  readonly name?: string | undefined
  /**
   * Only messages of these subjects, `['orders.5', 'orders.7']` or `['orders.>']`. Servers from 2.11 on pick out those of one, and
   * from 2.15 on those of several, so that the others are not sent. Default: all.
   */
  readonly subjects?: readonly string[] | undefined
  /** The most events in a batch, and in what is read ahead of it: the server pauses where they end. Default: 8,000. */
  readonly batchSize?: number | undefined
  /** About the most bytes of a batch, and of what is read ahead of it; a message that is larger comes alone. Default: 8 MiB. */
  readonly batchBytes?: number | undefined
  /**
   * Makes an event of a message; what it throws ends the stream with a `DecodeError`. Default: what `jetstreamSink` writes
   * (docs/wire.md); another message has type 0, its subject as foreignId, the time at which it was stored, its payload and its headers.
   */
  readonly decode?: DecodeMessage | undefined
}

/**
 * A JetStream stream as a source: the cursor is the sequence of the last message, and nothing is kept on the server but, while a
 * stream is open, a consumer in memory. Each open stream has a connection of its own, of `@nats-io/transport-node` 3 or of `nats`
 * 2.29. NATS 2.9 or newer.
 *
 * What was purged, or trimmed by the stream's limits, is noticed at open and at every gap; single messages that were deleted are
 * passed over. Messages that were deleted from the very front look as if they had been trimmed. A consumer that the server drops
 * because its reader was away for long is made anew at the reader's place.
 *
 * `types` is applied to the events here, not by the server: the subject of a message that another tool has written, or of which
 * `decode` makes an event, says nothing about the event's type. `subjects` spares the way of the others. `at` goes by the time at which
 * messages were stored, and from there on by the events' own: its cost grows with how late they were stored.
 *
 * @example jetstreamSource({ connect: () => connect({ servers, ...jetstreamFailFast }), stream: 'ORDERS' })
 */
export function jetstreamSource(options: JetStreamSourceOptions): Source {
  const { connect, stream, subjects, batchSize = 8000, batchBytes = 8 * 1024 * 1024, decode } = options
  checkName('jetstreamSource', 'stream', stream)
  const { name: log = `nats:${stream}` } = options
  checkConnect(log, connect)
  checkSubjects(log, subjects)
  for (const [option, value] of Object.entries({ batchSize, batchBytes })) {
    if (!Number.isSafeInteger(value) || value < 1)
      throw new OptionError(`${log}: ${option} must be a positive integer, but is ${value}`)
  }
  const toEvent: typeof decodeMessage =
    decode === undefined
      ? decodeMessage
      : (delivery) => ({ ...decode(toMessage(delivery), stream), id: String(delivery.seq) })
  const messages: MessageLog = { connect, stream, log, batchSize, batchBytes, subjects, toEvent }

  /** Asks one question over a connection of its own. */
  async function ask<T>(
    signal: AbortSignal | undefined,
    question: (connection: JetStreamConnection, consumer: PullConsumer, filter: SubjectFilter) => Promise<T>,
  ): Promise<T> {
    const connection = await connectNats(connect, { log, signal })
    const filter = subjectFilter(subjects, connection.version)
    const consumer = pullConsumer(connection, { ...messages, subjects: filter.asked })
    const answering = streamInfo(connection, stream).then((info) => {
      checkRetention(log, info)
      return question(connection, consumer, filter)
    })
    const close = async (): Promise<void> => {
      await consumer[Symbol.asyncDispose]()
      await connection[Symbol.asyncDispose]()
    }
    const closing = answering.then(close, close)
    const aborted = Promise.withResolvers<never>()
    const onAbort = (): void => aborted.reject(signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      const answer = await Promise.race([answering, aborted.promise])
      await Promise.race([closing, aborted.promise])
      return answer
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
  }

  return {
    name: log,
    stream: (after, options) => streamMessages(messages, after, options),
    head: ({ signal } = {}) => ask(signal, async (connection) => String((await streamInfo(connection, stream)).last)),
    backlog: async (after, { signal } = {}) => {
      const start = parseSequence(log, after)
      return ask(signal, async (connection, consumer, { asked }) => {
        const { count } = await consumer.start(start === undefined ? 'earliest' : { seq: start + 1n })
        const info = await streamInfo(connection, stream)
        checkIncarnation(log, after, info.incarnation)
        if (start !== undefined) provePosition(log, start, info, info.incarnation)
        return { count, unit: asked === subjects ? 'events' : 'positions' }
      })
    },
    at: async (timestamp, { signal } = {}) => {
      if (!Number.isFinite(timestamp))
        throw new OptionError(`${log}: a timestamp must be epoch ms, but is ${timestamp}`)
      if (timestamp < 1) return ''
      return ask(signal, async (connection, consumer, { asked, isWanted }) => {
        const isAfter = (delivery: Delivery): boolean =>
          isWanted(delivery.message) && toEvent(delivery).timestamp >= timestamp
        return String(await findPosition(connection, consumer, { log, stream, subjects: asked, timestamp, isAfter }))
      })
    },
    compare: (a, b) => {
      const [x, y] = [parseSequence(log, a), parseSequence(log, b)]
      if (x === undefined || y === undefined) return x === y ? 0 : x === undefined ? -1 : 1
      return x < y ? -1 : x > y ? 1 : 0
    },
  }
}

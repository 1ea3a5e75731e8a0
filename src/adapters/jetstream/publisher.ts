import { type EncodedMessage, headerLines, type UnsentMessage, withHeaders } from './encode-message.ts'
import type { JetStreamConnection } from './nats-connection.ts'

/**
 * Appends messages in order if `expected` still stands, and resolves with the sequence of the last of them. Rejects with some of
 * the first of them appended, or none: never with a hole.
 */
export type Publisher = (messages: readonly UnsentMessage[], expected: Expected) => Promise<bigint>

/** What the first message of an append is bound to. */
export interface Expected {
  /** The newest sequence: under the prefix, or of the whole stream if that is the route's own. */
  readonly seq: bigint
  /** Undefined if the stream is the route's own. */
  readonly prefix: string | undefined
}

/** What the server holds the first message of an append against. */
function expectation({ seq, prefix }: Expected): string {
  if (prefix === undefined) return headerLines({ 'Nats-Expected-Last-Sequence': `${seq}` })
  return headerLines({
    'Nats-Expected-Last-Subject-Sequence': `${seq}`,
    'Nats-Expected-Last-Subject-Sequence-Subject': `${prefix}.>`,
  })
}

/** How much longer than its event a message is at most, by the headers that are for the server. */
export function ownHeadersBytes(prefix: string): number {
  return 300 + Buffer.byteLength(prefix)
}

/** The server takes no more in one atomic batch. */
const MOST_MESSAGES = 1000
/** Over a slow line, more would not be answered in time. */
const MOST_BYTES = 1024 * 1024

/** Appends batch by batch, each whole or not at all, whoever else writes to the stream. `writer` is unique. */
export function atomicPublisher(connection: JetStreamConnection, writer: string): Publisher {
  let batches = 0
  return async (messages, { seq, prefix }) => {
    let last = seq
    for (const batch of inBatches(messages)) {
      const id = headerLines({ 'Nats-Batch-Id': `${writer}.${batches++}` })
      const first = expectation({ seq: last, prefix })
      for (let i = 0; i < batch.length; i++) {
        const own = `${id}Nats-Batch-Sequence: ${i + 1}\r\n${i === 0 ? first : ''}`
        const message = batch[i] as UnsentMessage
        if (i < batch.length - 1) send(connection, withHeaders(message, own))
        else last = await append(connection, withHeaders(message, `${own}Nats-Batch-Commit: 1\r\n`))
      }
    }
    return last
  }
}

function send(connection: JetStreamConnection, { subject, headers, data }: EncodedMessage): void {
  connection.publish(subject, data, { headers })
}

async function append(connection: JetStreamConnection, { subject, headers, data }: EncodedMessage): Promise<bigint> {
  const { seq } = await connection.request<{ seq: number }>(subject, data, headers)
  return BigInt(seq)
}

function* inBatches(messages: readonly UnsentMessage[]): Generator<readonly UnsentMessage[]> {
  let start = 0
  let bytes = 0
  for (let i = 0; i < messages.length; i++) {
    const { lines, data } = messages[i] as UnsentMessage
    bytes += lines.length + data.length
    if (i - start < MOST_MESSAGES && (bytes <= MOST_BYTES || i === start)) continue
    yield messages.slice(start, i)
    start = i
    bytes = lines.length + data.length
  }
  if (start < messages.length) yield messages.slice(start)
}

/** The server makes files for each atomic batch, which takes some 4 ms; message by message, so few are there before. */
const FEW = 50

/**
 * Appends few messages one bound to the other, which is quicker then, and more in atomic batches. The stream must be the route's own,
 * and have one replica. `writer` is unique.
 */
export function ownStreamPublisher(connection: JetStreamConnection, writer: string): Publisher {
  const few = pipelinedPublisher(connection, writer, 1)
  const many = atomicPublisher(connection, writer)
  return (messages, expected) => (messages.length <= FEW ? few : many)(messages, expected)
}

/** So many messages, and bytes, wait for their answers at once. */
const IN_FLIGHT = 1000
const IN_FLIGHT_BYTES = 1024 * 1024

/**
 * Appends message by message without waiting for each. The stream must be the route's own. The first is bound to the sequence;
 * each other one to the id of the one before it, an id that no other writer gives. So once one is refused, or somebody else's
 * comes between, all that follow are refused. The ids are new ones with each append: the server takes none for a duplicate.
 *
 * A stream of several `replicas` is dead for everybody, from then on, when it refuses one that is bound to an id (2.15): there the first
 * message, which finds out another writer, is waited for by itself.
 */
export function pipelinedPublisher(connection: JetStreamConnection, writer: string, replicas: number): Publisher {
  let sent = 0
  return async (messages, expected) => {
    let last = expected.seq
    let failure: { readonly error: unknown } | undefined
    let bytes = 0
    const waiting: { readonly answer: Promise<void>; readonly bytes: number }[] = []
    const oldest = async (): Promise<void> => {
      const first = waiting.shift()
      bytes -= first?.bytes ?? 0
      await first?.answer
    }
    for (const [i, message] of messages.entries()) {
      const own = `Nats-Msg-Id: ${writer}.${sent + 1}\r\n${
        i === 0 ? expectation(expected) : headerLines({ 'Nats-Expected-Last-Msg-Id': `${writer}.${sent}` })
      }`
      sent++
      const answer = append(connection, withHeaders(message, own)).then(
        (seq) => {
          last = seq
        },
        (error: unknown) => {
          failure ??= { error }
        },
      )
      const size = message.lines.length + message.data.length
      waiting.push({ answer, bytes: size })
      bytes += size
      const isBinding = i === 0 && replicas > 1
      while (waiting.length >= (isBinding ? 1 : IN_FLIGHT) || bytes > IN_FLIGHT_BYTES) await oldest()
      if (failure !== undefined) break
    }
    while (waiting.length > 0) await oldest()
    if (failure !== undefined) throw failure.error
    return last
  }
}

import { randomBytes } from 'node:crypto'
import { untilAborted } from '../../core/abort.ts'
import { type AuditOptions, type Auditor, auditor } from '../../core/audit.ts'
import { OptionError } from '../../core/errors.ts'
import type { Event } from '../../core/event.ts'
import type { Checkpoint, Mark, Sink, SinkWriter } from '../../core/sink.ts'
import { createOnServer } from './create-on-server.ts'
import { encodeMessage } from './encode-message.ts'
import type { ConnectNats } from './nats-client.ts'
import { connectNats, type JetStreamConnection } from './nats-connection.ts'
import { newStreamConfig } from './new-stream-config.ts'
import { atomicPublisher, ownHeadersBytes, ownStreamPublisher, pipelinedPublisher } from './publisher.ts'
import { type RouteInfo, routeInfo, routeStream } from './route-stream.ts'
import { type RouteSubject, routeSubject, type SubjectsBelow } from './route-subject.ts'
import { formatMark, parseMark, type RouteMark, resume } from './route-tail.ts'
import { appendRefused, checkSize, prefixIsShared, tailChanged, tailMoved } from './sink-errors.ts'
import { findBackwards, findMessage } from './stored-message.ts'
import { findStream, type StreamConfig, streamInfo } from './stream-info.ts'
import { streamRisks } from './stream-risks.ts'
import { subjectCounts } from './subject-counts.ts'
import { checkConnect, checkName } from './subjects.ts'

/** Options of `jetstreamSink`. */
export interface JetStreamSinkOptions extends AuditOptions {
  /** Makes a connection that does not reconnect: `() => connect({ servers, ...jetstreamFailFast })`. */
  readonly connect: ConnectNats
  /** The stream's name. It must exist, and take the subjects of the route. */
  readonly stream: string
  /**
   * Where events go. `orders`: to `orders.<type>`. A template: `orders.{typeName}`, `orders.{type}.{foreignId}`, with
   * `{headers.NAME}` and `{id}` as well; what a token cannot hold is percent-encoded, and only `{typeName}` may be several tokens. Or a
   * function. The route is the only one that publishes under the prefix, the tokens before the first place of a template.
   */
  readonly subject: string | SubjectsBelow
  /** If the stream has lost more events than this, opening is refused instead of refilling them. Default: 100,000. */
  readonly maxRefill?: number | undefined
}

/** A sink that can create its stream. */
export interface JetStreamSink extends Sink {
  /** Creates the stream if there is none, as `ensureStream` does, with the subjects `<prefix>.>`; one that is there stays as it is. */
  createStream(): Promise<void>
  audit(options?: { signal?: AbortSignal | undefined }): Promise<readonly string[]>
}

/**
 * A JetStream stream as a destination that gets every event once. With `allow_atomic` (server 2.12 or newer) events are appended
 * in atomic batches of up to 1,000, and other routes and writers may share the stream. Without it, and where few come at a time, they
 * are appended one bound to the other, which takes a stream that is the route's own. Both are bound to the newest message that the writer knows of: a second
 * writer is fenced by the first one's next append, and what a crash has left is found by the next `open`.
 *
 * What the server has lost is refilled from the source. Retention, purges and deletions are not loss; making the stream anew is.
 * `audit`, and each `open`, says what of the stream's settings can lose events: storage in memory, one replica in a cluster, a
 * limit of length that discards what is old; with `strict` such a stream is refused. A limit of age is only noted.
 * Docs/wire.md has the headers of a message. The connections are those of `@nats-io/transport-node` or of `nats`.
 *
 * @example jetstreamSink({ connect: () => connect({ servers, ...jetstreamFailFast }), stream: 'SHOP', subject: 'shop.orders' })
 */
export function jetstreamSink(options: JetStreamSinkOptions): JetStreamSink {
  const { connect, stream, subject, maxRefill = 100_000 } = options
  checkName('jetstreamSink', 'stream', stream)
  const log = `nats:${stream}/${typeof subject === 'string' ? subject : subject?.prefix}`
  const routed = routeSubject(log, subject)
  checkConnect(log, connect)
  if (!Number.isSafeInteger(maxRefill) || maxRefill < 0)
    throw new OptionError(`${log}: maxRefill must be an integer from 0 on, but is ${maxRefill}`)

  const audited = auditor(log, options)
  const risksOf = (config: StreamConfig, connection: JetStreamConnection): readonly string[] => {
    const { risks, notes } = streamRisks(config, connection)
    for (const text of notes) audited.note(`${log}: ${text}`)
    return risks
  }
  return {
    name: log,
    createStream: async () => {
      await using connection = await connectNats(connect, { log })
      if ((await findStream(connection, stream)) !== undefined) return
      await createOnServer(
        connection,
        stream,
        newStreamConfig({ subjects: [`${routed.prefix}.>`] }, connection.version),
      )
    },
    audit: async ({ signal } = {}) => {
      await using connection = await connectNats(connect, { log, signal })
      const { config } = await untilAborted(streamInfo(connection, stream), signal)
      return risksOf(config, connection)
    },
    open: async ({ route, source, saved, signal }) => {
      const connection = await connectNats(connect, { log, signal })
      try {
        const where = `${log}, route ${route}`
        const opening = openWriter(connection, {
          where,
          stream,
          subject: routed,
          maxRefill,
          route,
          source,
          saved,
          audited,
          risksOf,
        })
        return await untilAborted(opening, signal)
      } catch (error) {
        await connection[Symbol.asyncDispose]()
        throw error
      }
    },
  }
}

interface WriterOptions {
  readonly where: string
  readonly stream: string
  readonly subject: RouteSubject
  readonly maxRefill: number
  readonly route: string
  readonly source: string
  readonly saved: Checkpoint | undefined
  readonly audited: Auditor
  /** Notes what removes messages on purpose. */
  risksOf(config: StreamConfig, connection: JetStreamConnection): readonly string[]
}

async function openWriter(connection: JetStreamConnection, options: WriterOptions): Promise<SinkWriter> {
  const { where, stream, subject, maxRefill, route, source, saved, audited, risksOf } = options
  const { prefix } = subject
  const mark = saved === undefined ? undefined : parseMark(route, saved)
  // In this order: what another writer appends between the two must not be taken for something that is accounted for.
  const info = await routeInfo(connection, stream)
  const { created, config, state } = info
  const lastSeq = BigInt(state.last_seq)
  const { exclusive, atomic, because } = routeStream(where, info, { subject, version: connection.version })
  if (because !== undefined)
    audited.note(`${where}: appending message by message, which is slower than in atomic batches: ${because}`)
  audited.judge(risksOf(config, connection))
  const newest = await newestOfRoute(connection, options, { created, mark, own: exclusive ? state : undefined })
  const resumption = await resume(
    where,
    mark,
    {
      created,
      lastSeq,
      exclusive,
      newest,
      messages: async () => {
        if (exclusive) return BigInt(state.messages)
        const counts = await subjectCounts(connection, stream, `${prefix}.>`)
        return [...counts.values()].reduce((sum, count) => sum + BigInt(count), 0n)
      },
      has: async (seq) => (await findMessage(connection, stream, { seq })) !== undefined,
    },
    { maxRefill },
  )

  const writer = randomBytes(9).toString('base64url')
  const replicas = info.config.num_replicas ?? 1
  const publish = !atomic
    ? pipelinedPublisher(connection, writer, replicas)
    : exclusive && replicas === 1
      ? ownStreamPublisher(connection, writer)
      : atomicPublisher(connection, writer)
  const limits = {
    ownHeaders: ownHeadersBytes(prefix),
    maxPayload: connection.maxPayload,
    maxMessage: config.max_msg_size,
  }
  let { seq, count } = resumption
  let expected = newest?.seq ?? 0n
  if (exclusive && lastSeq > expected) expected = lastSeq
  let failure: { readonly error: unknown } | undefined

  /** The destination is there, has kept its tail, and no other writer has appended. */
  async function checkTail(): Promise<void> {
    const now = exclusive ? await routeInfo(connection, stream) : undefined
    if (now !== undefined && now.created !== created) throw tailChanged(where, 'the stream was made anew')
    const found =
      now === undefined
        ? ((await findMessage(connection, stream, { last_by_subj: `${prefix}.>` }))?.seq ?? 0n)
        : BigInt(now.state.last_seq)
    if (found !== expected) throw tailMoved(where, { expected, found })
  }

  async function appendOnce(events: readonly Event[]): Promise<Mark> {
    if (events.length === 0) {
      await checkTail()
      return formatMark({ seq, count, created })
    }
    const messages = events.map((event) => encodeMessage(event, { subject: subject.of(event), source }))
    for (const message of messages) checkSize(where, message, limits)
    try {
      expected = await publish(messages, { seq: expected, prefix: exclusive ? undefined : prefix })
    } catch (error) {
      throw appendRefused(where, expected, error)
    }
    seq = expected
    count += BigInt(events.length)
    return formatMark({ seq, count, created })
  }

  return {
    resumeFrom: resumption.resumeFrom,
    ...(resumption.repair === undefined ? {} : { repair: resumption.repair }),
    append: async (events) => {
      if (failure !== undefined) throw failure.error
      try {
        return await appendOnce(events)
      } catch (error) {
        failure = { error } // what has happened in the stream is for the next open to find out
        throw error
      }
    },
    [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
  }
}

/**
 * The newest message under the prefix. Throws if it is not an event of the route's source. `own` is the state of a stream that
 * has no other messages.
 */
async function newestOfRoute(
  connection: JetStreamConnection,
  { where, stream, subject: routed, source }: WriterOptions,
  { created, mark, own }: { created: string; mark: RouteMark | undefined; own: RouteInfo['state'] | undefined },
): Promise<{ readonly seq: bigint; readonly sourceId: string } | undefined> {
  let newest = await findMessage(connection, stream, { last_by_subj: `${routed.prefix}.>` })
  // NATS 2.9 finds none if the newest one was deleted.
  if (newest === undefined && own !== undefined && own.messages > 0)
    newest = await findBackwards(connection, stream, own)
  if (newest === undefined) return undefined
  const { seq, subject, sourceId } = newest
  // Not that of a route with a longer prefix; but the option may have been another one when the route itself wrote it.
  const ownSubject = routed.gives(subject) || (mark?.created === created && mark.seq === seq)
  if (!ownSubject || newest.source !== source || sourceId === undefined) throw prefixIsShared(where, newest, source)
  return { seq, sourceId }
}

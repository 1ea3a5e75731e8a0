import { untilAborted } from '../../core/abort.ts'
import { type AuditOptions, auditor } from '../../core/audit.ts'
import { FencedError, OptionError, ReflexError } from '../../core/errors.ts'
import type { Cursor, Event } from '../../core/event.ts'
import type { Checkpoint, Mark, Sink, SinkWriter } from '../../core/sink.ts'
import { type AuditedTopic, auditTopics } from './audit-topics.ts'
import { openCheckpoints } from './checkpoint-topic.ts'
import { encodeRecord } from './codec.ts'
import { createTopic, topicOnceThere } from './create-topic.ts'
import { eventLimit } from './event-limit.ts'
import { checkKafkaClient, type KafkaClient } from './kafka-client.ts'
import { connectKafka, type KafkaConnection } from './kafka-connection.ts'
import { type Appended, openProducer, type PartitionRecords } from './kafka-producer.ts'
import { type PartitionBounds, type PartitionLog, partitionOf } from './partition-log.ts'
import { partitionOfKey } from './partition-of-key.ts'
import type { NewRecord } from './protocol/new-record-batch.ts'
import { eventsBetween, mayStandAt } from './read-tail.ts'
import { type Between, formatCheckpoint, formatMark, parseMark } from './route-checkpoint.ts'
import { type Resumption, resume } from './route-tail.ts'
import { type FoundEvent, skippedEvents } from './skipped-events.ts'

/** Options of `kafkaSink`. */
export interface KafkaSinkOptions extends AuditOptions {
  /** The topic's name. It must exist, and may be shared with other routes and producers. */
  readonly topic: string
  /**
   * `once`: each batch is a transaction, with the route's checkpoint in it; a newer writer of the route fences this one.
   * `at-least-once`: without transactions; after an append of unknown outcome what is there is looked up, but a second writer is
   * not noticed, and repeats events. Default: `once`.
   */
  readonly delivery?: 'once' | 'at-least-once' | undefined
  /** The topic with the checkpoints of all routes, made with the first of them: one partition, compacted. Default: `reflex-bridge-checkpoints`. */
  readonly checkpointTopic?: string | undefined
  /**
   * How many partitions `createTopic` makes (default: the broker's `num.partitions`), and how many the topic is known to have after
   * they were changed: events of one key may then stand in two of them. Default: as many as when the route began.
   */
  readonly partitions?: number | undefined
  /** If Kafka has lost more events than this, opening is refused instead of refilling them. Default: 100,000. */
  readonly maxRefill?: number | undefined
}

/** A sink that can create its topic. */
export interface KafkaSink extends Sink {
  /**
   * Creates the topic if there is none: with three replicas, or with as many as there are brokers, of which two must be in sync
   * (`min.insync.replicas`): with two brokers, appends fail while one is away. Without unclean elections, and with
   * `cleanup.policy=delete`. A topic that is there stays as it is.
   */
  createTopic(): Promise<void>
  audit: NonNullable<Sink['audit']>
}

/**
 * A Kafka topic as a destination that gets every event once. The key of a record is the foreignId, and Kafka's own partitioner
 * puts all records of one key into one partition, in order. Consumers must read with `isolation.level=read_committed`. The time of
 * a record is that of its append, so that `retention.ms` does not delete old events that have just been forwarded; the event's own
 * is a header. Docs/wire.md has the rest. Kafka 3.1 or newer.
 *
 * Nothing is tried again, but that an opening asks for its coordinator for up to 4 s while the cluster says that there is none yet, as
 * just after a broker's start; and an append waits as long as a quota of the broker holds it back. A connection for data that the
 * broker has closed between two appends, as it does with idle ones, is made anew by the next.
 *
 * @example kafkaSink(new Kafka({ brokers, ...kafkaFailFast }), { topic: 'orders' })
 */
export function kafkaSink(kafka: KafkaClient, options: KafkaSinkOptions): KafkaSink {
  checkKafkaClient(kafka)
  const {
    topic,
    delivery = 'once',
    checkpointTopic = 'reflex-bridge-checkpoints',
    partitions,
    maxRefill = 100_000,
    strict,
    note,
  } = options
  for (const [option, value] of Object.entries({ topic, checkpointTopic })) {
    if (typeof value !== 'string' || value === '')
      throw new OptionError(`kafka: ${option} must be a string that is not empty, but is ${JSON.stringify(value)}`)
  }
  const log = `kafka:${topic}`
  if (delivery !== 'once' && delivery !== 'at-least-once')
    throw new OptionError(`${log}: delivery must be "once" or "at-least-once", but is ${JSON.stringify(delivery)}`)
  if (!Number.isSafeInteger(maxRefill) || maxRefill < 0)
    throw new OptionError(`${log}: maxRefill must be an integer from 0 on, but is ${maxRefill}`)
  if (topic === checkpointTopic)
    throw new OptionError(`${log}: the events and the checkpoints must not be in one topic`)
  const audit = auditor(log, { strict, note })
  const topics: AuditedTopic[] = [
    { topic, holds: 'events' },
    { topic: checkpointTopic, holds: 'checkpoints' },
  ]
  const risksOf = (connection: KafkaConnection): Promise<string[]> =>
    auditTopics(connection, topics, (text) => audit.note(`${log}: ${text}`))

  return {
    name: log,
    createTopic: async () => {
      await using connection = await connectKafka(kafka, { log, topic: undefined })
      await createTopic(connection, { topic, partitions, config: { 'cleanup.policy': 'delete' } })
      await topicOnceThere(connection, topic)
    },
    audit: async ({ signal } = {}) => {
      await using connection = await connectKafka(kafka, { log, topic, signal })
      return await risksOf(connection)
    },
    open: async ({ route, source, saved, signal }) => {
      // The signal is for the opening: an append under way is not cut off, as its transaction would hold readers up.
      const ended = new AbortController()
      const onAbort = (): void => ended.abort(signal?.reason)
      if (signal?.aborted) onAbort()
      signal?.addEventListener('abort', onAbort, { once: true })
      let connection: KafkaConnection | undefined
      try {
        connection = await connectKafka(kafka, { log, topic, signal: ended.signal })
        audit.judge(await risksOf(connection))
        const opening = openWriter(connection, {
          ...{ log, topic, checkpointTopic, partitions, maxRefill, route, source, saved },
          once: delivery === 'once',
        })
        return await untilAborted(opening, ended.signal)
      } catch (error) {
        await connection?.[Symbol.asyncDispose]()
        throw error
      } finally {
        signal?.removeEventListener('abort', onAbort)
      }
    },
  }
}

interface WriterOptions {
  readonly log: string
  readonly topic: string
  readonly checkpointTopic: string
  readonly partitions: number | undefined
  readonly maxRefill: number
  readonly once: boolean
  readonly route: string
  readonly source: string
  readonly saved: Checkpoint | undefined
}

async function openWriter(connection: KafkaConnection, options: WriterOptions): Promise<SinkWriter> {
  const { log, topic, checkpointTopic, maxRefill, once, route, source, saved } = options
  const where = `${log}, route ${route}`
  const key = Buffer.from(`${topic}/${route}`)
  const mark = saved === undefined ? undefined : { ...parseMark(where, saved), cursor: saved.cursor }
  const metadata = await connection.topic(topic)
  const topicId = metadata.id.toString('base64url')
  const leaders = new Map(metadata.partitions.map(({ partition, leader }) => [partition, leader]))
  const checkpoints = await openCheckpoints(connection, { log, topic: checkpointTopic })
  const limit = await eventLimit(connection, { where, topic })
  const checkpointPartition = { topic: checkpointTopic, partition: 0, leader: checkpoints.leader }

  // Fences first: what an older writer has begun is aborted before anything is read.
  const producer = await openProducer(connection, {
    where,
    transactionalId: once ? `reflex-bridge:${topic}:${route}` : undefined,
  })
  const tails = new Map<number, PartitionLog>()
  for (const partition of leaders.keys())
    tails.set(partition, await partitionOf(connection, { log, topic, partition, isolation: 'all' }))
  const boundsNow = async (wanted: Iterable<number>): Promise<Map<number, PartitionBounds>> =>
    new Map(
      await Promise.all(Array.from(wanted, async (p) => [p, await (tails.get(p) as PartitionLog).bounds()] as const)),
    )

  async function foundBetween({ from, to }: Between): Promise<FoundEvent[]> {
    const found: FoundEvent[] = []
    for (const [partition, tail] of tails) {
      const range = { partition, from: from.get(partition) ?? 0n, to: to.get(partition) ?? 0n, source }
      for (const event of await eventsBetween(log, tail, range)) found.push(event)
      if (found.length <= maxRefill) continue
      throw new ReflexError(
        'SINK_LOST_TOO_MUCH',
        `${where}: events were lost, and more than ${maxRefill} that follow them are in the topic already: to find those that are not, give the sink a larger maxRefill`,
        { retriable: false },
      )
    }
    return found
  }
  const look = async (): Promise<Resumption> =>
    resume(
      where,
      { topicId, bounds: await boundsNow(tails.keys()), history: checkpoints.history(where, key), saved: mark },
      {
        ...{ source, atomic: once, partitions: options.partitions, maxRefill, eventsBetween: foundBetween },
        mayStandAt: ({ partition, ...event }, to) =>
          mayStandAt(log, tails.get(partition) as PartitionLog, { ...event, to, source }),
      },
    )
  let resumption = await look()
  if (once && !resumption.certain) {
    // Records that have lost the end of their transaction: the end of our next one would be theirs.
    await producer.begin([...Array.from(tails.keys(), (partition) => ({ topic, partition })), checkpointPartition])
    await producer.end('abort')
    resumption = await look()
  }

  let { count } = resumption
  let cursor = resumption.resumeFrom
  const ends = new Map(resumption.ends)
  const last = new Map(resumption.last)
  const skipped = skippedEvents(resumption.found, resumption.between)
  let failure: { readonly error: unknown } | undefined

  /** The destination is there, has kept its tail, and still has this writer. */
  async function checkTail(): Promise<void> {
    const { id } = await connection.topic(topic)
    for (const [partition, { high }] of await boundsNow(last.keys())) checkEnd(partition, high)
    if (!id.equals(metadata.id)) throw changed('the topic was made anew')
    await producer.checkFenced()
  }
  function checkEnd(partition: number, end: bigint): void {
    const known = ends.get(partition) ?? 0n
    if (end < known) throw changed(`partition ${partition} ends at ${end}, but ended at ${known} before`)
  }
  function changed(how: string): ReflexError {
    return new ReflexError(
      'SINK_TAIL_CHANGED',
      `${where}: ${how}; nothing was appended. Opening it again finds out what is lost.`,
    )
  }

  async function appendOnce(events: readonly Event[], next: Cursor): Promise<Mark> {
    if (events.length === 0 && next === cursor) {
      await checkTail()
      return formatMark({ count, topicId })
    }
    const batches = batchesOf(skipped.without(events), { topic, source, leaders })
    await limit.check(batches)
    let unsent = batches
    connection.forgetIdle()
    await producer.begin([...batches, checkpointPartition])
    try {
      const sent = await producer.send(batches)
      unsent = []
      for (const [i, { partition, lastId }] of batches.entries()) {
        const { first, end } = sent[i] as Appended
        checkEnd(partition, first)
        ends.set(partition, end)
        last.set(partition, lastId)
      }
      count += BigInt(events.length)
      const skip = skipped.left()
      const value = formatCheckpoint({
        ...{ cursor: next, source, count, topicId, partitions: leaders.size, ends, last, skip },
      })
      await producer.send([{ ...checkpointPartition, records: [{ key, value: Buffer.from(value), headers: [] }] }])
    } catch (error) {
      // What has not been committed is given up, so that it holds nothing up; if that fails as well, the coordinator will.
      if (!(error instanceof FencedError))
        await untilAborted(producer.end('abort'), AbortSignal.timeout(GIVE_UP_WITHIN_MS)).catch(() => {})
      throw await limit.explain(error, unsent)
    }
    await producer.end('commit')
    cursor = next
    return formatMark({ count, topicId })
  }

  return {
    resumeFrom: resumption.resumeFrom,
    ...(resumption.repair === undefined ? {} : { repair: resumption.repair }),
    append: async (events, next) => {
      if (failure !== undefined) throw failure.error
      try {
        return await appendOnce(events, next)
      } catch (error) {
        failure = { error } // what has happened in Kafka is for the next open to find out
        throw error
      }
    },
    [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
  }
}

/** A broker that has just not answered need not answer this either. */
const GIVE_UP_WITHIN_MS = 1000

/** The records of events, by partition. */
function batchesOf(
  events: readonly Event[],
  { topic, source, leaders }: { topic: string; source: string; leaders: ReadonlyMap<number, number> },
): (PartitionRecords & { readonly lastId: string })[] {
  const batches = new Map<number, { readonly records: NewRecord[]; lastId: string }>()
  for (const event of events) {
    const record = encodeRecord(event, source)
    const partition = partitionOfKey(record.key, leaders.size)
    const batch = batches.get(partition)
    if (batch === undefined) {
      batches.set(partition, { records: [record], lastId: event.id })
      continue
    }
    batch.records.push(record)
    batch.lastId = event.id
  }
  return Array.from(batches, ([partition, { records, lastId }]) => ({
    ...{ topic, partition, records, lastId },
    leader: leaders.get(partition) as number,
  }))
}

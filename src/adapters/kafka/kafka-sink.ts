import { untilAborted } from '../../core/abort.ts'
import { type AuditOptions, auditor } from '../../core/audit.ts'
import { FencedError, OptionError, ReflexError } from '../../core/errors.ts'
import type { Cursor, Event } from '../../core/event.ts'
import type { Checkpoint, Mark, Sink, SinkWriter } from '../../core/sink.ts'
import { appendPlanner, MOST_ALONE } from './append-planner.ts'
import { type AuditedTopic, auditTopics } from './audit-topics.ts'
import { openCheckpoints } from './checkpoint-topic.ts'
import { createTopic, topicOnceThere } from './create-topic.ts'
import { endLeftOpen } from './end-left-open.ts'
import { checkKafkaClient, type KafkaClient } from './kafka-client.ts'
import { connectKafka, type KafkaConnection } from './kafka-connection.ts'
import { type Appended, openProducer, type PartitionRecords } from './kafka-producer.ts'
import type { PartitionLog } from './partition-log.ts'
import { eventsBetween, mayStandAt } from './read-tail.ts'
import {
  type Between,
  formatCheckpoint,
  formatMark,
  type Place,
  parseMark,
  placeOf,
  type RouteCheckpoint,
  topicOf,
} from './route-checkpoint.ts'
import { resume } from './route-tail.ts'
import { openTopics, topicsNow } from './route-topics.ts'
import { type FoundEvent, skippedEvents } from './skipped-events.ts'
import { type TopicRoute, type TopicsByFunction, topicRoute } from './topic-route.ts'

/** Options of `kafkaSink`. */
export interface KafkaSinkOptions extends AuditOptions {
  /**
   * Where events go: the name of a topic, which must exist, and may be shared with other routes and producers; or one of several, by a
   * template, `orders.{typeName}`, with `{type}`, `{foreignId}`, `{id}` and `{headers.NAME}` as well, or a function. The events of all
   * are appended together, and each topic is in order by itself.
   */
  readonly topic: string | TopicsByFunction
  /** With a template or a function, all topics that events may go to. One may be added, or taken away, with the next start. */
  readonly topics?: readonly string[] | undefined
  /**
   * `once`: a batch is a transaction, with the route's checkpoint in it; up to 50 events that come within a second of others go
   * without one, where all brokers are of Kafka 4.1 or newer, and are found by the next opening (docs/adr/0018). A newer writer of the
   * route fences this one.
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

/** A sink that can create its topics. */
export interface KafkaSink extends Sink {
  /**
   * Creates each topic if there is none: with three replicas, or with as many as there are brokers, of which two must be in sync
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
    delivery = 'once',
    checkpointTopic = 'reflex-bridge-checkpoints',
    partitions,
    maxRefill = 100_000,
    strict,
    note,
  } = options
  const topics = topicRoute(options.topic, options.topics)
  if (typeof checkpointTopic !== 'string' || checkpointTopic === '')
    throw new OptionError(
      `kafka: checkpointTopic must be a string that is not empty, but is ${JSON.stringify(checkpointTopic)}`,
    )
  const log = `kafka:${topics.name}`
  if (delivery !== 'once' && delivery !== 'at-least-once')
    throw new OptionError(`${log}: delivery must be "once" or "at-least-once", but is ${JSON.stringify(delivery)}`)
  if (!Number.isSafeInteger(maxRefill) || maxRefill < 0)
    throw new OptionError(`${log}: maxRefill must be an integer from 0 on, but is ${maxRefill}`)
  if (topics.topics.includes(checkpointTopic))
    throw new OptionError(`${log}: the events and the checkpoints must not be in one topic`)
  const audit = auditor(log, { strict, note })
  const audited: AuditedTopic[] = [
    ...topics.topics.map((topic) => ({ topic, holds: 'events' as const })),
    { topic: checkpointTopic, holds: 'checkpoints' },
  ]
  const risksOf = (connection: KafkaConnection): Promise<string[]> =>
    auditTopics(connection, audited, (text) => audit.note(`${log}: ${text}`))

  return {
    name: log,
    createTopic: async () => {
      await using connection = await connectKafka(kafka, { log, topic: undefined })
      for (const topic of topics.topics) {
        await createTopic(connection, { topic, partitions, config: { 'cleanup.policy': 'delete' } })
        await topicOnceThere(connection, topic)
      }
    },
    audit: async ({ signal } = {}) => {
      await using connection = await connectKafka(kafka, { log, topic: topics.only, signal })
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
        connection = await connectKafka(kafka, { log, topic: topics.only, signal: ended.signal })
        audit.judge(await risksOf(connection))
        const opening = openWriter(connection, {
          ...{ log, topics, checkpointTopic, partitions, maxRefill, route, source, saved },
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
  readonly topics: TopicRoute
  readonly checkpointTopic: string
  readonly partitions: number | undefined
  readonly maxRefill: number
  readonly once: boolean
  readonly route: string
  readonly source: string
  readonly saved: Checkpoint | undefined
}

async function openWriter(connection: KafkaConnection, options: WriterOptions): Promise<SinkWriter> {
  const { log, topics, checkpointTopic, maxRefill, once, route, source, saved } = options
  const where = `${log}, route ${route}`
  const key = Buffer.from(`${topics.name}/${route}`)
  const mark = saved === undefined ? undefined : { ...parseMark(where, saved), cursor: saved.cursor }
  const opened = await openTopics(connection, { log, where, source, topics })
  const { states, id: topicId, leaders, tails, limit, batchesOf } = opened
  const checkpoints = await openCheckpoints(connection, { log, topic: checkpointTopic })
  const { topicId: checkpointTopicId, leader } = checkpoints
  const checkpointPartition = { topic: checkpointTopic, topicId: checkpointTopicId, partition: 0, leader }

  // Fences first: what an older writer has begun is aborted before anything is read.
  const producer = await openProducer(connection, {
    where,
    transactionalId: once ? `reflex-bridge:${topics.name}:${route}` : undefined,
  })
  if (once) {
    await endLeftOpen({
      ...{ where, producer, tails: new Map([...tails, [placeOf(checkpointTopic, 0), checkpoints.tail]]) },
      bounds: async () => (await topicsNow(connection, { log, topics: [...states.keys(), checkpointTopic] })).bounds,
    })
  }

  async function foundBetween({ from, to }: Between, producers?: ReadonlySet<bigint>): Promise<FoundEvent[]> {
    const found: FoundEvent[] = []
    for (const [place, tail] of tails) {
      const range = { place, from: from.get(place) ?? 0n, to: to.get(place) ?? 0n, source, producers }
      for (const event of await eventsBetween(log, tail, range)) found.push(event)
      if (found.length <= maxRefill) continue
      throw new ReflexError(
        'SINK_LOST_TOO_MUCH',
        `${where}: events were lost, and more than ${maxRefill} that follow them are there already: to find those that are not, give the sink a larger maxRefill`,
        { retriable: false },
      )
    }
    return found
  }
  const { bounds } = await topicsNow(connection, { log, topics: states.keys() })
  const resumption = await resume(
    where,
    { topics: states, topicId, bounds, history: checkpoints.history(where, { key, only: topics.only }), saved: mark },
    {
      ...{ source, partitions: options.partitions, maxRefill, eventsBetween: foundBetween },
      producer: once ? producer.id : undefined,
      mayStandAt: ({ place, ...event }, to) =>
        mayStandAt(log, tails.get(place) as PartitionLog, { ...event, to, source }),
    },
  )

  let { count } = resumption
  let cursor = resumption.resumeFrom
  const ends = new Map(resumption.ends)
  const last = new Map(resumption.last)
  const sentTo = new Set<Place>()
  /** A record tells of what was found. */
  let isTold = resumption.found.length === 0
  const skipped = skippedEvents(resumption.found, resumption.between)
  const mayGoAlone = once && MOST_ALONE <= maxRefill && (await producer.takesAlone([...leaders, leader]))
  const planner = appendPlanner(mayGoAlone ? 'needed' : once ? 'all' : 'none')
  let failure: { readonly error: unknown } | undefined

  /** The destination is there, has kept its tail, and still has this writer. */
  async function checkTail(): Promise<void> {
    const used = new Set(Array.from(last.keys(), topicOf))
    if (used.size === 0) used.add(topics.topics[0] as string)
    const { ids, bounds } = await topicsNow(connection, { log, topics: used })
    for (const place of last.keys()) checkEnd(place, bounds.get(place)?.high ?? 0n)
    for (const [topic, id] of ids) if (id !== states.get(topic)?.id) throw changed(`the topic ${topic} was made anew`)
    await producer.checkFenced()
  }
  function checkEnd(place: Place, end: bigint): void {
    const known = ends.get(place) ?? 0n
    if (end < known) throw changed(`the partition ${place} ends at ${end}, but ended at ${known} before`)
  }
  function changed(how: string): ReflexError {
    return new ReflexError('SINK_TAIL_CHANGED', `${where}: ${how}. Opening it again finds out what is lost.`)
  }

  async function appendOnce(events: readonly Event[], next: Cursor): Promise<Mark> {
    const isIdle = events.length === 0 && next === cursor
    if (isIdle) {
      await checkTail()
      if (!once || (!planner.isOpenEnded() && isTold)) return formatMark({ count, topicId })
    }
    // At least once a record comes first: else nothing would be looked for behind the newest one.
    const first = once || planner.isOpenEnded() ? undefined : checkpointRecord({ cursor, openEnded: true })
    const batches = batchesOf(skipped.without(events))
    await limit.check(batches)
    const isKnown = batches.every(({ place }) => sentTo.has(place))
    const plan = planner.next({ count: events.length, isKnown, isLast: isIdle })
    const { inTransaction, openEnded } = plan
    if (inTransaction || !once) connection.forgetIdle()
    if (first !== undefined) await producer.send([first])
    if (inTransaction) await producer.begin([...batches, checkpointPartition])
    let unsent = batches
    try {
      const sent = await producer.send(batches)
      unsent = []
      for (const [i, { place, lastId }] of batches.entries()) {
        const { first, end } = sent[i] as Appended
        checkEnd(place, first)
        ends.set(place, end)
        last.set(place, lastId)
        sentTo.add(place)
      }
      count += BigInt(events.length)
      await producer.send([checkpointRecord({ cursor: next, openEnded })])
    } catch (error) {
      // What has not been committed is given up, so that it holds nothing up; if that fails as well, the coordinator will.
      if (inTransaction && !(error instanceof FencedError))
        await untilAborted(producer.end('abort'), AbortSignal.timeout(GIVE_UP_WITHIN_MS)).catch(() => {})
      throw await limit.explain(error, unsent)
    }
    if (inTransaction) await producer.end('commit')
    planner.appended(plan)
    isTold = true
    cursor = next
    return formatMark({ count, topicId })
  }
  function checkpointRecord(of: Pick<RouteCheckpoint, 'cursor' | 'openEnded'>): PartitionRecords {
    const checkpoint = { ...of, source, count, topics: states, ends, last, skip: skipped.left() }
    const value = Buffer.from(formatCheckpoint(checkpoint, topics.only))
    return { ...checkpointPartition, records: [{ key, value, headers: [] }] }
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

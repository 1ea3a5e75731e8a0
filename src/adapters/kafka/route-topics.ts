import { createHash } from 'node:crypto'
import type { Event } from '../../core/event.ts'
import { encodeRecord } from './codec.ts'
import { type EventLimit, eventLimit } from './event-limit.ts'
import type { KafkaConnection } from './kafka-connection.ts'
import type { PartitionRecords } from './kafka-producer.ts'
import { type PartitionBounds, type PartitionLog, partitionOf } from './partition-log.ts'
import { partitionOfKey } from './partition-of-key.ts'
import type { NewRecord } from './protocol/new-record-batch.ts'
import { type Place, placeOf, type TopicState } from './route-checkpoint.ts'
import { topicBounds } from './topic-bounds.ts'
import type { TopicRoute } from './topic-route.ts'

/** The topics of a route, as they were when it was opened. */
export interface RouteTopics {
  readonly states: ReadonlyMap<string, TopicState>
  /** As in a mark: the id of the one topic, or a digest of all names and ids. */
  readonly id: string
  /** The node ids of the leaders of all partitions. */
  readonly leaders: ReadonlySet<number>
  /** All partitions, to be read without regard to open transactions. */
  readonly tails: ReadonlyMap<Place, PartitionLog>
  readonly limit: EventLimit
  /** The records of events, by partition. */
  batchesOf(events: readonly Event[]): PlacedRecords[]
}

/** Records for one partition. */
export interface PlacedRecords extends PartitionRecords {
  readonly place: Place
  /** The source id of the last of them. */
  readonly lastId: string
}

/** Opens the topics of a route. `log` names the destination in errors, `where` the route; `source` is the name of the source. */
export async function openTopics(
  connection: KafkaConnection,
  { log, where, source, topics: route }: { log: string; where: string; source: string; topics: TopicRoute },
): Promise<RouteTopics> {
  const states = new Map<string, TopicState>()
  const topicIds = new Map<string, Buffer>()
  const leaders = new Map<string, ReadonlyMap<number, number>>()
  const limits = new Map<string, EventLimit>()
  for (const topic of route.topics) {
    const { id, partitions } = await connection.topic(topic)
    topicIds.set(topic, id)
    states.set(topic, { id: id.toString('base64url'), partitions: partitions.length })
    leaders.set(topic, new Map(partitions.map(({ partition, leader }) => [partition, leader])))
    limits.set(topic, await eventLimit(connection, { where, topic }))
  }
  const tails = new Map<Place, PartitionLog>()
  for (const [topic, { partitions }] of states)
    for (let partition = 0; partition < partitions; partition++)
      tails.set(placeOf(topic, partition), await partitionOf(connection, { log, topic, partition, isolation: 'all' }))

  return {
    states,
    id: idOf(route, states),
    leaders: new Set([...leaders.values()].flatMap((ofTopic) => [...ofTopic.values()])),
    tails,
    limit: limitOf(limits),
    batchesOf: (events) => {
      const batches = new Map<Place, { topic: string; partition: number; records: NewRecord[]; lastId: string }>()
      for (const event of events) {
        const topic = route.of(event)
        const record = encodeRecord(event, source)
        const partition = partitionOfKey(record.key, states.get(topic)?.partitions ?? 0)
        const place = placeOf(topic, partition)
        const batch = batches.get(place)
        if (batch === undefined) {
          batches.set(place, { topic, partition, records: [record], lastId: event.id })
          continue
        }
        batch.records.push(record)
        batch.lastId = event.id
      }
      return Array.from(batches, ([place, batch]) => ({
        ...batch,
        place,
        topicId: topicIds.get(batch.topic) as Buffer,
        leader: leaders.get(batch.topic)?.get(batch.partition) as number,
      }))
    },
  }
}

/** What some topics are now: their ids, and where their partitions begin and end, without regard to open transactions. */
export async function topicsNow(
  connection: KafkaConnection,
  { log, topics }: { log: string; topics: Iterable<string> },
): Promise<{ readonly ids: ReadonlyMap<string, string>; readonly bounds: ReadonlyMap<Place, PartitionBounds> }> {
  const ids = new Map<string, string>()
  const bounds = new Map<Place, PartitionBounds>()
  for (const topic of topics) {
    const now = await topicBounds(connection, { log, topic, isolation: 'all' })
    ids.set(topic, now.topicId)
    for (const [partition, each] of now.partitions.entries()) bounds.set(placeOf(topic, partition), each)
  }
  return { ids, bounds }
}

function idOf({ only }: TopicRoute, states: ReadonlyMap<string, TopicState>): string {
  if (only !== undefined) return states.get(only)?.id as string
  const all = Array.from(states, ([topic, { id }]) => `${topic}:${id}`).sort()
  return createHash('sha256').update(all.join('\n')).digest('base64url').slice(0, 22)
}

/** Each topic has its own. */
function limitOf(limits: ReadonlyMap<string, EventLimit>): EventLimit {
  type Batches = Iterable<PlacedRecords>
  const each = async (
    batches: Batches,
    ask: (limit: EventLimit, of: PlacedRecords[]) => Promise<void>,
  ): Promise<void> => {
    for (const [topic, of] of Map.groupBy(batches, ({ topic }) => topic)) await ask(limits.get(topic) as EventLimit, of)
  }
  return {
    check: (batches) => each(batches as Batches, (limit, of) => limit.check(of)),
    explain: async (error, batches) => {
      let explained = error
      await each(batches as Batches, async (limit, of) => {
        if (explained === error) explained = await limit.explain(error, of)
      })
      return explained
    },
  }
}
